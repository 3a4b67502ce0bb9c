"""Rate against distortion under each reading, squared error or PSNR: the axes are chosen, or one is alone."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rdbench.numerics.likelihood import LIKELIHOOD, OWN, READING_NAMES
from rdbench.report.charts import fit
from rdbench.report.charts.chart import Chart, Control, Rows, Spec, Values, by_variant, rounded, wide
from rdbench.report.charts.curve_plot import Measure, Plot, Unit
from rdbench.report.numbers import number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import lowest_curve
from rdbench.report.statistics.series import BETA_HALF, Key, not_compared_under, values_by_seed
from rdbench.report.tables import shannon

NATS = 300.0  # where the linear rate axis ends in Fig. 3 of the paper
PAPER_DATASETS = ("mnist", "celeba")
PAPER_VARIANTS = frozenset({"bs_vae", "beta_vae"})

SCALES = Control("rate axis", (("linear", "linear"), ("log", "logarithmic")))

# These do not depend on the reading: any will do.
MSE = Measure("mse", "mse", "half", "MSE", "mean squared error", ("mean squared error of a value",))
PSNR = Measure(
    "psnr", "psnr_of_mse", "half", "PSNR", "PSNR of the MSE", ("PSNR of the MSE (dB)",), higher=True
)


def rate_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw distortion, MSE or PSNR of the test split over the rate: a curve a variant, fitted to its means.

    A point is drawn where rate and measure of all of its seeds are finite; the notes count the others. None
    without any point. ``variants`` are all of the section, in order: each looks the same in every chart.
    The first view is under the fitted variance of the training images, where there is that reading.
    """
    readings = sorted(section.readings, key=lambda reading: reading != LIKELIHOOD)
    return draw(section, variants, [*map(distortion, readings), MSE, PSNR],
                "rate_distortion", "Rate and distortion, test split")  # fmt: skip


def psnr_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the PSNR of the test split over the rate, a curve a variant, with its name at its end.

    Data that are no images have no PSNR: then MSE, with Shannon's curve where that is known. None without
    any point. ``variants`` are all of the section, in order.
    """
    return draw(section, variants, [PSNR], "psnr", "Rate and PSNR, test split") or draw(
        section, variants, [MSE], "psnr", "Rate and squared error, test split"
    )


def draw(
    section: Section, variants: Sequence[str], measures: Sequence[Measure], name: str, title: str
) -> Chart | None:
    """Return a chart of measures over the rate, the first one first; None where none has a value.

    A chart of a single measure is plain: without envelope and lines joining equal beta.
    """
    rates = values_by_seed(section, "rate", "half")
    values = {measure.name: beside(rates, section, measure) for measure in measures}
    wanted, measures = measures, [measure for measure in measures if values[measure.name]]
    if not measures:
        return None
    units = units_of(section)
    in_units: dict[str, Values] = {
        unit: {key: {seed: factor * rate for seed, rate in seeds.items()} for key, seeds in rates.items()}
        for unit, _, factor in units
    }
    # What tells unstable models apart is in the means of every chart.
    states = {measure.name: beside(rates, section, measure) for measure in (MSE, PSNR)}
    means, seeds = wide(variants, in_units | states | {one.name: values[one.name] for one in measures})
    fit.mark_states(means, section.states)
    data = {"means": means} | ({"seeds": seeds} if seeds else {})
    plot = Plot(data, by_variant(variants), units, end_of_axis(section), plain=len(wanted) == 1)
    views: dict[str, Spec] = {}
    for measure in measures:
        excluded = not_compared_under(section, measure.reading)
        compared = [row for row in means if row["variant"] not in excluded and fit.of_curve(row)]
        bound = _add_shannon(section, measure, data)
        found = plot.views(measure, compared, _finding(means, compared, measure), shannon=bound)
        views |= {f"{measure.name}/{key}" if len(wanted) > 1 else key: view for key, view in found.items()}
    controls = [
        Control("vertical axis", tuple((measure.name, measure.title) for measure in measures)),
        SCALES,
    ][len(wanted) == 1 :]
    if len(units) > 1:
        controls.append(Control("unit of the rate", tuple((unit, title) for unit, title, _ in units)))
    notes = tuple(_notes(section, means, measures, values))
    caption = f"{'Higher' if measures[0].higher else 'Lower'} is better." if len(wanted) == 1 else ""
    return Chart(name, title, notes, tuple(controls), plot.switches, views, data, caption)


def end_of_axis(section: Section) -> float | None:
    """Return where the linear rate axis ends, in nats: as in Fig. 3, for the paper's variants and data."""
    paper = section.dataset in PAPER_DATASETS and set(section.points["variant"]) >= PAPER_VARIANTS
    return NATS if paper else None


def _add_shannon(section: Section, measure: Measure, data: dict[str, Rows]) -> bool:
    """Add the rows of Shannon's curve to the data; return whether there is one."""
    bound = None if measure.higher else shannon.reference(section, measure.reading, measure.column)
    if bound is None:
        return False
    data[f"shannon_{measure.name}"] = [
        {"rate": rounded(rate), measure.name: rounded(height)}
        for rate, height in zip(bound["rate"], bound[measure.column], strict=True)
    ]
    return True


def _finding(means: Rows, compared: Rows, measure: Measure) -> str:
    """Say what a view shows, in a sentence; ``compared`` are the means whose curves may be."""
    title = f"{measure.title[:1].upper()}{measure.title[1:]}"
    shown, curves = _costs(means, measure), _costs(compared, measure)
    if (best := lowest_curve(curves, "cost")) is not None:
        percent = min(99, max(1, round(100 * best.share)))
        share = "at every rate" if best.share == 1 else f"over {percent}% of the rates"
        which = "highest" if measure.higher else "lowest"
        have = "has" if len(best.variants) == 1 else "have"
        span = "that both curves span" if curves["variant"].nunique() == 2 else "that two curves or more span"
        return (
            f"{title}. {' and '.join(best.variants)} {have} the {which} {measure.what} {share}"
            f" {span}, {number(best.low)} to {number(best.high)} nats."
        )
    if len(shown) == 1:
        (row,) = (row for row in means if row[measure.name] is not None)
        return (
            f"{title}. One point, {row['variant']} at β = {plain(row['beta'])}, rate {number(row['rate'])}"
            f" nats, {measure.what} {number(row[measure.name])}."
        )
    sign = -1 if measure.higher else 1
    worst, good = (number(sign * end) for end in (shown["cost"].max(), shown["cost"].min()))
    low, high = shown["rate"].min(), shown["rate"].max()
    alone = ". No two curves span the same rates" if curves["variant"].nunique() > 1 else ""
    return (
        f"{title}. Rates of {number(low)} to {number(high)} nats, {measure.what} from {worst}"
        f" {'up' if measure.higher else 'down'} to {good}{alone}."
    )


def _costs(means: Rows, measure: Measure) -> pd.DataFrame:
    """Return variant, rate and ``cost`` of each mean: the measure, negative where more of it is better."""
    sign = -1 if measure.higher else 1
    rows = [(row["variant"], row["rate"], sign * row[measure.name]) for row in means
            if row[measure.name] is not None]  # fmt: skip
    return pd.DataFrame(rows, columns=["variant", "rate", "cost"])


def distortion(reading: str) -> Measure:
    """Return the distortion under a reading; at beta/2 a curve need not fall."""
    title = READING_NAMES[reading]
    axis = ("distortion (nats per image)", title)
    return Measure(f"distortion_{reading}", "distortion", reading, f"distortion, {title}", "distortion", axis,
                   monotone=reading != "beta_half")  # fmt: skip


def beside(rates: Values, section: Section, measure: Measure) -> dict[Key, dict[int, float]]:
    """Return the values of a measure at the points whose mean rate is over the same seeds."""
    values = values_by_seed(section, measure.column, measure.reading).items()
    return {point: seeds for point, seeds in values if seeds.keys() == rates.get(point, {}).keys()}


def units_of(section: Section) -> list[Unit]:
    """Return what the rate is given in; bits per pixel only where the data are images."""
    units = [("rate", "nats per image", 1.0)]
    if section.pixels > 1:
        units.append(("bits_per_pixel", "bits per pixel", 1 / (section.pixels * math.log(2))))
    return units


def _notes(
    section: Section, means: Rows, measures: Sequence[Measure], values: dict[str, dict[Any, Any]]
) -> list[str]:
    test = section.points[section.points["split"] == "test"]
    total = test.groupby(["variant", "beta"]).ngroups
    missing: dict[int, list[str]] = {}
    for measure in measures:
        # Only some variants have a likelihood of their own.
        rows = test[test["reading"] == OWN] if measure.reading == OWN else test
        rows = rows[~rows["variant"].isin(not_compared_under(section, measure.reading))]
        lost = rows.groupby(["variant", "beta"]).ngroups - len(values[measure.name])
        missing.setdefault(lost, []).append(measure.title)
    notes = [
        f"{amount} of {total} points {'is' if amount == 1 else 'are'} not drawn, as a value is missing or not"
        f" finite. {' '.join(f'{title[:1].upper()}{title[1:]}.' for title in titles)}"
        for amount, titles in missing.items()
        if amount
    ]
    if any(not_compared_under(section, measure.reading) for measure in measures):
        notes.append(BETA_HALF)
    rates = [row["rate"] for row in means if row["rate"] is not None]
    if zero := sum(rate <= 0 for rate in rates):
        have = "has" if zero == 1 else "have"
        notes.append(f"{zero} of {total} points {have} rate 0 and no place on the logarithmic axis.")
    if lone := sum(not fit.of_curve(row) for row in means if row["rate"] is not None):
        are = "is a point" if lone == 1 else "are points"
        notes.append(f"{lone} of {total} {are} without a curve: a collapsed or an unstable model.")
    return notes
