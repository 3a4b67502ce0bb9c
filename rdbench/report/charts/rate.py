"""Rate against distortion under each reading, squared error or PSNR: one chart, a reader chooses its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rdbench import datasets
from rdbench.numerics.likelihood import OWN, READING_NAMES
from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import (
    GREY,
    Chart,
    Control,
    Rows,
    Spec,
    Switch,
    Values,
    by_variant,
    fill,
    is_reference,
    rounded,
    template,
    wide,
)
from rdbench.report.numbers import number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import lower_envelope, lowest_curve
from rdbench.report.statistics.series import BETA_HALF, Key, not_compared_under, values_by_seed
from rdbench.report.tables import shannon

NATS = 300.0  # where the linear rate axis ends, as in Fig. 3 of the paper, if rates go beyond
HEIGHT = 400
ENVELOPE_POINTS = 150
Unit = tuple[str, str, float]  # of the rate: its field, its title, and how many of it are a nat per image

SWITCHES = (
    Switch("spread", "seeds and intervals", True),
    Switch("envelope", "lower envelope of what is compared (grey)", True),
    Switch("equal_beta", "lines joining equal β", False),
    Switch("labels", "labels of β", True),
)


@dataclass(frozen=True)
class Measure:
    """What the vertical axis can show: the values of one column of ``points`` under one reading."""

    name: str  # of its field and view
    column: str
    reading: str
    title: str  # in the control, and at the start of a finding
    what: str  # within a sentence
    axis: tuple[str, ...]  # the axis title, by line
    higher: bool = False  # more of it is better


# These do not depend on the reading: any will do.
MSE = Measure("mse", "mse", "half", "MSE", "mean squared error", ("mean squared error of a value",))
PSNR = Measure("psnr", "psnr", "half", "PSNR", "PSNR", ("PSNR (dB)",), higher=True)


@template
def _template(scale: str, seeds: bool, shannon: bool) -> Spec:
    import altair as alt

    from rdbench.report.charts import layers

    log = scale == "log"
    axis = alt.Scale(type="log" if log else "linear", domain=["$xdomain"], nice=False)
    x, y = alt.X("$x:Q", title="$xtitle", axis=alt.Axis(tickCount=8), scale=axis), layers.Y
    on_axis = ("datum['$x'] > 0",) if log else ()  # rate 0 has no place on a logarithmic axis
    chart = layers.ByVariant(x, on_axis)

    drawn = []
    grey: dict[str, Any] = {"color": GREY} | layers.QUIET
    if shannon:
        bound = layers.rows("$shannon", *on_axis).mark_line(strokeWidth=1.5, strokeDash=[6, 4], **grey)
        drawn.append(bound.encode(x, y))
    band = alt.Chart(alt.NamedData("$envelope")).transform_filter("envelope")
    band = band.transform_calculate(**{"$x": "datum.rate * $factor"})
    band = band.mark_line(strokeWidth=9, opacity=0.3, strokeJoin="round", **grey)
    joined = chart.shown("means", "equal_beta").mark_line(strokeWidth=1, strokeDash=[2, 3], **grey)
    drawn += [
        band.encode(x, y, order="$x:Q"),
        joined.encode(x, y, detail="beta:Q", order="$x:Q"),
        chart.curves(),
    ]
    if seeds:
        bars = chart.shown("means", "spread && isValid(datum['$x_low'])")
        # A logarithmic axis has no place for an end at or below 0: the bar then goes to the axis.
        low = "max(datum['$x_low'], $xleast)" if log else "datum['$x_low']"
        start = x.copy()
        start.shorthand = "x_low:Q"
        bars = bars.transform_calculate(x_low=low).mark_rule(opacity=0.7, **layers.QUIET)
        drawn += [bars.encode(start, y, layers.COLOUR, x2="$x_high:Q"), chart.intervals(), chart.seeds()]
    x_text = layers.with_interval("$x")
    drawn.append(chart.points(alt.Tooltip("x_text:N", title="$xtitle"), x_text=x_text))
    left, below = "datum['$at'][0] == 'l'", "indexof(datum['$at'], 'below') > 0"
    text = chart.shown("means", "labels", "isValid(datum['$at'])").mark_text(
        fontSize=11, align=alt.expr(f"{left} ? 'right' : 'left'"), dx=alt.expr(f"{left} ? -7 : 7"),
        baseline=alt.expr(f"{below} ? 'top' : 'bottom'"), dy=alt.expr(f"{below} ? 4 : -4"), **layers.QUIET,
    )  # fmt: skip
    drawn.append(text.encode(x, y, text="label:N"))
    return layers.finish(drawn, SWITCHES, HEIGHT)


def rate_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw distortion, MSE or PSNR of the test split over the rate: a curve a variant, through its means.

    A point is drawn where rate and measure of all of its seeds are finite; the notes count the others. None
    without any point. ``variants`` are all of the section, in order: each looks the same in every chart.
    """
    rates = values_by_seed(section, "rate", "half")
    measures = [*map(_distortion, section.readings), MSE, PSNR]
    values = {measure.name: _beside(rates, section, measure) for measure in measures}
    measures = [measure for measure in measures if values[measure.name]]
    if not measures:
        return None
    units = _units(section)
    in_units: dict[str, Values] = {
        unit: {key: {seed: factor * rate for seed, rate in seeds.items()} for key, seeds in rates.items()}
        for unit, _, factor in units
    }
    means, seeds = wide(variants, in_units | {measure.name: values[measure.name] for measure in measures})
    data = {"means": means} | ({"seeds": seeds} if seeds else {})
    views: dict[str, Spec] = {}
    for measure in measures:
        views |= _views(section, variants, data, measure, units)
    controls = [
        Control("vertical axis", tuple((measure.name, measure.title) for measure in measures)),
        Control("rate axis", (("linear", "linear"), ("log", "logarithmic"))),
    ]
    if len(units) > 1:
        controls.append(Control("unit of the rate", tuple((unit, title) for unit, title, _ in units)))
    notes = tuple(_notes(section, means, measures, values))
    return Chart("rate_distortion", "Rate and distortion, test split", notes, tuple(controls),
                 SWITCHES, views, data)  # fmt: skip


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
            f"{title}: {' and '.join(best.variants)} {have} the {which} {measure.what} {share}"
            f" {span}, {number(best.low)} to {number(best.high)} nats."
        )
    if len(shown) == 1:
        (row,) = (row for row in means if row[measure.name] is not None)
        return (
            f"{title}: one point, {row['variant']} at β = {plain(row['beta'])}, rate {number(row['rate'])}"
            f" nats, {measure.what} {number(row[measure.name])}."
        )
    sign = -1 if measure.higher else 1
    worst, good = (number(sign * end) for end in (shown["cost"].max(), shown["cost"].min()))
    low, high = shown["rate"].min(), shown["rate"].max()
    alone = "; no two curves span the same rates" if curves["variant"].nunique() > 1 else ""
    return (
        f"{title}: rates of {number(low)} to {number(high)} nats, {measure.what} from {worst}"
        f" {'up' if measure.higher else 'down'} to {good}{alone}."
    )


def _costs(means: Rows, measure: Measure) -> pd.DataFrame:
    """Return variant, rate and ``cost`` of each mean: the measure, negative where more of it is better."""
    sign = -1 if measure.higher else 1
    rows = [(row["variant"], row["rate"], sign * row[measure.name]) for row in means
            if row[measure.name] is not None]  # fmt: skip
    return pd.DataFrame(rows, columns=["variant", "rate", "cost"])


def _distortion(reading: str) -> Measure:
    title = READING_NAMES[reading]
    axis = ("distortion (nats per image)", title)
    return Measure(f"distortion_{reading}", "distortion", reading, f"distortion, {title}", "distortion", axis)


def _beside(rates: Values, section: Section, measure: Measure) -> dict[Key, dict[int, float]]:
    """Return the values of a measure at the points whose mean rate is over the same seeds."""
    values = values_by_seed(section, measure.column, measure.reading).items()
    return {point: seeds for point, seeds in values if seeds.keys() == rates.get(point, {}).keys()}


def _units(section: Section) -> list[Unit]:
    """Return what the rate is given in; bits per pixel only where the data are images."""
    options = datasets.make_options(section.dataset, section.settings["dataset"])
    _, height, width = datasets.get(section.dataset).shape(options)
    units = [("rate", "nats per image", 1.0)]
    if (pixels := height * width) > 1:
        units.append(("bits_per_pixel", "bits per pixel", 1 / (pixels * math.log(2))))
    return units


def _views(
    section: Section, variants: Sequence[str], data: dict[str, Rows], measure: Measure, units: Sequence[Unit]
) -> dict[str, Spec]:
    """Return the views of a measure, at either scale, in each unit; ``data`` is given the rows they need."""
    name, means = measure.name, data["means"]
    bound = None if measure.higher else shannon.reference(section, measure.reading, measure.column)
    if bound is not None:
        data[f"shannon_{name}"] = [
            {"rate": rounded(rate), name: rounded(height)}
            for rate, height in zip(bound["rate"], bound[measure.column], strict=True)
        ]
    excluded = not_compared_under(section, measure.reading)
    compared = [row for row in means if row["variant"] not in excluded]
    values = by_variant(variants) | {
        "$y": name, "$ytitle": list(measure.axis), "$what": measure.what, "$shannon": f"shannon_{name}",
        "$description": _finding(means, compared, measure),
    }  # fmt: skip
    views = {}
    for scale in ("linear", "log"):
        across, up = ranges = _ranges(data, name, log=scale == "log")
        _place(data, name, scale, ranges)
        envelope = f"envelope_{name}_{scale}"
        data[envelope] = _lowest(compared, measure, log=scale == "log")
        drawn = _template(scale, "seeds" in data, bound is not None)
        for unit, title, factor in units:
            key = "/".join([name, scale, *([unit] if len(units) > 1 else [])])
            views[key] = fill(drawn, values | {
                "$x": unit, "$xtitle": f"rate ({title})", "$xdomain": [factor * end for end in across],
                "$xleast": factor * across[0], "$ydomain": list(up), "$at": f"{name}_{scale}",
                "$factor": factor, "$envelope": envelope,
                "$text": f"'rate ' + datum.x_text + ' {title}, {measure.what} ' + datum.y_text",
            })  # fmt: skip
    return views


def _ranges(data: dict[str, Rows], name: str, *, log: bool) -> label_placement.Ranges:
    """Return the ranges of the axes, the rate's in nats: of all points, and of Shannon's curve there."""
    points = [row for rows in ("means", "seeds") for row in data.get(rows, []) if row[name] is not None]
    rates = [row["rate"] for row in points]
    across = label_placement.domain(rates, log=log)
    if not log and min(rates) < NATS < max(rates):
        across = (label_placement.domain([*(rate for rate in rates if rate <= NATS), NATS])[0], NATS)
    drawn = [row for row in points + data.get(f"shannon_{name}", []) if across[0] <= row["rate"] <= across[1]]
    return across, label_placement.domain([row[name] for row in drawn])


def _place(data: dict[str, Rows], name: str, scale: str, ranges: label_placement.Ranges) -> None:
    """Set ``<name>_<scale>`` of each mean: the corner of its label, None for none."""
    means, seeds = ([row for row in data.get(key, []) if row[name] is not None] for key in ("means", "seeds"))
    means = [row for row in means if not is_reference(row["variant"])]
    x, y, betas = ([row[field] for row in means] for field in ("rate", name, "beta"))
    others = [row["rate"] for row in seeds], [row[name] for row in seeds]
    labels = label_placement.place(x, y, betas, ranges, log_x=scale == "log", others=others)
    for row in data["means"]:
        row[f"{name}_{scale}"] = None
    for row, label in zip(means, labels, strict=True):
        row[f"{name}_{scale}"] = label and label[1]


def _lowest(means: Rows, measure: Measure, log: bool) -> Rows:
    """Return the lowest height of all curves as they are drawn, at evenly spaced places of the rate axis."""
    sign = -1 if measure.higher else 1
    frame = _costs(means, measure)
    frame = frame[frame["rate"] > 0] if log else frame
    if not len(frame):
        return []
    curves = []
    frame = frame.sort_values(["rate", "cost"], ascending=[True, not measure.higher])
    for _, curve in frame.groupby("variant"):
        rates, costs = curve[["rate", "cost"]].to_numpy(float).T
        curves.append((np.log(rates) if log else rates, costs))
    ends = np.concatenate([rates for rates, _ in curves])
    at = np.unique(np.concatenate([np.linspace(ends.min(), ends.max(), ENVELOPE_POINTS), ends]))
    costs = lower_envelope(curves, at)
    return [
        {"rate": rounded(rate), measure.name: rounded(sign * cost)}
        for rate, cost in zip(np.exp(at) if log else at, costs, strict=True)
    ]


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
        f" finite ({'; '.join(titles)})."
        for amount, titles in missing.items()
        if amount
    ]
    if any(not_compared_under(section, measure.reading) for measure in measures):
        notes.append(BETA_HALF)
    rates = [row["rate"] for row in means if row["rate"] is not None]
    zero, beyond = sum(rate <= 0 for rate in rates), sum(rate > NATS for rate in rates)
    if zero:
        have = "has" if zero == 1 else "have"
        notes.append(f"{zero} of {total} points {have} rate 0 and no place on the logarithmic axis.")
    if beyond and min(rates) < NATS:
        lie, them = ("lies", "it") if beyond == 1 else ("lie", "them")
        notes.append(
            f"{beyond} of {total} points {lie} beyond {NATS:g} nats, where the linear axis ends as in Fig. 3"
            f" of the paper; drag or zoom out to see {them}, or take the logarithmic axis."
        )
    return notes
