"""The charts as Vega-Lite specs. Data go beside the specs under a name, so several specs share them."""

import copy
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from rdbench.report import labels
from rdbench.report.curves import MEASURED, finite_points, lowest_curve, mean_points
from rdbench.report.gather import records
from rdbench.report.numbers import number, plain

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe & Ito 2008, told apart by colour-blind readers. Yellow is left out, which does not show on white, and
grey stands in for black, which does not show on a dark page."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
"""One more than the colours, so that the pairs repeat only after 56 variants."""

AXES = {"rate": "rate (nats per image)", "distortion": "distortion (nats per image)",
        "mse": "mean squared error of a value"}  # fmt: skip
TITLES = {"elbo": "ELBO", "mse": "MSE", "psnr": "PSNR, dB"}
REFERENCE = "#555555"

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Chart:
    """One chart, ready to embed.

    Attributes:
        title: what it shows.
        finding: what is to be seen in it, in a sentence, from the data; also its text for screen readers.
        notes: what is not in it, and why.
        linear, log: the spec with a linear and with a logarithmic rate axis.
        data: the rows of each named dataset of the specs.
    """

    title: str
    finding: str
    notes: tuple[str, ...]
    linear: dict[str, Any]
    log: dict[str, Any]
    data: dict[str, Rows]


def rate_chart(
    points: pd.DataFrame,
    reading: str,
    measure: str,
    title: str,
    *,
    variants: Sequence[str],
    reference: pd.DataFrame | None = None,
    reference_name: str = "Shannon's R(D)",
) -> Chart | None:
    """Draw distortion or MSE of the test split over rate: a curve a variant, through means over seeds.

    Args:
        points: ``points`` rows of one section.
        reading: the reading of sigma^2; MSE is the same under each.
        measure: "distortion" or "mse".
        title: the chart's title.
        variants: all variants of the section, in order, so that each keeps its colour in every chart.
        reference: a curve to draw behind, columns rate and ``measure``, such as a theoretical bound.
        reference_name: what the reference is called.

    Returns:
        None where there is no point to draw.
    """
    rows = finite_points(points, "test", reading)
    if not len(rows):
        return None
    means = mean_points(rows)
    means["label"] = [labels.short(beta) for beta in means["beta"]]
    repeated = set(zip(means["variant"][means["n"] > 1], means["beta"][means["n"] > 1], strict=True))
    seeds = rows[[key in repeated for key in zip(rows["variant"], rows["beta"], strict=True)]]
    frames = {"means": means, "seeds": seeds[["variant", "beta", "seed", *MEASURED]]}
    if reference is not None:
        frames["reference"] = reference[["rate", measure]].assign(name=reference_name)
    finding = _finding(means, measure, title)
    specs = {}
    for scale in ("linear", "log"):
        ranges = _ranges(frames, measure, log=scale == "log")
        x, y, betas = (means[column].tolist() for column in ("rate", measure, "beta"))
        placed = labels.place(x, y, betas, ranges, log_x=scale == "log")
        means[f"corner_{scale}"] = [label and label[1] for label in placed]
        specs[scale] = _spec(
            [name for name in frames if len(frames[name])], measure, scale, ranges, variants, finding
        )
    data = {name: _records(frame) for name, frame in frames.items() if len(frame)}
    return Chart(title, finding, _notes(points, rows, means), specs["linear"], specs["log"], data)


def _ranges(frames: dict[str, pd.DataFrame], measure: str, *, log: bool) -> labels.Ranges:
    """Return the ranges of the axes: of all points, and of the reference as far as the points' rates go."""
    own = pd.concat([frames["means"][["rate", measure]], frames["seeds"][["rate", measure]]])
    rates = labels.domain(own["rate"].tolist(), log=log)
    heights = own[measure].tolist()
    if "reference" in frames:
        reference = frames["reference"]
        heights += reference[measure][reference["rate"].between(*rates)].tolist()
    return rates, labels.domain(heights)


def _records(frame: pd.DataFrame) -> Rows:
    """Return rows for JSON, which has no NaN and no infinity: those become null."""
    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value
         for key, value in row.items()}
        for row in records(frame)
    ]  # fmt: skip


def _finding(means: pd.DataFrame, measure: str, title: str) -> str:
    """Say what the chart shows, in a sentence."""
    what = {"distortion": "distortion", "mse": "mean squared error"}[measure]
    lowest = lowest_curve(means, measure)
    if lowest is not None:
        percent = min(99, max(1, round(100 * lowest.share)))
        share = "at every rate" if lowest.share == 1 else f"over {percent}% of the rates"
        return (
            f"{title}: {lowest.variant} has the lowest {what} {share} that all curves span,"
            f" {number(lowest.low)} to {number(lowest.high)} nats."
        )
    low, high = means["rate"].min(), means["rate"].max()
    if len(means) == 1:
        row = means.iloc[0]
        return (
            f"{title}: one point, {row['variant']} at β = {plain(row['beta'])}, rate {number(row['rate'])}"
            f" nats, {what} {number(row[measure])}."
        )
    compared = "; no two curves span the same rates" if means["variant"].nunique() > 1 else ""
    return (
        f"{title}: rates of {number(low)} to {number(high)} nats, {what} from {number(means[measure].max())}"
        f" down to {number(means[measure].min())}{compared}."
    )


def _notes(points: pd.DataFrame, rows: pd.DataFrame, means: pd.DataFrame) -> tuple[str, ...]:
    """Say what is not drawn, and why."""
    notes = []
    reading = rows["reading"].iloc[0]
    asked = int(((points["split"] == "test") & (points["reading"] == reading)).sum())
    if asked > len(rows):
        notes.append(f"{asked - len(rows)} of {asked} points are not finite and are not drawn.")
    zero = int((means["rate"] <= 0).sum())
    if zero:
        notes.append(f"{zero} of {len(means)} points have rate 0 and have no place on the logarithmic axis.")
    return tuple(notes)


def _spec(
    names: Sequence[str],
    measure: str,
    scale: str,
    ranges: labels.Ranges,
    variants: Sequence[str],
    finding: str,
) -> dict[str, Any]:
    """Return the Vega-Lite spec of one chart over the named data."""
    spec = copy.deepcopy(_template(tuple(names), measure, scale, tuple(variants)))
    for layer in spec["layer"]:
        layer["encoding"]["x"]["scale"]["domain"] = list(ranges[0])
        layer["encoding"]["y"]["scale"]["domain"] = list(ranges[1])
    return spec | {"description": finding}


@functools.lru_cache(maxsize=64)
def _template(names: tuple[str, ...], measure: str, scale: str, variants: tuple[str, ...]) -> dict[str, Any]:
    """Return a spec without its ranges. Altair takes a tenth of a second, and most charts share theirs."""
    linear = alt.Scale(type="linear", nice=False, zero=False)
    across = alt.Scale(type="log", nice=False) if scale == "log" else linear
    x = alt.X("rate:Q", title=AXES["rate"], axis=alt.Axis(tickCount=8), scale=across)
    y = alt.Y(f"{measure}:Q", title=AXES[measure], scale=alt.Scale(nice=False, zero=False))
    columns = 1 if max(map(len, variants)) > 18 else 3
    legend = alt.Legend(title=None, orient="top", columns=columns, labelLimit=330, symbolSize=80)

    def by_variant(values: Sequence[str]) -> alt.Scale:
        return alt.Scale(domain=list(variants), range=[values[i % len(values)] for i in range(len(variants))])

    colour = alt.Color("variant:N", legend=legend, scale=by_variant(COLOURS))
    shape = alt.Shape("variant:N", legend=legend, scale=by_variant(SHAPES))
    zoom = alt.selection_interval(bind="scales", name="zoom", zoom="wheel![event.ctrlKey || event.metaKey]")

    def rows(name: str) -> alt.Chart:
        chart = alt.Chart(alt.NamedData(name))
        # Rate 0 has no place on a logarithmic axis; the notes count those points.
        return chart.transform_filter(alt.FieldGTPredicate(field="rate", gt=0)) if scale == "log" else chart

    layers = []
    if "reference" in names:
        dashed = rows("reference").mark_line(color=REFERENCE, strokeDash=[6, 4])
        layers.append(dashed.encode(x, y, detail="name:N", tooltip="name:N"))
    layers.append(rows("means").mark_line(strokeWidth=1.5, opacity=0.8).encode(x, y, colour, order="beta:Q"))
    if "seeds" in names:
        small = rows("seeds").mark_point(size=28, opacity=0.55)
        layers.append(small.encode(x, y, colour, shape, tooltip=_tooltip("seed", "seed")))
    points = rows("means").mark_point(size=70, filled=True, opacity=1)
    points = points.encode(x, y, colour, shape, tooltip=_tooltip("seeds averaged", "n"))
    layers.append(points.properties(name="points").add_params(zoom))
    for corner in labels.CORNERS:
        side, level = corner.split()
        right, above = side == "right", level == "above"
        text = rows("means").transform_filter(alt.FieldEqualPredicate(field=f"corner_{scale}", equal=corner))
        text = text.mark_text(fontSize=11, align="left" if right else "right", dx=7 if right else -7,
                              baseline="bottom" if above else "top", dy=-4 if above else 4)  # fmt: skip
        layers.append(text.encode(x, y, text="label:N"))
    chart = alt.layer(*layers).properties(width="container", height=380)
    chart = chart.configure(font="system-ui, sans-serif", background="transparent")
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
    return dict(chart.configure_legend(labelFontSize=13).to_dict())


def _tooltip(title: str, field: str) -> list[alt.Tooltip]:
    numbers = {"rate": ",.4~f", "distortion": ",.2~f", "elbo": ",.2~f", "mse": ".4~g", "psnr": ".2~f"}
    return [
        alt.Tooltip("variant:N"),
        alt.Tooltip("beta:Q", title="β", format="~g"),
        alt.Tooltip(f"{field}:Q", title=title),
        *(
            alt.Tooltip(f"{name}:Q", title=TITLES.get(name, name), format=form)
            for name, form in numbers.items()
        ),
    ]
