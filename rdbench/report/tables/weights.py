"""Variants at equal beta, and beside it at equal effective weight."""

import math
from collections.abc import Mapping

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report.numbers import ABSENT, Estimate, interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics import series
from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.series import Key
from rdbench.report.statistics.training_progress import mean_rise, progress
from rdbench.report.statistics.weights import (
    NOT_EQUAL,
    OFF_CURVES,
    Values,
    at_equal_weight,
    on_curves,
    weights,
)
from rdbench.report.tables.measured import LONG
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.training_progress import RISE, ROSE, rise_cell

BASELINE = "beta_vae"
"""What the others are compared with, where the section has a weight of it."""


def mean_weight(weights: Mapping[Key, Mapping[int, float]], key: Key) -> float | None:
    """Return the mean over seeds of a (variant, beta)'s weights; None where it has none."""
    values = weights.get(key, {}).values()
    return math.fsum(values) / len(values) if values else None


def difference_cell(found: Difference | str | None) -> Cell:
    """Return the cell of a difference with its 95% interval over seeds, or of why there is none."""
    if not isinstance(found, Difference):
        return Cell(ABSENT, found or "not both have a value")
    text = interval(Estimate(found.mean, found.half_width, 2 if found.half_width is not None else 1))
    return Cell(text, found.reason, value=found.mean, half_width=found.half_width)


def weight_cell(weights: Mapping[Key, Mapping[int, float]], key: Key, reasons: Mapping[Key, str]) -> Cell:
    """Return the cell of a mean effective weight, or of why there is none."""
    weight = mean_weight(weights, key)
    if weight is None:
        return Cell(ABSENT, reasons.get(key, "not measured"))
    return Cell(number(weight), value=weight)


def equal_weight_cell(values: Values, found: Values, pair: tuple[Key, str]) -> Cell:
    """Return the difference at the weight of ``pair``'s second variant at its beta.

    Args:
        values: of one quantity, from :func:`rdbench.report.statistics.weights.on_curves`.
        found: the weights.
        pair: the baseline's (variant, beta), and the variant it is taken from.
    """
    at = mean_weight(found, pair[0])
    if at is None or not at > 0:
        return Cell(ABSENT, f"no w of {pair[0][0]}")
    if pair[0] not in values:
        return Cell(ABSENT, f"{pair[0][0]} is on no curve at this β: collapsed, unstable or without a value")
    return difference_cell(at_equal_weight(values, found, pair[1], pair[0][0], at))


def table(section: Section) -> Table | None:
    """Return each variant's ELBO less the baseline's at equal beta and at equal weight.

    At each beta of the baseline. None with fewer than two variants, or where none has a weight.
    """
    found, reasons = weights(section)
    elbo = series.elbo(section, LIKELIHOOD)
    known = {variant for variant, _ in found if variant in {name for name, _ in elbo.values}}
    others = sorted({variant for variant, _ in elbo.values})
    if not known or len(others) < 2:
        return None
    baseline = BASELINE if BASELINE in known else min(known)
    trainings, unknown = progress(section)
    lines = on_curves(section, elbo.values)
    rows = []
    for variant in [name for name in others if name != baseline]:
        for key in sorted(key for key in elbo.values if key[0] == baseline):
            ours, theirs = ((name, key[1]) for name in (variant, baseline))
            both = ours in elbo.values and theirs in elbo.values
            at_beta = difference(elbo.values[theirs], elbo.values[ours]) if both else None
            rises = [
                rise_cell(mean_rise(trainings.get(each, {}).values(), LIKELIHOOD),
                          at_beta.mean if at_beta else None, unknown.get(each, "not trained"))
                for each in (ours, theirs)
            ]  # fmt: skip
            rows.append((
                Cell(variant), Cell(plain(key[1])), difference_cell(at_beta),
                weight_cell(found, ours, reasons), weight_cell(found, theirs, reasons),
                equal_weight_cell(lines, found, (theirs, variant)), *rises,
            ))  # fmt: skip
    caption = (
        f"Test ELBO under {READING_NAMES[LIKELIHOOD]}, nats per image: the variant's less that of {baseline},"
        " with 95% intervals."
    )
    method = (
        f"Intervals are over seeds, paired where the seeds are the same. {NOT_EQUAL} So beside the"
        f" difference at equal β stands that at the w of {baseline} at this β. Each seed's values are"
        " interpolated linearly in ln w between neighbouring weights, within the range of its own weights."
        f" {OFF_CURVES} {ROSE} Marked: more than the difference at equal β."
    )
    columns = (
        Column("variant", kind="key"), Column(f"β of {baseline}", kind="key"), Column("at equal β"),
        Column("w, variant"), Column(f"w, {baseline}"), Column(f"at equal w, that of {baseline}"),
        Column("variant", RISE), Column(baseline, RISE),
    )  # fmt: skip
    title = f"ELBO against {baseline}, at equal β and at equal weight"
    return Table("equal_weight", title, caption, columns, tuple(rows), method=method,
                 folded=len(rows) >= LONG)  # fmt: skip
