"""The tables of BD-rate and of how often a variant's curve is the lowest."""

from collections.abc import Iterator

import pandas as pd

from rdbench.report.numbers import ABSENT, count, number
from rdbench.report.sections import Section
from rdbench.report.statistics.bd_rate import LEAST_RATE, LITTLE_OVERLAP, BdRate, CurvePoints, bd_rate
from rdbench.report.statistics.curves import envelope, finite_points, lowest_shares, mean_points
from rdbench.report.statistics.series import BETA_HALF, READING_NAMES, says_nothing_of
from rdbench.report.tables.table import Cell, Column, Mark, Table

BASELINE = "beta_vae"
"""What the others are compared with, where it is there."""


def _measures(section: Section) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Yield (title, column, finite points of the test split, variants) of MSE and of each distortion.

    Of the variants that the reading says something of: the others' distortion is not to be compared.
    """
    if not len(section.points):
        return
    # MSE is the same under every reading, and all are stored.
    for title, measure, reading in (
        ("MSE", "mse", "half"),
        *((f"distortion, {READING_NAMES[each]}", "distortion", each) for each in section.readings),
    ):
        rows = section.splits.get(("test", reading))
        # Not every variant has a likelihood of its own.
        silent = says_nothing_of(section, reading)
        there = [] if rows is None else sorted(set(rows["variant"]) - silent)
        points = finite_points(section.points, "test", reading)
        yield title, measure, points[~points["variant"].isin(silent)], there


def _beta_half(section: Section) -> str:
    """Return the end of a caption: why some variants have no row, where they have none."""
    return f" {BETA_HALF}" if any(says_nothing_of(section, each) for each in section.readings) else ""


def table(section: Section) -> Table | None:
    """Return the section's BD-rates, a row a quality and variant; None where there are not two variants."""
    variants = sorted(section.points["variant"].unique()) if len(section.points) else []
    if len(variants) < 2:
        return None
    baseline = BASELINE if BASELINE in variants else variants[0]
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for title, measure, points, there in _measures(section):
        if baseline not in there:
            continue  # such as a likelihood of its own, which the baseline has not got
        curves = {name: CurvePoints(points[points["variant"] == name], measure) for name in variants}
        for variant in variants:
            if variant != baseline and variant in there:
                found = bd_rate(curves[variant], curves[baseline], variant=variant, name=baseline)
                rows.append((Cell(title), Cell(variant), *_cells(found)))
        means = mean_points(points)
        without = int(((means["rate"] <= LEAST_RATE) | (means["mse"] <= 0)).sum())
        if measure == "mse" and without:
            notes.append(
                f"{count(without, 'point')} of a rate up to {LEAST_RATE:g} nats or of error 0 left out: the"
                " logarithm of nearly nothing would outweigh all else."
            )
    caption = (
        f"How much more rate than {baseline} a variant needs for the same quality, on average over"
        " the qualities both reach (Bjontegaard 2001, PCHIP, in the logarithm of the rate); negative: less."
        " Test split. Each curve is the monotone hull of the means over seeds: the points that no point of"
        " lower or equal rate beats. MSE stands for PSNR too, which gives the same number. Overlap: the"
        " range both reach as a share of what either does, marked below"
        f" {LITTLE_OVERLAP:.0%}, where the number speaks of a part of the curves only. 95% intervals:"
        " bootstrap over whole seeds, Student's t on the standard error of the logarithm, n seeds."
        f"{_beta_half(section)}"
    )
    columns = (
        Column("quality", kind="key"), Column("variant", kind="key"), Column("%", "BD-rate"),
        Column("from", "95% interval, %"), Column("to", "95% interval, %"), Column("n"),
        Column("overlap, %"), Column("over the range", kind="text"),
    )  # fmt: skip
    return Table("bd_rate", f"BD-rate against {baseline}", caption, columns, tuple(rows), tuple(notes))


def _cells(found: BdRate) -> tuple[Cell, ...]:
    """Return the cells of a BD-rate, from the percentage on; the first that is empty says why."""

    def cell(value: float | None, decimals: int = 1, why: str = "", mark: Mark = "") -> Cell:
        if value is None:
            return Cell(ABSENT, why)
        return Cell(number(value, decimals if abs(value) < 1e6 else None), "", mark, value)

    overlap = None if found.overlap is None else 100 * found.overlap
    return (
        cell(found.percent, why=found.reason),
        cell(found.low, why="" if found.percent is None else found.reason),
        cell(found.high),
        cell(found.n, 0),
        cell(overlap, 0, mark="warning" if found.overlaps_little else ""),
        Cell(_range(found) if found.quality_range else ABSENT),
    )


def _range(found: BdRate) -> str:
    """Write the shared range of quality, the best end last, as what was measured."""
    ends = found.quality_range or ()
    values = [10 ** (-end / 10) if found.measure == "mse" else -end for end in ends]
    return f"{' to '.join(map(number, values))}{'' if found.measure == 'mse' else ' nats'}"


def envelope_table(section: Section) -> Table | None:
    """Return where each variant is the best of all, a row a measure and variant; None without two."""
    rows: list[tuple[Cell, ...]] = []
    for title, measure, points, _ in _measures(section):
        means = mean_points(points)
        if means["variant"].nunique() < 2:
            continue
        found = lowest_shares(means, measure)
        # Of equal points the envelope keeps one; all of them are on it.
        best = set(envelope(means, measure)[["rate", measure]].itertuples(index=False, name=None))
        for variant, own in means.groupby("variant"):
            on = sum(point in best for point in own[["rate", measure]].itertuples(index=False, name=None))
            share = None if found is None else found.shares.get(str(variant))
            if found is not None and share is not None:
                cell = Cell(number(100 * share, 1), value=100 * share)
                span = Cell(f"{number(found.low)} to {number(found.high)}")
            else:
                alone = len(envelope(own, measure)) < 2
                why = "fewer than two points on its hull" if alone else "no rates that another curve spans"
                cell = span = Cell(ABSENT, why)
            rows.append((Cell(title), Cell(str(variant)), cell, span, Cell(str(on), value=on),
                         Cell(str(len(own)), value=len(own))))  # fmt: skip
    if not rows:
        return None
    caption = (
        "Share: of the rates that two curves or more span, in nats, those at which the variant's curve is the"
        " lowest of those there; where curves are equal, each is. On the envelope: its points, means over"
        " seeds, that no point of any variant of lower or equal rate beats. Test split. A curve is the hull"
        " of the variant's own means, joined by straight lines; a variant with fewer than two points has none"
        " and is not compared. Where points are far apart such lines say little: MSE and the distortion at"
        " σ² = 1/2 order two models of one rate alike, and if their shares differ it is the lines between the"
        f" points that do.{_beta_half(section)}"
    )
    columns = (
        Column("measure", kind="key"), Column("variant", kind="key"), Column("share, %"),
        Column("of the rates (nats)", kind="text"), Column("on the envelope"), Column("points"),
    )  # fmt: skip
    return Table("envelope", "Share of the lower envelope", caption, columns, tuple(rows))
