"""The table of a search's proposals: their settings, what came of them, and what they cost."""

from rdbench.report.numbers import ABSENT, count, number
from rdbench.report.searches import CHOSEN, STATUSES, Proposal, StudyView
from rdbench.report.tables.measured import LONG
from rdbench.report.tables.table import Cell, Column, Mark, Table
from rdbench.spec.search_options import direction
from rdbench.text import shown

SHOWN = 50
"""Rows that the page shows at most."""


def table(study: StudyView, name: str = "proposals") -> Table | None:
    """Return a row a proposal, the best first; None where there is none."""
    if not study.proposals:
        return None
    several = any(len(proposal.trials) > 1 for proposal in study.proposals)
    columns = (
        Column("proposal", kind="key"), *map(Column, study.scales),
        *(Column(f"{study.chosen_on} {objective}") for objective in study.objectives),
        Column("status"), Column("time, s"), Column("trials" if several else "trial"),
    )  # fmt: skip
    rows = tuple(_row(proposal, study) for proposal in _best_first(study))
    first = "front" if len(study.objectives) > 1 else "best"
    means = " A mean over its seeds." if several else ""
    title = f"{count(len(rows), 'proposal')} of the search of {study.name}"
    caption = f"The {first} first, bold; those without a result last.{means} {CHOSEN[study.chosen_on]}"
    return Table(name, title, caption, columns, rows, folded=len(rows) >= LONG, shown=SHOWN)


def _best_first(study: StudyView) -> list[Proposal]:
    """Return the best or the front, what else keeps the constraints, what does not, and what has no result.

    Each by the first objective, without one by how they ended; of equals, as they were proposed.
    """
    order = list(STATUSES)
    sign = -1 if direction(study.objectives[0]) == "higher" else 1

    def rank(proposal: Proposal) -> tuple[bool, bool, bool, float]:
        value = sign * proposal.values[0] if proposal.values else order.index(proposal.status)
        return (proposal.values is None, not proposal.best, bool(proposal.broken), value)

    return sorted(study.proposals, key=rank)


def _row(proposal: Proposal, study: StudyView) -> tuple[Cell, ...]:
    number_of = "known before" if proposal.number is None else str(proposal.number)
    broken = f"breaks {' and '.join(proposal.broken)}" if proposal.broken else ""
    if proposal.values is None:
        values = [Cell(ABSENT, "not measured" if proposal.status == "done" else "")] * len(study.objectives)
    else:
        mark: Mark = "best" if proposal.best else ""
        values = [Cell(number(value), mark=mark, value=value) for value in proposal.values]
    return (
        Cell(number_of, value=proposal.number),
        *(_setting(proposal, name) for name in study.scales),
        *values,
        Cell(STATUSES[proposal.status], broken),
        Cell(number(proposal.seconds, 1), value=proposal.seconds),
        Cell(", ".join(proposal.trials)),
    )


def _setting(proposal: Proposal, name: str) -> Cell:
    """Return a setting's cell; an option of another variant is absent."""
    if name not in proposal.params:
        return Cell(ABSENT)
    value = proposal.params[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(shown(value), value=float(value) if is_number else None)
