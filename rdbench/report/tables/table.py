"""A table as the report means it, before it becomes HTML, CSV, LaTeX, Markdown or JSON.

Every table of the page is one of these, so an export holds what the page shows and nothing is written twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rdbench.report.numbers import ABSENT, Estimate, interval

Mark = Literal["", "best", "close", "warning"]
"""``best``: the best of its kind; ``close``: not distinguishable from the best; ``warning``: look here."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what a reader sees, "887.2 ± 1.3".
        note: what to know about it, "n = 3, 1 diverged", or why there is no number.
        mark: how it stands out.
        value: the number itself, None for text and for what was not measured.
        half_width: of the number's 95% interval; None where it has none.
        n: how many trainings the number is a mean of; None where it is no mean.
        long: a text of many lines, such as a traceback; the page folds it, and ``text`` is its summary.
        sign: "≥" or "≤" of a number that is a bound of what the column says; ``text`` begins with it.
    """

    text: str
    note: str = ""
    mark: Mark = ""
    value: float | None = None
    half_width: float | None = None
    n: int | None = None
    long: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: above it.
        group: a heading above several neighbouring columns; "" for none.
        kind: ``key`` names the row (a row header), ``number`` is aligned right, ``text`` is prose,
            ``detail`` prose that the page folds.
        badge: a word beside the heading, with a meaning the caption gives.
    """

    heading: str
    group: str = ""
    kind: Literal["key", "number", "text", "detail"] = "number"
    badge: str = ""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: the stem of its file in an export, unique within a section: "test_elbo".
        title: what it holds, in a few words.
        caption: what a reader must know to read it, in a line or two: what of what, units, intervals.
        columns, rows: each row has a cell for each column.
        notes: further lines below it.
        method: how its numbers are made, what is bold and why; the page folds it.
        brief: the rows, from 0, that the page shows first, the others behind a button; empty for all.
        folded: the page shows it closed.
        shown: rows that the page shows at most, the first; an export has all.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    method: str = ""
    brief: tuple[int, ...] = ()
    folded: bool = False
    shown: int | None = None

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.name!r} has a row of another length than its columns")

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: (heading, how many); empty where no column has a group."""
        runs = [(group, len(list(run))) for group, run in groupby(column.group for column in self.columns)]
        return runs if any(heading for heading, _ in runs) else []


def estimate_cell(
    value: Estimate | None, *, absent: str = "", lost: str = "", mark: Mark = "", most: int = 0
) -> Cell:
    """Return the cell of a mean over seeds.

    Args:
        value: the mean; None where nothing was measured.
        absent: why there is no number.
        lost: what keeps it from all its seeds, "1 diverged"; it is said beside a number and in place of one.
        mark: how it stands out.
        most: the seeds of the means beside it, which the caption says; one of fewer says how many.
    """
    if value is None:
        return Cell(ABSENT, lost or absent or "not a finite number")
    note = ", ".join(filter(None, (f"n = {value.n}" if value.n < most else "", lost)))
    return Cell(interval(value), note, mark, value.mean, value.half_width, value.n)


def numbered(headings: Sequence[str]) -> list[str]:
    """Return headings that differ: equal ones get their number, "fid (1)", "fid (2)"."""
    totals, seen = Counter(headings), Counter[str]()
    unique = []
    for heading in headings:
        seen[heading] += 1
        unique.append(f"{heading} ({seen[heading]})" if totals[heading] > 1 else heading)
    return unique


def texts(values: Iterable[str]) -> tuple[Cell, ...]:
    """Return plain cells."""
    return tuple(Cell(value) for value in values)
