"""A comparison as tables, sentences, Markdown and JSON."""

from typing import Any

from rdbench.report.compare.compare import WAYS, Comparison, Pair
from rdbench.report.numbers import ABSENT, Estimate, count, interval, number, plain
from rdbench.report.statistics.bd_rate import LITTLE_OVERLAP, BdRate
from rdbench.report.statistics.series import BETA_HALF
from rdbench.report.tables.table import Cell, Column, Mark, Table, estimate_cell, texts
from rdbench.report.tables.write import markdown_text, one_line, to_json, to_markdown


def as_tables(pair: Pair) -> list[Table]:
    """Return what is shown of a pair: verdicts, BD-rates, every difference, settings, what one side lacks."""
    found = [_verdicts(pair), _bd_rates(pair), _changes(pair)]
    columns: tuple[Column, ...]
    if pair.settings:
        columns = (Column("setting", kind="key"), Column("A", kind="text"), Column("B", kind="text"))
        found.append(Table("settings", "Settings that differ", "", columns, tuple(map(texts, pair.settings))))
    if pair.one_sided:
        columns = (Column("trials", kind="key"), Column("what", kind="text"))
        title = "Not on both sides"
        found.append(
            Table(
                "one_sided",
                title,
                "",
                columns,
                tuple(map(texts, pair.one_sided)),
                folded=len(pair.one_sided) > 8,
            )
        )
    return [table for table in found if table.rows]


def _verdicts(pair: Pair) -> Table:
    rows = []
    for metric in pair.metrics:
        mark: Mark = "warning" if metric.verdict in ("worse", "mixed") else ""
        lost = f"B has no value at {count(len(metric.lost), 'point')} that A has" if metric.lost else ""
        note = "; ".join(filter(None, (metric.why, lost)))
        counts = (Cell(str(n), value=n) for n in (*map(metric.count, WAYS), len(metric.changes)))
        rows.append((Cell(metric.series.title), Cell(metric.series.name), Cell(metric.verdict, note, mark),
                     *counts,
                     _percent(metric.relative)))  # fmt: skip
    caption = (
        "B against A. A point is a (variant, β); a difference is shown there where its t-test over seeds"
        " (paired where both sides have the same seeds, else Welch's) is significant at 5% after Holm's"
        " correction over the metric's points. Better or worse: shown so at one point or more, and at none"
        f" the other way.{_beta_half(pair)}"
    )
    columns = (
        Column("metric", kind="key"), Column("name", kind="text"), Column("verdict", kind="text"),
        Column("better"), Column("worse"), Column("different"), Column("points"), Column("mean change, %"),
    )  # fmt: skip
    return Table("verdicts", "Verdict on each metric", caption, columns, tuple(rows))


def _beta_half(pair: Pair) -> str:
    """Return the end of a caption, where that reading is among those compared."""
    return f" {BETA_HALF}" if any(rates.quality == "beta_half" for rates in pair.rates) else ""


def _percent(value: float | None) -> Cell:
    if value is None:
        return Cell(ABSENT, "it has no zero to be relative to, or A is 0 or next to it")
    text = number(value, 2 if abs(value) < 1e6 else None)
    return Cell(f"+{text}" if value > 0 and float(f"{value:.2f}") else text, value=value)


def _bd_rates(pair: Pair) -> Table:
    rows = []
    for rates in pair.rates:
        for found in rates.found:
            ends = [Cell(ABSENT) if end is None else _percent(end) for end in (found.low, found.high)]
            value = Cell(ABSENT, found.reason) if found.percent is None else _percent(found.percent)
            if found.percent is not None and found.reason:
                ends[0] = Cell(ABSENT, found.reason)
            overlap = None if found.overlap is None else 100 * found.overlap
            little: Mark = "warning" if found.overlaps_little else ""
            rows.append((Cell(rates.title), Cell(found.variant), value, *ends,
                         Cell(str(found.n), value=found.n),
                         Cell(number(overlap, 0), "", little, overlap)))  # fmt: skip
    caption = (
        "The rate B needs beyond A's for the same quality, on average over the qualities both reach;"
        " negative: less. 95% intervals: bootstrap over seeds. Overlap: the range both reach as a share of"
        f" what either does, marked below {LITTLE_OVERLAP:.0%}, where the number speaks of a part of the"
        f" curves only.{_beta_half(pair)}"
    )
    columns = (
        Column("quality", kind="key"), Column("variant", kind="key"), Column("BD-rate, %"), Column("from"),
        Column("to"), Column("seeds"), Column("overlap, %"),
    )  # fmt: skip
    return Table("bd_rate", "BD-rate of B against A", caption, columns, tuple(rows))


def _changes(pair: Pair) -> Table:
    rows = []
    for metric in pair.metrics:
        for each in metric.changes:
            kind = metric.kind(each)
            half, n = each.half_width, min(each.before.n, each.after.n)
            text = interval(Estimate(each.mean, half, n))
            shown = Cell(text, each.reason, "warning" if kind == "worse" else "", each.mean, half, n)
            p = Cell(ABSENT) if each.adjusted is None else Cell(number(each.adjusted, 4), value=each.adjusted)
            rows.append((
                Cell(metric.series.title), Cell(each.variant), Cell(plain(each.beta), value=each.beta),
                estimate_cell(each.before), estimate_cell(each.after), shown,
                Cell(each.test), p, Cell(kind or "not shown"),
            ))  # fmt: skip
    caption = "Means over seeds ± 95% t-interval; p after Holm's correction over the points of the metric."
    columns = (
        Column("metric", kind="key"), Column("variant", kind="key"), Column("β", kind="key"), Column("A"),
        Column("B"), Column("B − A"), Column("test", kind="text"), Column("p"), Column("shown", kind="text"),
    )  # fmt: skip
    return Table("changes", "Every difference", caption, columns, tuple(rows), folded=True)


def _in_words(found: BdRate) -> str:
    if found.percent is None:
        return f"{ABSENT} ({found.reason})"
    ends = f" [{_percent(found.low).text}, {_percent(found.high).text}]" if found.low is not None else ""
    little = f", overlap {found.overlap:.0%} only" if found.overlaps_little else ""
    return f"{_percent(found.percent).text}%{ends}{little}"


def sentences(pair: Pair) -> list[str]:
    """Return what came out, in a line each."""
    lines = []
    if pair.same:
        every = "all" if pair.same == pair.finished else f"{pair.same} of"
        lines.append(
            f"{every} {count(pair.finished, 'trial')} finished on both sides hold the very same numbers:"
            " copies, or repeated exactly; a difference of 0 there says nothing about chance"
        )
    if pair.settings:
        changed = "; ".join(f"{key} {one} -> {other}" for key, one, other in pair.settings)
        lines.append(f"settings differ: {changed}")
    titles = [metric.series.title for metric in pair.metrics]
    for metric in pair.metrics:
        name, points = metric.series.title, count(len(metric.changes), "point")
        if titles.count(name) > 1:
            name += f" ({metric.series.name})"
        if metric.why:
            how = f" ({metric.why})"
        elif metric.series.better is None:
            how = f" (different at {metric.count('different')} of {points})"
        else:
            how = f" (better at {metric.count('better')}, worse at {metric.count('worse')} of {points})"
        if metric.relative is not None:
            how += f", mean change {_percent(metric.relative).text}%"
        lines.append(f"{name}: {metric.verdict}{how}")
        if metric.lost:
            lines.append(f"{name}: B has no value at {count(len(metric.lost), 'point')} that A has")
    for rates in pair.rates:
        if rates.found:
            shown = "; ".join(f"{found.variant} {_in_words(found)}" for found in rates.found)
            lines.append(f"BD-rate of B against A, {rates.title}: {shown}")
    if pair.one_sided:
        lines.append(f"not on both sides: {'; '.join(', '.join(each) for each in pair.one_sided)}")
    return lines


def _left_out(found: Comparison) -> list[str]:
    lines = [f"not compared: {line}" for line in (*found.refused, *found.apart)]
    if not found.pairs:
        lines.insert(0, "nothing could be compared: A and B share no dataset and protocol with the same data")
    return [*lines, *(f"problem: {line}" for line in found.problems)]


def as_text(found: Comparison) -> str:
    """Return a comparison's sentences, a line each."""
    lines = []
    for pair in found.pairs:
        lines += [one_line(pair.heading), *(f"  {one_line(line)}" for line in sentences(pair))]
    return "".join(f"{line}\n" for line in [*lines, *map(one_line, _left_out(found))])


def as_markdown(found: Comparison) -> str:
    """Return a comparison in GitHub's Markdown; tables of every figure are folded."""
    parts = []
    for pair in found.pairs:
        parts.append(f"### {markdown_text(pair.heading)}: B against A\n")
        parts.append("".join(f"- {markdown_text(line)}\n" for line in sentences(pair)))
        for table in as_tables(pair):
            text = to_markdown(table)
            if table.folded:
                text = f"<details><summary>{table.title}</summary>\n\n{text}\n</details>\n"
            parts.append(text)
    if left := _left_out(found):
        parts.append("".join(f"- {markdown_text(line)}\n" for line in left))
    return "\n".join(parts)


def as_data(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON has it: the verdicts, and the tables with every figure."""
    return {
        "sections": [
            {
                "heading": pair.heading,
                "settings": [{"name": key, "a": one, "b": other} for key, one, other in pair.settings],
                "same_trials": pair.same,
                "finished_on_both": pair.finished,
                "verdicts": {metric.series.name: metric.verdict for metric in pair.metrics},
                "findings": sentences(pair),
                "tables": [to_json(table) for table in as_tables(pair)],
            }
            for pair in found.pairs
        ],
        "refused": list(found.refused),
        "apart": list(found.apart),
        "problems": list(found.problems),
    }
