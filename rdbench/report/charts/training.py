"""How training went: loss, rate and squared error by epoch, a line a beta."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rdbench.report.charts.chart import Chart, Control, Rows, fill, rounded, template
from rdbench.report.numbers import count, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import spaced

HEIGHT = 320
LEGEND = 8
"""Values of beta in the legend, at most."""

DIGITS = 4
"""Significant digits of the data: lines are read by eye, and a long training has many points."""

MEASURES = {
    "loss": "training loss (per image)",
    "rate": "training rate (nats per image)",
    "sse": "training squared error (per image)",
    "images_per_second": "images per second",
}
"""Columns of ``history`` that are drawn; not the learning rate, which all trials of a section share."""

BLUE_TO_ORANGE = ("#3f66c9", "#7a5fd0", "#a055c8", "#c94f9c", "#db5a6b", "#df6a3a", "#d97b1f")
"""By rising luminance, each with a contrast of at least 3 to the white and to the dark page."""


def _template(kind: str, dots: bool) -> dict[str, Any]:
    """Return the template of all views with this scale: log, symlog or linear."""
    import altair as alt

    from rdbench.report.charts import layers

    y_scale = {
        "log": alt.Scale(type="log", nice=False),
        "symlog": alt.Scale(type="symlog", constant=alt.expr("$constant"), nice=False),
        "linear": alt.Scale(zero=False),
    }[kind]
    ticks = {"values": ["$ticks"]} if kind == "symlog" else {"tickCount": 6}
    x = alt.X(
        "at:Q", title="epoch", axis=alt.Axis(values=["$epochs"], format="d"), scale=alt.Scale(nice=False)
    )
    y = alt.Y("value:Q", title="$ytitle", scale=y_scale, axis=alt.Axis(format=",.6~g", **ticks))
    colour = alt.Color(
        "beta:Q",
        scale=alt.Scale(type="log", domain=["$betas"], range=["$colours"]),
        legend=alt.Legend(title="β", orient="top", type="symbol", values=["$legend"], format="~g", columns=4),
    )
    tooltip = [
        alt.Tooltip("variant:N"),
        layers.BETA,
        alt.Tooltip("n:Q", title="seeds averaged"),
        alt.Tooltip("last:Q", title="after the last epoch", format=layers.NUMBER),
    ]
    base = (
        alt.Chart(alt.NamedData("$rows"))
        .transform_calculate(last="peek(datum['$y'])")
        .transform_flatten(["epoch", "$y"], ["at", "value"])
    )
    line = base.mark_line(strokeWidth=1.5, **layers.QUIET).encode(
        x, y, colour, detail="beta:Q", tooltip=tooltip
    )
    drawn = [line.add_params(layers.zoom())]
    if dots:  # a training of one epoch is a point, which a line does not show
        dot = base.transform_filter("length(datum.epoch) == 1").mark_point(filled=True, **layers.QUIET)
        drawn.append(dot.encode(x, y, colour, tooltip=tooltip))
    return layers.configure(alt.layer(*drawn), HEIGHT)


def training_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw what each finished training went through by epoch: a line a beta, its mean over seeds.

    Args:
        section: its ``history`` holds the finished trials.
        variants: all variants of the section, in order; one view shows one of them.

    Returns:
        None where no history is stored.
    """
    history = section.history
    measures = [name for name in MEASURES if name in history and history[name].notna().any()]
    if not len(history) or not measures:
        return None
    rows = _rows(history, measures)
    data = {f"variant_{place}": [row for row in rows if row["variant"] == variant]
            for place, variant in enumerate(variants)}  # fmt: skip
    data = {name: own for name, own in data.items() if own}
    betas = [row["beta"] for row in rows]
    views = {}
    for name, own in data.items():
        for measure in measures:
            for scale in ("log", "linear"):
                view = "/".join([name, measure, scale])
                views[view] = _view(own, name, measure, scale, betas)
    controls = (
        Control("variant", tuple((name, own[0]["variant"]) for name, own in data.items())),
        Control("vertical axis", tuple((name, MEASURES[name]) for name in measures)),
        Control("its scale", (("log", "logarithmic"), ("linear", "linear"))),
    )
    return Chart("training", "Training by epoch", (), controls, (), views, data)


def _rows(history: pd.DataFrame, measures: Sequence[str]) -> Rows:
    """Return a row a (variant, beta): lists by epoch of the means over seeds, null where none is finite."""
    groups = history.groupby(["variant", "beta", "epoch"], sort=True)
    means = groups[list(measures)].mean().reset_index()
    counts = history.groupby(["variant", "beta"])["seed"].nunique().to_dict()
    rows: Rows = []
    for (variant, beta), own in means.groupby(["variant", "beta"], sort=True):
        row: dict[str, Any] = {"variant": variant, "beta": beta, "n": int(counts[variant, beta])}
        row["epoch"] = own["epoch"].astype(int).tolist()
        for name in measures:
            row[name] = [rounded(v, DIGITS) if math.isfinite(v) else None for v in own[name].tolist()]
        rows.append(row)
    return rows


def _view(own: Rows, name: str, measure: str, scale: str, betas: Sequence[float]) -> dict[str, Any]:
    """Return the spec of one variant, measure and scale."""
    values = [value for row in own for value in row[measure] if value is not None]
    # A likelihood's loss may be of either sign.
    kind = "symlog" if scale == "log" and min(values, default=1.0) <= 0 else scale
    constant, ticks = symlog(values) if kind == "symlog" else (None, None)
    spec: dict[str, Any] = fill(template(_template, kind, any(len(row["epoch"]) == 1 for row in own)), {
        "$rows": name, "$y": measure, "$ytitle": MEASURES[measure], "$betas": [min(betas), max(betas)],
        "$legend": spaced(betas, LEGEND),
        "$epochs": epoch_ticks(max(row["epoch"][-1] for row in own)),
        "$colours": list(BLUE_TO_ORANGE), "$constant": constant, "$ticks": ticks,
        "$description": _finding(own, measure),
    })  # fmt: skip
    return spec


def epoch_ticks(last: int) -> list[int]:
    """Return at most ten round epochs; of a few epochs, Vega would tick the halves too."""
    step = next(m * 10**power for power in range(9) for m in (1, 2, 5) if last <= 10 * m * 10**power)
    return list(range(step, last + 1, step))


def symlog(values: Sequence[float]) -> tuple[float, list[float]]:
    """Return (where a symmetric logarithmic axis turns linear, its ticks) for values, not all positive.

    The axis shows three decades of either sign. Vega would set ticks as on a linear axis, all at its ends.
    """
    size = max(abs(value) for value in values) or 1.0
    top = math.floor(math.log10(size))
    decades = [10.0**power for power in range(top - 2, top + 1)]
    every = [*(-decade for decade in reversed(decades)), 0.0, *decades]
    return decades[0], [tick for tick in every if min(values) <= tick <= max(values)]


def _finding(own: Rows, measure: str) -> str:
    """Say where the lines of a view begin and end."""
    lines = [[v for v in row[measure] if v is not None] for row in own]
    ends = [(line[-1], row["beta"]) for line, row in zip(lines, own, strict=True) if line]
    title = f"{own[0]['variant']}, {MEASURES[measure]}"
    if not ends:
        return f"{title}: no finite value."
    epochs = count(max(row["epoch"][-1] for row in own), "epoch")
    (low, at_low), (high, at_high) = min(ends), max(ends)
    if len(ends) == 1:
        return f"{title}: {number(low)} after {epochs} at β = {plain(at_low)}."
    return (
        f"{title}: after {epochs} from {number(low)} at β = {plain(at_low)} to {number(high)}"
        f" at β = {plain(at_high)}."
    )
