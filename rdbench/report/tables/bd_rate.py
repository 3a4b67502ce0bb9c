"""The tables of BD-rate and of how often a variant's curve is the lowest."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import pandas as pd

from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report.numbers import ABSENT, Estimate, count, interval, number
from rdbench.report.references import Reference
from rdbench.report.sections import Section
from rdbench.report.statistics.bd_rate import (
    HIGHER_FLOOR,
    LEAST_RATE,
    LITTLE_OVERLAP,
    BdRate,
    CurvePoints,
    bd_rate,
)
from rdbench.report.statistics.coded import coded_points
from rdbench.report.statistics.curves import MEASURED, envelope, finite_points, lowest_shares, mean_points
from rdbench.report.statistics.series import beta_half, not_compared_under
from rdbench.report.statistics.states import in_curves, mean_image_mse, said
from rdbench.report.tables.table import Cell, Column, Table

LINEAR_CODER, CONSTANT = "linear_coder", "beta_vae"
"""What the others are compared with, where the section has it; see :func:`baselines`."""

OVERLAP = (
    "Overlap: the range both reach as a share of what either does."
    f" Below {LITTLE_OVERLAP:.0%} it is marked, as the number then speaks of a part of the curves only."
)
"""For captions."""


def _measures(section: Section) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Yield (title, column, finite test points, variants) of MSE and of each distortion.

    Of the variants whose distortion under that reading may be compared.
    """
    if not len(section.points):
        return
    # MSE is the same under every reading, and all are stored.
    for title, measure, reading in (
        ("MSE", "mse", "half"),
        *((f"distortion, {READING_NAMES[name]}", "distortion", name) for name in section.readings),
    ):
        silent, rows = not_compared_under(section, reading), section.splits.get(("test", reading))
        # Not every variant has a likelihood of its own.
        variants = [] if rows is None else sorted(set(rows["variant"]) - silent)
        points = in_curves(finite_points(section.points, "test", reading), section.states, collapsed=True)
        yield title, measure, points[~points["variant"].isin(silent)], variants
    coded = coded_points(section)
    if len(coded):
        # A point of a trial is one size of step: what stands for its beta only has to tell them apart.
        coded["beta"] = -1 - coded.groupby(["beta", "step"]).ngroup().astype(float)
        coded = coded.reindex(columns=[*coded.columns, *(name for name in MEASURED if name not in coded)])
        yield "MSE, rate as coded into bits", "mse", coded, sorted(set(coded["variant"]))


def baselines(variants: Collection[str]) -> list[str]:
    """Return what the others are compared with: a linear coder and constant variance, where they are there.

    Else the first by name. Of linear coders with options the first by name counts.
    """
    coders = sorted(name for name in variants if is_linear_coder(name))
    found = coders[:1] + ([CONSTANT] if CONSTANT in variants else [])
    return found or sorted(variants)[:1]


def is_linear_coder(variant: str) -> bool:
    """Tell whether a variant's name, which may hold options, is a linear coder's."""
    return variant == LINEAR_CODER or variant.startswith(f"{LINEAR_CODER} ")


def is_trained(variant: str) -> bool:
    """Tell whether a variant, whose name may hold options, trains: is no linear coder and no codec."""
    return not is_linear_coder(variant) and variant.split(" ")[0] != "codec"


def table(
    section: Section,
    floor: float = LEAST_RATE,
    against: Sequence[str] = (),
    references: Sequence[Reference] = (),
) -> Table | None:
    """Return the section's BD-rates, a row a quality, baseline and variant; None with nothing to compare.

    Args:
        section: its points.
        floor: rates up to it are left out, nats.
        against: the variants to compare with; by default :func:`baselines`.
        references: curves of others' to compare with as well.
    """
    variants = sorted(section.points["variant"].unique()) if len(section.points) else []
    if len(variants) < 2 and not (variants and references):
        return None
    against = against or (baselines(variants) if len(variants) > 1 else ())
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for title, measure, points, compared in _measures(section):
        curves = {name: CurvePoints(points[points["variant"] == name], measure, floor) for name in compared}
        for baseline in against:
            if baseline not in compared:
                continue  # the baseline may have no likelihood of its own
            for variant, curve in curves.items():
                if variant not in against[: against.index(baseline) + 1]:
                    rate = bd_rate(curve, curves[baseline], variant=variant, name=baseline)
                    rows.append((Cell(title), Cell(baseline), Cell(variant), *_cells(rate)))
        for rate in _of_references(section, title, curves, references):
            rows.append((Cell(title), Cell(rate.baseline), Cell(rate.variant), *_cells(rate)))
        means = mean_points(points)
        without = int(((means["rate"] <= floor) | (means["mse"] <= 0)).sum())
        if measure == "mse" and without:
            notes.append(
                f"{count(without, 'point')} of a rate up to {floor:g} nats or of error 0 left out."
                " The logarithm of nearly nothing would outweigh all else."
            )
    unstable = {key: state for key, state in section.states.items() if state == "unstable"}
    if left_out := said(unstable, mean_image_mse(section.trials) is not None):
        notes.append(left_out)
    named = " and ".join([*against, *dict.fromkeys(one.name for one in references)])
    caption = f"How much more rate a variant needs than {named} for the same quality; negative: less."
    return Table("bd_rate", f"BD-rate against {named}", caption, COLUMNS, tuple(rows), tuple(notes),
                 method=_method(section, floor))  # fmt: skip


def against_references(
    section: Section, references: Sequence[Reference], floor: float = LEAST_RATE
) -> Iterator[tuple[str, BdRate]]:
    """Yield (title of the quality, BD-rate) of each variant against each reference curve of that quality."""
    for title, measure, points, compared in _measures(section):
        curves = {name: CurvePoints(points[points["variant"] == name], measure, floor) for name in compared}
        yield from ((title, rate) for rate in _of_references(section, title, curves, references))


def _of_references(
    section: Section, title: str, curves: Mapping[str, CurvePoints], references: Sequence[Reference]
) -> Iterator[BdRate]:
    reading = {text: name for name, text in READING_NAMES.items()}.get(title.removeprefix("distortion, "), "")
    for reference in references:
        for variant, curve in curves.items():
            points = reference.points_like(section, curve.measure, reading)
            if points is not None:
                other = CurvePoints(points, curve.measure, curve.floor)
                yield bd_rate(curve, other, variant=variant, name=reference.name)


COLUMNS = (
    Column("quality", kind="key"), Column("against", kind="key"), Column("variant", kind="key"),
    Column("%", "BD-rate"), Column("from", "95% interval, %"), Column("to", "95% interval, %"), Column("n"),
    Column("overlap, %"), Column("over the range", kind="text"), Column("with the higher floor, %"),
    Column("gain at equal rate", kind="text"),
)  # fmt: skip


def _method(section: Section, floor: float) -> str:
    return (
        "On average over the qualities both reach (Bjontegaard 2001, the logarithm of the ratio of rates,"
        " those by PCHIP). Test split. Each curve is the monotone hull of the means over seeds: the points"
        f" that no point of lower or equal rate beats. Rates up to a floor of {floor:g} nats are left out."
        f" Beside it stands the BD-rate with a floor of {HIGHER_FLOOR * floor:g} nats. Where that lies"
        " outside of the interval it is marked: the number then hangs on the floor. Gain at equal rate: by"
        " how much the quality is better, in dB of PSNR or nats of distortion; negative: worse. It is the"
        " mean over the rates that both reach, each nat alike, and hangs on no floor."
        f" MSE stands for PSNR too, which gives the same BD-rate. {OVERLAP}"
        " 95% intervals: bootstrap over whole seeds, Student's t on the standard error, n seeds."
        f" That of BD-rate also holds what may lie between the points.{beta_half(section)}"
    )


def _cells(rate: BdRate) -> tuple[Cell, ...]:
    above = rate.above
    if above is None:
        why = "" if rate.percent is None else "no curve is left in common"
        higher = Cell(ABSENT, why, "warning" if rate.hangs_on_floor else "")
    else:
        higher = Cell(_percent(above), mark="warning" if rate.hangs_on_floor else "", value=above)
    return (*bd_rate_cells(rate, _percent), Cell(_range(rate)), higher, _gain(rate))


def _gain(rate: BdRate) -> Cell:
    """Return the cell of the gain, with its unit: the qualities of a table have two."""
    if rate.gain is None:
        return Cell(ABSENT, "the curves reach no rate in common" if rate.overlap is not None else "")
    unit = "dB" if rate.measure == "mse" else "nats"
    text = interval(Estimate(rate.gain, rate.gain_half_width, rate.n))
    return Cell(f"{text} {unit}", value=rate.gain, half_width=rate.gain_half_width, n=rate.n)


def bd_rate_cells(rate: BdRate, write: Callable[[float], str]) -> tuple[Cell, ...]:
    """Return percentage (as ``write`` has it), interval, seeds, overlap; the first that is empty says why."""

    def percent(value: float | None, why: str = "") -> Cell:
        return Cell(ABSENT, why) if value is None else Cell(write(value), value=value)

    overlap = None if rate.overlap is None else 100 * rate.overlap
    return (
        percent(rate.percent, rate.reason),
        percent(rate.low, "" if rate.percent is None else rate.reason),
        percent(rate.high),
        Cell(str(rate.n), value=rate.n),
        Cell(number(overlap, 0), "", "warning" if rate.overlaps_little else "", overlap),
    )


def _percent(value: float) -> str:
    return number(value, 1 if abs(value) < 1e6 else None)


def _range(rate: BdRate) -> str:
    """Write the shared range of quality, the best end last, as what was measured."""
    if rate.quality_range is None:
        return ABSENT
    if rate.measure == "mse":
        return " to ".join(number(10 ** (-end / 10)) for end in rate.quality_range)
    return f"{' to '.join(number(-end) for end in rate.quality_range)} nats"


def envelope_table(section: Section) -> Table | None:
    """Return where each variant is the best of all, a row a measure and variant; None without two."""
    rows: list[tuple[Cell, ...]] = []
    for title, measure, points, _ in _measures(section):
        means = mean_points(in_curves(points, section.states))
        if means["variant"].nunique() < 2:
            continue
        shares = lowest_shares(means, measure)
        # Of equal points the envelope keeps one; all of them are on it.
        best = set(envelope(means, measure)[["rate", measure]].itertuples(index=False, name=None))
        for variant, curve in means.groupby("variant"):
            on = sum(point in best for point in curve[["rate", measure]].itertuples(index=False, name=None))
            if shares is not None and (share := shares.shares.get(str(variant))) is not None:
                cell = Cell(number(100 * share, 1), value=100 * share)
                span = Cell(f"{number(shares.low)} to {number(shares.high)}")
            else:
                alone = len(envelope(curve, measure)) < 2
                why = "fewer than two points on its hull" if alone else "no rates that another curve spans"
                cell = span = Cell(ABSENT, why)
            rows.append((Cell(title), Cell(str(variant)), cell, span, Cell(str(on), value=on),
                         Cell(str(len(curve)), value=len(curve))))  # fmt: skip
    if not rows:
        return None
    caption = "At which share of the rates each variant's curve is the lowest."
    method = (
        "Share: of the rates that two curves or more span, in nats, those at which the variant's curve is the"
        " lowest. Where curves are equal, each is. On the envelope: its points, means over"
        " seeds, that no point of any variant of lower or equal rate beats. Test split. A curve is the hull"
        " of the variant's own means, joined by straight lines. A variant with fewer than two points has none"
        " and is not compared. Where points are far apart such lines say little. MSE and the distortion at"
        " σ² = 1/2 order two models of one rate alike. If their shares differ, the lines between the points"
        f" do.{beta_half(section)}"
    )
    columns = (
        Column("measure", kind="key"), Column("variant", kind="key"), Column("share, %"),
        Column("of the rates (nats)", kind="text"), Column("on the envelope"), Column("points"),
    )  # fmt: skip
    left_out = said(section.states, mean_image_mse(section.trials) is not None)
    return Table("envelope", "Share of the lower envelope", caption, columns, tuple(rows),
                 (left_out,) if left_out else (), method=method)  # fmt: skip
