"""A table as CSV, JSON, Markdown, LaTeX or a frame. Text from users stays text in each file."""

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from rdbench.report.numbers import ABSENT
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.text import one_line

if TYPE_CHECKING:
    import pandas as pd

LONG = 40
"""Rows from which on a LaTeX table is a ``longtable``: a float of more does not fit a page."""

PROSE = 40
"""Characters from which on a column of text is a paragraph of fixed width in LaTeX."""

Escape = Callable[[str], str]


def headings(table: Table) -> list[str]:
    """Return a unique name for each column: its group, heading and badge; repeated ones are numbered."""
    unique: list[str] = []
    for column in table.columns:
        name = one_line(f"{column.group}, {_heading(column)}" if column.group else _heading(column))
        candidates = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        unique.append(next(candidate for candidate in candidates if candidate not in unique))
    return unique


def _heading(column: Column) -> str:
    return f"{column.heading} ({column.badge})" if column.badge else column.heading


def _number(value: float | None) -> float | None:
    """Return a number that JSON can hold; None for one that it cannot."""
    return None if value is None or not math.isfinite(value) else value


def to_csv(table: Table) -> str:
    """Return a table for machines: a line a row, numbers in full precision and nothing but the number.

    After a column stand "<heading> half_width", "<heading> n", "<heading> bound" (≥ or ≤ of a number that is
    known as a bound only) and "<heading> note", each where any of its cells has one. What was not measured is
    empty; its note says why.

    A spreadsheet runs a text that begins with ``= + - @`` or a tab as a formula. Such a text, and one that
    begins with an apostrophe, gets an apostrophe in front; a reader takes one off. Numbers are never touched.
    """
    columns = [[_guarded(name), *map(_written, contents)] for name, contents in _columns(table)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


def to_frame(table: Table) -> "pd.DataFrame":
    """Return a table as a pandas frame: the columns of :func:`to_csv`, what was not measured as NaN.

    Its ``attrs`` has title, caption and notes.
    """
    import pandas as pd

    columns = {
        name: [math.nan if content is None else content for content in contents]
        for name, contents in _columns(table)
    }
    frame = pd.DataFrame(columns)
    frame.attrs |= {"title": table.title, "caption": table.caption, "notes": list(table.notes)}
    return frame


def _columns(table: Table) -> Iterator[tuple[str, list[str | float | None]]]:
    """Yield each column, numbers in full precision; after it what its cells say besides, where any does."""
    for index, name in enumerate(headings(table)):
        cells = [row[index] for row in table.rows]
        yield name, [_content(cell) for cell in cells]
        extras = {"half_width": "half_width", "n": "n", "bound": "sign", "note": "note"}
        for suffix, attribute in extras.items():
            contents = [getattr(cell, attribute) for cell in cells]
            if any(content not in (None, "") for content in contents):
                yield f"{name} {suffix}", contents


def _content(cell: Cell) -> str | float | None:
    return cell.value if cell.value is not None else None if cell.text == ABSENT else cell.text


def _written(content: str | float | None) -> str:
    if content is None:
        return ""
    return _guarded(content) if isinstance(content, str) else repr(float(content)).removesuffix(".0")


def _guarded(text: str) -> str:
    # NUL ends a text for many a reader; csv leaves a lone carriage return unquoted, which ends a line.
    text = text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.lstrip()[:1] in {*"=+-@'"} or text[:1] in {*"\t\n"} else text


def to_json(table: Table) -> dict[str, Any]:
    """Return a table as JSON has it: what the page shows of each cell, and the numbers behind it."""
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "method": table.method,
        "columns": [
            {"name": name, "heading": column.heading, "group": column.group, "kind": column.kind,
             "badge": column.badge}
            for name, column in zip(headings(table), table.columns, strict=True)
        ],
        "rows": [
            [
                {"value": _number(cell.value), "half_width": _number(cell.half_width), "n": cell.n,
                 "text": cell.text, "note": cell.note, "mark": cell.mark}
                | ({"long": cell.long} if cell.long else {}) | ({"bound": cell.sign} if cell.sign else {})
                for cell in row
            ]
            for row in table.rows
        ],
        "notes": list(table.notes),
    }  # fmt: skip


def _footnotes(table: Table) -> dict[str, int]:
    """Return the distinct notes of cells, numbered in reading order."""
    notes = dict.fromkeys(one_line(cell.note) for row in table.rows for cell in row if cell.note)
    return {note: number for number, note in enumerate(notes, start=1)}


def _shown(cell: Cell, notes: dict[str, int], escape: Escape, marks: dict[str, str], raised: str) -> str:
    """Return a cell's text, as its mark shows it, and the raised number of its note."""
    text = marks.get(cell.mark, "{}").format(escape(cell.text))
    return text + (raised.format(notes[one_line(cell.note)]) if cell.note else "")


def _below(
    table: Table, notes: dict[str, int], escape: Escape, raised: str, signs: tuple[str, str]
) -> list[str]:
    """Return what stands below a table: the signs it uses, its cells' notes, then its own."""
    used = {cell.mark for row in table.rows for cell in row}
    explained = {"best": "Bold: the best of its kind.", "close": f"{signs[0]}: not distinguishable from it.",
                 "warning": f"{signs[1]}: look here."}  # fmt: skip
    marks = " ".join(line for mark, line in explained.items() if mark in used)
    numbered = [f"{raised.format(number)} {escape(note)}" for note, number in notes.items()]
    return [*filter(None, [marks]), *numbered, *map(escape, table.notes)]


def markdown_text(text: str) -> str:
    """Return text for GitHub's Markdown, on one line: no markup, no HTML, no mention, no reference."""
    text = re.sub(r"([\\`*\[\]<>|~$&])|(?<!\w)_|_(?!\w)", lambda match: f"\\{match[0]}", one_line(text))
    # A comment between the sign and the name: GitHub links (and notifies) only where they touch.
    text = re.sub(r"([@#])(?=\w)", r"\1<!-- -->", text)
    return re.sub(r"(?i)(https?|ftp)://|www\.", lambda match: f"{match[0][:-1]}<!-- -->{match[0][-1]}", text)


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown: the best in bold, what is not distinguishable from it with ≈."""
    notes, escape, raised = _footnotes(table), markdown_text, "<sup>{}</sup>"
    marks = {"best": "**{}**", "close": "{} ≈", "warning": "{} ⚠"}
    rows = [[escape(name) for name in headings(table)]]
    rows.append(["--:" if column.kind == "number" else ":--" for column in table.columns])
    rows += [[_shown(cell, notes, escape, marks, f" {raised}") for cell in row] for row in table.rows]
    lines = [
        f"**{escape(table.title)}**",
        "",
        escape(f"{table.caption} {table.method}".strip()),
        "",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for line in _below(table, notes, escape, raised, ("≈", "⚠")):
        lines += ["", line]
    return "\n".join(lines) + "\n"


@cache
def _encoder() -> Any:
    from pylatexenc.latexencode import UnicodeToLatexEncoder  # type: ignore[import-untyped]

    return UnicodeToLatexEncoder(
        replacement_latex_protection="braces-all", unknown_char_policy="unihex", unknown_char_warning=False
    )


def latex_text(text: str) -> str:
    """Return text for LaTeX in plain ASCII, on one line: nothing in it is a command.

    A character that LaTeX has no name for, such as an emoji, is written as its code: <U+1F642>.
    """
    encoded = str(_encoder().unicode_to_latex(one_line(text)))
    # With the default fonts other characters or ligatures stand for these.
    encoded = encoded.replace("|", r"{\textbar}").replace("`", r"{\textasciigrave}")
    return re.sub(r"(?<=-)-|(?<=')'", r"{}\g<0>", encoded)


def to_latex(table: Table, label: str | None = None) -> str:
    r"""Return a complete LaTeX table (packages booktabs, and longtable for one of more than ``LONG`` rows).

    Args:
        table: the table. Its groups head their columns, the best is bold, and a dagger marks what is not
            distinguishable from the best.
        label: of ``\label``; by default "tab:" and the table's name.
    """
    notes, escape, raised = _footnotes(table), latex_text, r"\textsuperscript{{{}}}"
    marks = {
        "best": r"\textbf{{{}}}",
        "close": r"{}\textsuperscript{{\textdagger}}",
        "warning": r"\emph{{{}}}",
    }

    def cell_text(text: str) -> str:
        # "[" and "*" after the end of a row would be its arguments.
        text = escape(text)
        return f"{{}}{text}" if text[:1] in {*"[*"} else text

    def row(cells: Iterable[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    head = [r"\toprule"]
    if table.groups:
        spans = [(escape(heading), width) for heading, width in table.groups]
        head.append(row(rf"\multicolumn{{{width}}}{{c}}{{{heading}}}" for heading, width in spans))
        first, rules = 1, []
        for heading, width in spans:
            if heading:
                rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
            first += width
        head.append("".join(rules))
    head.append(row(f"{{{escape(_heading(column))}}}" for column in table.columns))
    head.append(r"\midrule")
    body = [row(_shown(cell, notes, cell_text, marks, raised) for cell in cells) for cells in table.rows]
    label = re.sub(r"[^A-Za-z0-9:-]+", "-", table.name if label is None else label.removeprefix("tab:"))
    title = escape(table.title)
    caption = rf"\caption[{{{title}}}]{{{title}. {escape(table.caption)}}}\label{{tab:{label}}}"
    lines = _below(table, notes, escape, raised, (r"\textdagger", r"\emph{italics}"))
    below = [rf"\par\smallskip{{\footnotesize {line}}}" for line in lines]
    shape = "".join(_alignment(table, index) for index in range(len(table.columns)))
    if len(table.rows) > LONG:
        lines = [r"% needs \usepackage{booktabs} and \usepackage{longtable}",
                 rf"\begin{{longtable}}{{{shape}}}",
                 caption + r" \\", *head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot",
                 *body, r"\end{longtable}", *below]  # fmt: skip
    else:
        lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", caption,
                 rf"\begin{{tabular}}{{{shape}}}", *head, *body, r"\bottomrule", r"\end{tabular}", *below,
                 r"\end{table}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _alignment(table: Table, index: int) -> str:
    if table.columns[index].kind == "number":
        return "r"
    prose = any(len(row[index].text) > PROSE for row in table.rows)
    return r"p{0.3\linewidth}" if prose else "l"
