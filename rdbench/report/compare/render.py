"""A comparison as tables, sentences, Markdown and JSON."""

from collections import Counter
from typing import Any

from rdbench.numerics.likelihood import LIKELIHOOD
from rdbench.report.compare.compare import WAYS, Comparison, Metric, Pair
from rdbench.report.numbers import ABSENT, Estimate, count, interval, number, plain
from rdbench.report.statistics.bd_rate import BdRate
from rdbench.report.statistics.series import BETA_HALF
from rdbench.report.statistics.states import said
from rdbench.report.tables.bd_rate import OVERLAP, bd_rate_cells
from rdbench.report.tables.table import Cell, Column, Mark, Table, estimate_cell, texts
from rdbench.report.tables.write import markdown_text, to_json, to_markdown
from rdbench.text import one_line


def as_tables(pair: Pair) -> list[Table]:
    """Return what is shown of a pair: verdicts, BD-rates, every difference, settings, what one side lacks."""
    settings = (Column("setting", kind="key"), Column("A", kind="text"), Column("B", kind="text"))
    trials = (Column("trials", kind="key"), Column("what", kind="text"))
    tables = [
        _verdicts(pair), _bd_rates(pair), _references(pair), _changes(pair),
        Table("settings", "Settings that differ", "", settings, tuple(map(texts, pair.settings))),
        Table("one_sided", "Not on both sides", "", trials, tuple(map(texts, pair.one_sided)),
              folded=len(pair.one_sided) > 8),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def _verdicts(pair: Pair) -> Table:
    rows = []
    for metric in pair.metrics:
        mark: Mark = "warning" if metric.verdict in ("worse", "mixed") else ""
        lost = f"B has no value at {count(len(metric.lost), 'point')} that A has" if metric.lost else ""
        note, change = "; ".join(filter(None, (metric.why, lost))), metric.relative
        share = Cell(ABSENT, "it has no zero to be relative to, or A is 0 or next to it")
        if change is not None:
            share = Cell(_percent(change), value=change)
        counts = (Cell(str(n), value=n) for n in (*map(metric.count, WAYS), len(metric.changes)))
        rows.append((Cell(metric.series.title), Cell(metric.series.name), Cell(metric.verdict, note, mark),
                     *counts, share))  # fmt: skip
    caption = "B against A: what a test over seeds shows at the points that both have."
    method = (
        "A point is a (variant, β). A difference is shown there where its t-test over seeds is significant at"
        " 5%, after Holm's correction over the metric's points. The test is paired where both sides have the"
        " same seeds, else Welch's. Better or worse: shown so at one point or more, and at none"
        " the other way. Untested: the means differ, and single seeds, or seeds that do not vary, test"
        f" nothing.{_beta_half(pair)}"
    )
    columns = (
        Column("metric", kind="key"), Column("name", kind="text"), Column("verdict", kind="text"),
        Column("better"), Column("worse"), Column("different"), Column("points"), Column("mean change, %"),
    )  # fmt: skip
    return Table("verdicts", "Verdict on each metric", caption, columns, tuple(rows), method=method)


def _beta_half(pair: Pair) -> str:
    """Return the end of a caption, where that reading is among those compared."""
    return f" {BETA_HALF}" if any(rates.quality == "beta_half" for rates in pair.rates) else ""


def _percent(value: float) -> str:
    text = number(value, 2 if abs(value) < 1e6 else None)
    return f"+{text}" if value > 0 and float(f"{value:.2f}") else text


def _bd_rates(pair: Pair) -> Table:
    rows = [
        (Cell(rates.title), Cell(rate.variant), *bd_rate_cells(rate, _percent))
        for rates in pair.rates
        for rate in rates.variants
    ]
    caption = "The rate B needs beyond A's for the same quality; negative: less."
    method = (
        "On average over the qualities both reach. 95% intervals: bootstrap over seeds."
        f" {OVERLAP}{_beta_half(pair)}"
    )
    columns = (
        Column("quality", kind="key"), Column("variant", kind="key"), Column("BD-rate, %"), Column("from"),
        Column("to"), Column("seeds"), Column("overlap, %"),
    )  # fmt: skip
    return Table("bd_rate", "BD-rate of B against A", caption, columns, tuple(rows), method=method)


def _references(pair: Pair) -> Table:
    rows = [
        (Cell(title), Cell(rate.baseline), Cell(side), Cell(rate.variant), *bd_rate_cells(rate, _percent))
        for side, title, rate in pair.references
    ]
    caption = (
        "The rate that A and B need beyond a reference curve's for the same quality; negative: less. A file"
        f" does not say what images its curve is of. {OVERLAP}"
    )
    columns = (
        Column("quality", kind="key"), Column("against", kind="key"), Column("side", kind="key"),
        Column("variant", kind="key"), Column("BD-rate, %"), Column("from"), Column("to"), Column("seeds"),
        Column("overlap, %"),
    )  # fmt: skip
    return Table("references", "BD-rate against reference curves", caption, columns, tuple(rows))


def _changes(pair: Pair) -> Table:
    rows = []
    for metric in pair.metrics:
        for change in metric.changes:
            kind, half, n = metric.kind(change), change.half_width, min(change.before.n, change.after.n)
            text = interval(Estimate(change.mean, half, n))
            states = (side.get((change.variant, change.beta), "") for side in pair.states)
            sides = zip((change.before, change.after), states, strict=True)
            rows.append((
                Cell(metric.series.title), Cell(change.variant), Cell(plain(change.beta), value=change.beta),
                *(estimate_cell(mean, lost=state) for mean, state in sides),
                Cell(text, change.reason, "warning" if kind == "worse" else "", change.mean, half, n),
                Cell(change.test), Cell(number(change.adjusted, 4), value=change.adjusted),
                Cell(kind or ("not shown" if change.p is not None else "untested")),
            ))  # fmt: skip
    caption = "Means over seeds ± 95% t-interval; p after Holm's correction over the points of the metric."
    columns = (
        Column("metric", kind="key"), Column("variant", kind="key"), Column("β", kind="key"), Column("A"),
        Column("B"), Column("B − A"), Column("test", kind="text"), Column("p"), Column("shown", kind="text"),
    )  # fmt: skip
    return Table("changes", "Every difference", caption, columns, tuple(rows), folded=True)


def _in_words(rate: BdRate) -> str:
    if rate.percent is None:
        return f"{rate.variant} {ABSENT} ({rate.reason})"
    ends = "" if rate.low is None or rate.high is None else f" [{_percent(rate.low)}, {_percent(rate.high)}]"
    little = f", overlap {rate.overlap:.0%} only" if rate.overlaps_little else ""
    return f"{rate.variant} {_percent(rate.percent)}%{ends}{little}"


def sentences(pair: Pair) -> list[str]:
    """Return what came out, in a line each."""
    lines = []
    if pair.same:
        every = "all" if pair.same == pair.finished else f"{pair.same} of"
        lines.append(
            f"{every} {count(pair.finished, 'trial')} finished on both sides hold the very same numbers:"
            " copies, or repeated exactly. A difference of 0 there says nothing about chance"
        )
    if pair.settings:
        changed = "; ".join(f"{key} {one} -> {other}" for key, one, other in pair.settings)
        lines.append(f"settings differ: {changed}")
    for side, states in zip("AB", pair.states, strict=True):
        # Whether by the mean image or a grey one a model was found unstable, the tables of a report say.
        if marked := said(states, known=True):
            lines.append(f"{side}: {marked.removesuffix('.')}")
    told = _told(pair)
    titles = [metric.series.title for metric in told]
    for metric in told:
        title, name = metric.series.title, metric.series.name
        lines += _of_metric(metric, title if titles.count(title) == 1 else f"{title} ({name})")
    read = {metric.series.reading for metric in told}
    for rates in pair.rates:
        if rates.variants and (rates.quality == "mse" or rates.quality in read):
            shown = ". ".join(map(_in_words, rates.variants))
            lines.append(f"BD-rate of B against A, {rates.title}: {shown}")
    if pair.one_sided:
        lines.append(f"not on both sides: {'; '.join(map(', '.join, pair.one_sided))}")
    return lines


def _told(pair: Pair) -> list[Metric]:
    """Return the metrics that sentences tell of: rate, PSNR and MSE, the ELBO under one reading, the others.

    That reading is ``optimal_train``, where both sides have it: an ELBO under a variant's own reading beside
    another's would compare nothing. The tables have every reading.
    """
    names = {metric.series.name for metric in pair.metrics}
    under_one = {f"elbo_{LIKELIHOOD}", "elbo_likelihood"}
    if not under_one & names:
        return list(pair.metrics)
    first = ("rate", "psnr", "mse", *under_one)
    chosen = [
        metric for metric in pair.metrics
        if not metric.series.name.startswith("elbo_") or metric.series.name in under_one
    ]  # fmt: skip
    return sorted(chosen, key=lambda metric: metric.series.name not in first)


def _of_metric(metric: Metric, name: str) -> list[str]:
    points, better = count(len(metric.changes), "point"), metric.series.better
    if metric.verdict == "not comparable":
        how = f" ({metric.why})"
    elif metric.verdict == "untested":
        leaning = Counter(map(metric.leaning, metric.changes))
        ways = ("different",) if better is None else ("better", "worse")
        means = ", ".join(f"{way} at {leaning[way]}" for way in ways)
        how = f" ({metric.why}; in the mean {means} of {points})"
    elif better is None:
        how = f" (different at {metric.count('different')} of {points})"
    else:
        how = f" (better at {metric.count('better')}, worse at {metric.count('worse')} of {points})"
    if metric.relative is not None:
        how += f", mean change {_percent(metric.relative)}%"
    elif metric.mean_change is not None:
        sign = "+" if metric.mean_change > 0 else ""
        how += f", mean change {sign}{number(metric.mean_change)} {metric.series.unit}".rstrip()
    lost = f"{name}: B has no value at {count(len(metric.lost), 'point')} that A has"
    return [f"{name}: {metric.verdict}{how}", *([lost] if metric.lost else [])]


def left_out(comparison: Comparison) -> list[str]:
    """Return what was not compared, and why, a line each."""
    lines = [f"not compared: {line}" for line in (*comparison.refused, *comparison.apart)]
    if not comparison.pairs:
        lines.insert(0, "nothing could be compared: A and B share no dataset and protocol with the same data")
    return [*lines, *(f"problem: {line}" for line in comparison.problems)]


def as_text(comparison: Comparison) -> str:
    """Return a comparison's sentences, a line each."""
    lines = []
    for pair in comparison.pairs:
        lines += [one_line(pair.heading), *(f"  {one_line(line)}" for line in sentences(pair))]
    return "".join(f"{line}\n" for line in [*lines, *map(one_line, left_out(comparison))])


def as_markdown(comparison: Comparison) -> str:
    """Return a comparison in GitHub's Markdown; tables of every figure are folded."""
    parts = []
    for pair in comparison.pairs:
        parts.append(f"### {markdown_text(pair.heading)}: B against A\n")
        parts.append("".join(f"- {markdown_text(line)}\n" for line in sentences(pair)))
        for table in as_tables(pair):
            text = to_markdown(table)
            if table.folded:
                text = f"<details><summary>{table.title}</summary>\n\n{text}\n</details>\n"
            parts.append(text)
    if left := left_out(comparison):
        parts.append("".join(f"- {markdown_text(line)}\n" for line in left))
    return "\n".join(parts)


def as_data(comparison: Comparison) -> dict[str, Any]:
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
            for pair in comparison.pairs
        ],
        "refused": list(comparison.refused),
        "apart": list(comparison.apart),
        "problems": list(comparison.problems),
    }
