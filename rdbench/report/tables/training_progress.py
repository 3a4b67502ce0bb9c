"""How far the trainings of a section had come: what they gained from one cycle's end to the next."""

from collections.abc import Mapping
from typing import Any

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report.numbers import ABSENT, number
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.series import Key
from rdbench.report.statistics.training_progress import ALL_BETAS, NO_HISTORY, progress
from rdbench.report.tables.measured import KEYS, LONG, key_cells
from rdbench.report.tables.table import Cell, Column, Mark, Table, estimate_cell

RISE = "ELBO gained in the second cycle"

ROSE = (
    f"{RISE}: how much the training images' ELBO changed between the ends of the two cosine cycles of the"
    " learning rate. It is under the same reading, by the history's means of error and rate. A longer"
    " training may change the difference by as much."
)
"""For captions beside a comparison."""


def rise_cell(rise: float | None, claimed: float | None, reason: str) -> Cell:
    """Return the cell of a gain in the second cycle, marked where it is more than a claimed difference."""
    if rise is None:
        return Cell(ABSENT, reason or "no history under this reading")
    mark: Mark = "warning" if claimed is not None and abs(rise) > abs(claimed) else ""
    return Cell(number(rise), mark=mark, value=rise)


def table(section: Section) -> Table | None:
    """Return what each (variant, beta) gained in its second cycle; None where no training is done."""
    trainings, reasons = progress(section)
    if not (trainings or reasons):
        return None
    left_out = _without_history(trainings, reasons)
    keys = sorted(key for key in {*trainings, *reasons} if key[0] not in left_out)
    rows = []
    for key in keys:
        here = [*trainings.get(key, {}).values()]
        rises = [rise for one in here if (rise := one.rose(LIKELIHOOD)) is not None]
        values = [
            [one.loss[0] for one in here],
            [one.loss[1] for one in here],
            [one.fell for one in here],
            rises,
        ]
        reason = "it has no rate" if here else reasons[key]
        cells = (estimate_cell(estimate(numbers), absent=reason) for numbers in values)
        rows.append((*key_cells(key), *cells))
    epochs = sorted({one.epochs for trainings_of in trainings.values() for one in trainings_of.values()})
    caption = "What training still gained in the second of the two cosine cycles of the learning rate."
    method = (
        "The learning rate falls to zero twice. A loss that still fell from the end of the first cycle to the"
        " end of the second may fall further in a longer training. A difference between variants that is"
        " smaller says little of what they reach in the end. Losses are means over training images in each"
        " variant's own units. The ELBO, in nats per image, is that of the training images under"
        f" {READING_NAMES[LIKELIHOOD]}."
    )
    if any(len(seeds) > 1 for seeds in trainings.values()):
        method += " Means ± 95% t-intervals over seeds."
    if epochs:
        ends = " or ".join(f"{first} and {last}" for first, last in epochs)
        method += f" The ends: epochs {ends}."
    if any(last % 2 for _, last in epochs):
        method += (
            " Of an odd number of epochs the first cycle ends within one. The last whole one before is taken,"
            " so what was gained since is overstated."
        )
    columns = (
        *KEYS, Column("loss, first cycle"), Column("loss, second cycle"), Column("fell by"), Column(RISE),
    )  # fmt: skip
    title = "How far training had come"
    return Table("training_progress", title, caption, columns, tuple(rows), _said(left_out), method,
                 folded=len(rows) >= LONG)  # fmt: skip


def _without_history(trainings: Mapping[Key, Any], reasons: Mapping[Key, str]) -> dict[str, str]:
    """Return why variants beside trained ones have a history at no beta, as a closed form has."""
    trained = {variant for variant, _ in trainings}
    whys: dict[str, set[str]] = {}
    for (variant, _), reason in reasons.items():
        whys.setdefault(variant, set()).add(reason)
    silent = {name: why.pop() for name, why in sorted(whys.items()) if name not in trained and len(why) == 1}
    return {name: why for name, why in silent.items() if why in (NO_HISTORY, ALL_BETAS)} if trained else {}


def _said(left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note for each reason."""
    names: dict[str, list[str]] = {}
    for name, why in left_out.items():
        names.setdefault(why, []).append(name)
    return tuple(f"Left out: {', '.join(here)} ({why})." for why, here in names.items())
