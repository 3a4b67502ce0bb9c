"""Which cells of a table are bold: those of the best mean; and which get ≈: not distinguishable from it.

The table of a search's proposals marks what the search chose, see :mod:`rdbench.report.tables.proposals`.
"""

from dataclasses import replace

from rdbench.report.numbers import number
from rdbench.report.statistics.series import Key, Series
from rdbench.report.tables.table import Cell, Mark, estimate_cell

MARKED = (
    "Bold: the best mean shown. ≈: not distinguishable from it over seeds (t-test at 5%, paired where seeds"
    " are the same, else Welch's). With a single seed, or seeds that do not differ, the spread is not known,"
    " and nothing is marked."
)


def mark(series: Series, key: Key) -> Mark:
    """Tell whether a (variant, beta) is the best of a series, or not distinguishable from it."""
    best = series.top
    if best is None or key not in series.values or key[0] in series.silent:
        return ""
    if series.estimates[key].mean == series.estimates[best].mean:
        return "best"
    return "close" if series.tells_apart(key, best) is False else ""


def marked_cell(series: Series, key: Key, absent: str, lost: str, *, most: int) -> Cell:
    """Return the cell of a series' mean at a (variant, beta), with its mark; see :func:`estimate_cell`."""
    mean = series.estimates.get(key)
    cell = estimate_cell(mean, absent=absent, lost=lost, mark=mark(series, key), most=most)
    if mean is None or not (sign := series.signs.get(key)):
        return cell
    # An interval over seeds says nothing of what a bound is a bound of.
    return replace(cell, text=f"{sign} {number(mean.mean)}", half_width=None, sign=sign)
