"""The table of a search's proposals: their settings, what came of them, and what they cost."""

from rdbench.report.numbers import ABSENT, count, number, setting
from rdbench.report.searches import CHOSEN, STATUSES, Proposal, StudyView
from rdbench.report.tables.measured import LONG
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.spec.search_options import direction

SHOWN = 50
"""Rows that the page shows at most."""


def table(study: StudyView, name: str = "proposals") -> Table | None:
    """Return a row a proposal, the best first; None where there is none.

    Args:
        study: what was searched.
        name: of the table.
    """
    if not study.proposals:
        return None
    several = any(len(each.trials) > 1 for each in study.proposals)
    columns = (
        Column("proposal", kind="key"),
        *map(Column, study.scales),
        *(Column(f"test {each}") for each in study.objectives),
        Column("status"),
        Column("time, s"),
        Column("trials" if several else "trial"),
    )
    rows = tuple(_row(each, study) for each in _best_first(study))
    first = "front" if len(study.objectives) > 1 else "best"
    means = " A mean over its seeds." if several else ""
    title = f"{count(len(rows), 'proposal')} of the search of {study.name}"
    return Table(
        name,
        title,
        f"The {first} first, bold; those without a result last.{means} {CHOSEN}",
        columns,
        rows,
        (),
        len(rows) >= LONG,
        SHOWN,
    )


def _best_first(study: StudyView) -> list[Proposal]:
    """Return the best or the front, what else keeps the constraints, what does not, and what has no result.

    Each by the first objective, without one by how they ended; of equals, as they were proposed.
    """
    order = list(STATUSES)
    sign = -1 if direction(study.objectives[0]) == "higher" else 1

    def rank(each: Proposal) -> tuple[bool, bool, bool, float]:
        value = sign * each.values[0] if each.values else order.index(each.status)
        return (each.values is None, not each.best, bool(each.broken), value)

    return sorted(study.proposals, key=rank)


def _row(each: Proposal, study: StudyView) -> tuple[Cell, ...]:
    asked = Cell("known before") if each.number is None else Cell(str(each.number), value=each.number)
    broken = f"breaks {' and '.join(each.broken)}" if each.broken else ""
    values = [
        Cell(ABSENT, "not measured" if each.status == "done" else "")
        if each.values is None
        else Cell(number(each.values[place]), mark="best" if each.best else "", value=each.values[place])
        for place in range(len(study.objectives))
    ]
    return (
        asked,
        *(_setting(each, name) for name in study.scales),
        *values,
        Cell(STATUSES[each.status], broken),
        Cell(ABSENT) if each.seconds is None else Cell(number(each.seconds, 1), value=each.seconds),
        Cell(", ".join(each.trials)),
    )


def _setting(each: Proposal, name: str) -> Cell:
    """Return a setting's cell; an option of another variant is not there."""
    if name not in each.params:
        return Cell(ABSENT)
    value = each.params[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(setting(value), value=float(value) if is_number else None)
