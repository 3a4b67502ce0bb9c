"""Rate against distortion under each reading, squared error or PSNR: one chart, a reader chooses its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdbench import datasets
from rdbench.numerics.likelihood import OWN
from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import (
    Chart,
    Control,
    Rows,
    Switch,
    Values,
    by_variant,
    fill,
    legend_columns,
    rounded,
    template,
    wide,
)
from rdbench.report.numbers import number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import lower_envelope, lowest_curve
from rdbench.report.statistics.series import BETA_HALF, READING_NAMES, of_points, says_nothing_of
from rdbench.report.tables import shannon

if TYPE_CHECKING:
    import altair as alt


NATS = 300.0
"""Where the linear rate axis ends, as in Fig. 3 of the paper, if rates go beyond."""

HEIGHT = 400
ENVELOPE_POINTS = 150
SWITCHES = (
    Switch("spread", "seeds and intervals", True),
    Switch("envelope", "lower envelope of what is compared (grey)", True),
    Switch("equal_beta", "lines joining equal β", False),
    Switch("labels", "labels of β", True),
)


def _template(scale: str, seeds: bool, shannon: bool, columns: int) -> dict[str, Any]:
    """Return the template of all views with this scale and these layers."""
    import altair as alt

    from rdbench.report.charts import layers

    log = scale == "log"
    across = alt.Scale(type="log" if log else "linear", domain=["$xdomain"], nice=False)
    x = alt.X("$x:Q", title="$xtitle", axis=alt.Axis(tickCount=8), scale=across)
    y = alt.Y("$y:Q", title="$ytitle", scale=alt.Scale(domain=["$ydomain"], nice=False, zero=False))
    colour, shape = layers.encode_variant(columns)
    on_axis = ["datum['$x'] > 0"] if log else []  # rate 0 has no place on a logarithmic axis

    drawn = [_envelope(x, y)]
    joined = layers.shown("means", "equal_beta", *on_axis)
    joined = joined.mark_line(strokeWidth=1, strokeDash=[2, 3], color=layers.GREY, **layers.QUIET)
    drawn += [joined.encode(x, y, detail="beta:Q", order="$x:Q"), layers.curves(x, y, colour, *on_axis)]
    if shannon:
        dashed = layers.rows("$shannon", *on_axis)
        dashed = dashed.mark_line(color=layers.GREY, strokeWidth=1.5, strokeDash=[6, 4], **layers.QUIET)
        drawn.insert(0, dashed.encode(x, y))
    if seeds:
        bars = layers.shown("means", "spread && isValid(datum['$x_low'])", *on_axis)
        # A logarithmic axis has no place for an end at or below 0: the bar then goes to the axis.
        low = "max(datum['$x_low'], $xleast)" if log else "datum['$x_low']"
        start = x.copy()
        start.shorthand = "x_low:Q"
        bars = bars.transform_calculate(x_low=low).mark_rule(opacity=0.7, **layers.QUIET)
        drawn += [
            bars.encode(start, y, colour, x2="$x_high:Q"),
            layers.intervals(x, y, colour, *on_axis),
            layers.seeds(x, y, colour, shape, *on_axis),
        ]
    points = layers.points(x, y, colour, shape, *on_axis, x_text=layers.with_interval("$x"))
    drawn.append(
        points.add_params(layers.zoom()).encode(
            tooltip=layers.tooltip(alt.Tooltip("x_text:N", title="$xtitle"))
        )
    )
    left, below = "datum['$at'][0] == 'l'", "indexof(datum['$at'], 'below') > 0"
    text = layers.shown("means", "labels", "isValid(datum['$at'])", *on_axis).mark_text(
        fontSize=11, align=alt.expr(f"{left} ? 'right' : 'left'"), dx=alt.expr(f"{left} ? -7 : 7"),
        baseline=alt.expr(f"{below} ? 'top' : 'bottom'"), dy=alt.expr(f"{below} ? 4 : -4"), **layers.QUIET,
    )  # fmt: skip
    drawn.append(text.encode(x, y, text="label:N"))
    return layers.finish(drawn, SWITCHES, HEIGHT)


def _envelope(x: "alt.X", y: "alt.Y") -> "alt.Chart":
    """Return a band along the lowest of all curves."""
    import altair as alt

    from rdbench.report.charts import layers

    band: alt.Chart = (
        alt.Chart(alt.NamedData("$envelope"))
        .transform_filter("envelope")
        .transform_calculate(**{"$x": "datum.rate * $factor"})
        .mark_line(strokeWidth=9, opacity=0.3, color=layers.GREY, strokeJoin="round", **layers.QUIET)
        .encode(x, y, order="$x:Q")
    )
    return band


@dataclass(frozen=True)
class Measure:
    """What the vertical axis can show.

    Attributes:
        name: of its field and view.
        column, reading: where ``points`` holds it.
        title: in the control, and at the start of a finding.
        what: within a sentence.
        axis: the axis title, by line.
        higher: more of it is better.
    """

    name: str
    column: str
    reading: str
    title: str
    what: str
    axis: tuple[str, ...]
    higher: bool = False


def measures(section: Section) -> list[Measure]:
    """Return what the vertical axis can show of a section."""
    found = [
        Measure(f"distortion_{reading}", "distortion", reading, f"distortion, {READING_NAMES[reading]}",
                "distortion", ("distortion (nats per image)", READING_NAMES[reading]))
        for reading in section.readings
    ]  # fmt: skip
    # These do not depend on the reading: any will do.
    mse = Measure("mse", "mse", "half", "MSE", "mean squared error", ("mean squared error of a value",))
    psnr = Measure("psnr", "psnr", "half", "PSNR", "PSNR", ("PSNR (dB)",), higher=True)
    return [*found, mse, psnr]


def rate_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw distortion, MSE or PSNR of the test split over the rate: a curve a variant, through its means.

    Args:
        section: any.
        variants: all variants of the section, in order, so that each keeps its look in every chart.

    Returns:
        None where there is no point to draw. A point is drawn where rate and measure of all of its seeds are
        finite; the notes count the others. A measure without any point is not offered.
    """
    rates = of_points(section, "rate", "half")
    offered = measures(section)
    values = {each.name: of_points(section, each.column, each.reading) for each in offered}
    # The mean of a measure and that of the rate beside it are over the same seeds.
    values = {
        name: {key: own for key, own in found.items() if own.keys() == rates.get(key, {}).keys()}
        for name, found in values.items()
    }
    offered = [each for each in offered if values[each.name]]
    if not offered:
        return None
    quantities: dict[str, Values] = {"rate": rates}
    units = [("rate", "nats per image", 1.0)]
    pixels = _pixels(section)
    if pixels is not None:
        units.append(("bits_per_pixel", "bits per pixel", 1 / (pixels * math.log(2))))
        quantities["bits_per_pixel"] = {
            key: {seed: rate * units[1][2] for seed, rate in own.items()} for key, own in rates.items()
        }
    quantities |= {each.name: values[each.name] for each in offered}
    means, seeds = wide(variants, quantities)
    data = {"means": means} | ({"seeds": seeds} if seeds else {})

    views: dict[str, dict[str, Any]] = {}
    for each in offered:
        reference = None if each.higher else shannon.reference(section, each.reading, each.column)
        if reference is not None:
            data[f"shannon_{each.name}"] = [
                {"rate": rounded(rate), each.name: rounded(height)}
                for rate, height in zip(reference["rate"], reference[each.column], strict=True)
            ]
        silent = says_nothing_of(section, each.reading)
        compared = [row for row in means if row["variant"] not in silent]
        finding = _finding(means, compared, each)
        for scale in ("linear", "log"):
            ranges = _ranges(data, each.name, log=scale == "log")
            _place(data, each.name, scale, ranges)
            data[f"envelope_{each.name}_{scale}"] = _lowest(compared, each, log=scale == "log")
            own = template(_template, scale, "seeds" in data, reference is not None, legend_columns(variants))
            for unit, title, factor in units:
                key = "/".join([each.name, scale, *([unit] if len(units) > 1 else [])])
                views[key] = fill(own, by_variant(variants) | {
                    "$x": unit, "$xtitle": f"rate ({title})", "$xdomain": [factor * end for end in ranges[0]],
                    "$xleast": factor * ranges[0][0], "$y": each.name, "$ytitle": list(each.axis),
                    "$ydomain": list(ranges[1]), "$at": f"{each.name}_{scale}", "$what": each.what,
                    "$factor": factor, "$envelope": f"envelope_{each.name}_{scale}",
                    "$shannon": f"shannon_{each.name}", "$description": finding,
                    "$text": f"'rate ' + datum.x_text + ' {title}, {each.what} ' + datum.y_text",
                })  # fmt: skip
    controls = [
        Control("vertical axis", tuple((each.name, each.title) for each in offered)),
        Control("rate axis", (("linear", "linear"), ("log", "logarithmic"))),
    ]
    if len(units) > 1:
        controls.append(Control("unit of the rate", tuple((unit, title) for unit, title, _ in units)))
    notes = tuple(_notes(section, means, offered, values))
    return Chart("rate_distortion", "Rate and distortion, test split", notes, tuple(controls),
                 SWITCHES, views, data)  # fmt: skip


def _pixels(section: Section) -> int | None:
    """Return how many pixels an image has; None where the data are no images."""
    settings = section.settings["dataset"]
    _, height, width = datasets.get(section.dataset).shape(datasets.make_options(section.dataset, settings))
    return height * width if height * width > 1 else None


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
    means, seeds = (
        [row for row in data.get(rows, []) if row[name] is not None] for rows in ("means", "seeds")
    )
    x, y, betas = ([row[field] for row in means] for field in ("rate", name, "beta"))
    others = [row["rate"] for row in seeds], [row[name] for row in seeds]
    placed = label_placement.place(x, y, betas, ranges, log_x=scale == "log", others=others)
    for row in data["means"]:
        row[f"{name}_{scale}"] = None
    for row, label in zip(means, placed, strict=True):
        row[f"{name}_{scale}"] = label and label[1]


def _finding(means: Rows, compared: Rows, measure: Measure) -> str:
    """Say what a view shows, in a sentence; ``compared`` are the means whose curves may be."""
    drawn = [row for row in means if row[measure.name] is not None]
    title = f"{measure.title[:1].upper()}{measure.title[1:]}"
    sign = -1 if measure.higher else 1
    # What is compared is the lowest curve: of a measure to be high, that of its negative.
    frame, own = (
        pd.DataFrame(
            [(row["variant"], row["rate"], sign * row[measure.name]) for row in rows
             if row[measure.name] is not None], columns=["variant", "rate", "cost"],
        )
        for rows in (means, compared)
    )  # fmt: skip
    best = lowest_curve(own, "cost")
    if best is not None:
        percent = min(99, max(1, round(100 * best.share)))
        share = "at every rate" if best.share == 1 else f"over {percent}% of the rates"
        which = "highest" if measure.higher else "lowest"
        have = "has" if len(best.variants) == 1 else "have"
        span = "that both curves span" if own["variant"].nunique() == 2 else "that two curves or more span"
        return (
            f"{title}: {' and '.join(best.variants)} {have} the {which} {measure.what} {share}"
            f" {span}, {number(best.low)} to {number(best.high)} nats."
        )
    if len(drawn) == 1:
        row = drawn[0]
        return (
            f"{title}: one point, {row['variant']} at β = {plain(row['beta'])}, rate {number(row['rate'])}"
            f" nats, {measure.what} {number(row[measure.name])}."
        )
    low, high = frame["rate"].min(), frame["rate"].max()
    worst, good = (number(sign * end) for end in (frame["cost"].max(), frame["cost"].min()))
    alone = "; no two curves span the same rates" if own["variant"].nunique() > 1 else ""
    return (
        f"{title}: rates of {number(low)} to {number(high)} nats, {measure.what} from {worst}"
        f" {'up' if measure.higher else 'down'} to {good}{alone}."
    )


def _notes(
    section: Section, means: Rows, offered: Sequence[Measure], values: dict[str, dict[Any, Any]]
) -> list[str]:
    """Say what is not drawn, and why."""
    test = section.points[section.points["split"] == "test"]
    asked = len(test[["variant", "beta"]].drop_duplicates())
    lost: dict[int, list[str]] = {}
    for each in offered:
        # Only some variants have a likelihood of their own.
        there = section.splits.get(("test", each.reading)) if each.reading == OWN else test
        of_it = 0 if there is None else len(there[["variant", "beta"]].drop_duplicates())
        lost.setdefault(of_it - len(values[each.name]), []).append(each.title)
    notes = [
        f"{amount} of {asked} points {'is' if amount == 1 else 'are'} not drawn, as a value is missing or not"
        " finite"
        f" ({'; '.join(titles)})."
        for amount, titles in lost.items()
        if amount
    ]
    if any(says_nothing_of(section, each.reading) for each in offered):
        notes.append(BETA_HALF)
    rates = [row["rate"] for row in means if row["rate"] is not None]
    zero, beyond = sum(rate <= 0 for rate in rates), sum(rate > NATS for rate in rates)
    if zero:
        have = "has" if zero == 1 else "have"
        notes.append(f"{zero} of {asked} points {have} rate 0 and no place on the logarithmic axis.")
    if beyond and min(rates) < NATS:
        lie, them = ("lies", "it") if beyond == 1 else ("lie", "them")
        notes.append(
            f"{beyond} of {asked} points {lie} beyond {NATS:g} nats, where the linear axis ends as in Fig. 3"
            f" of the paper; drag or zoom out to see {them}, or take the logarithmic axis."
        )
    return notes


def _lowest(means: Rows, each: Measure, log: bool) -> Rows:
    """Return the lowest height of all curves as they are drawn, at evenly spaced places of the rate axis."""
    curves = []
    for variant in dict.fromkeys(row["variant"] for row in means):
        own = sorted(
            (row["rate"], row[each.name]) for row in means
            if row["variant"] == variant and row[each.name] is not None and (row["rate"] > 0 or not log)
        )  # fmt: skip
        if own:
            rate, height = np.array(own, float).T
            curves.append((np.log(rate) if log else rate, -height if each.higher else height))
    if not curves:
        return []
    ends = [end for rate, _ in curves for end in rate.tolist()]
    at = np.unique(np.concatenate([np.linspace(min(ends), max(ends), ENVELOPE_POINTS), ends]))
    lowest = lower_envelope(curves, at)
    rates, heights = np.exp(at) if log else at, -lowest if each.higher else lowest
    return [
        {"rate": rounded(rate), each.name: rounded(height)}
        for rate, height in zip(rates, heights, strict=True)
    ]
