"""How training went: loss, rate and squared error by epoch, a line a beta."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rdbench.report.charts.chart import Chart, Control, Rows, Spec, fill, rounded
from rdbench.report.charts.templates import template
from rdbench.report.numbers import count, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.curves import evenly_spaced

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


@template(("log", "symlog", "linear"), (False, True))
def _template(kind: str, dots: bool) -> Spec:
    """Return the template of all views with this scale: log, symlog or linear."""
    import altair as alt

    from rdbench.report.charts import layers

    y_scale = {
        "log": alt.Scale(type="log", nice=False),
        "symlog": alt.Scale(type="symlog", constant=alt.expr("$constant"), nice=False),
        "linear": alt.Scale(zero=False),
    }[kind]
    ticks = {"values": ["$ticks"]} if kind == "symlog" else {"tickCount": 6}
    epochs = alt.Axis(values=["$epochs"], format="d")
    x = alt.X("at:Q", title="epoch", axis=epochs, scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", title="$ytitle", scale=y_scale, axis=alt.Axis(format=",.6~g", **ticks))
    betas = alt.Scale(type="log", domain=["$betas"], range=["$colours"])
    legend = alt.Legend(title="β", orient="top", type="symbol", values=["$legend"], format="~g", columns=4)
    colour = alt.Color("beta:Q", scale=betas, legend=legend)
    seeds = alt.Tooltip("n:Q", title="seeds averaged")
    last = alt.Tooltip("last:Q", title="after the last epoch", format=layers.NUMBER)
    tooltip = [alt.Tooltip("variant:N"), layers.BETA, seeds, last]
    base = alt.Chart(alt.NamedData("$rows")).transform_calculate(last="peek(datum['$y'])")
    base = base.transform_flatten(["epoch", "$y"], ["at", "value"])
    line = base.mark_line(strokeWidth=1.5, **layers.QUIET).add_params(layers.zoom())
    drawn = [line.encode(x, y, colour, detail="beta:Q", tooltip=tooltip)]
    if dots:  # a training of one epoch is a point, which a line does not show
        dot = base.transform_filter("length(datum.epoch) == 1").mark_point(filled=True, **layers.QUIET)
        drawn.append(dot.encode(x, y, colour, tooltip=tooltip))
    return layers.configure(alt.layer(*drawn), HEIGHT)


def training_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the history of finished trials by epoch: a line a beta, its mean over seeds; None without any.

    ``variants`` are all of the section, in order; a view shows one of them.
    """
    history = section.history
    measures = [name for name in MEASURES if name in history and history[name].notna().any()]
    if not len(history) or not measures:
        return None
    rows = _rows(history, measures)
    data = {f"variant_{index}": [row for row in rows if row["variant"] == variant]
            for index, variant in enumerate(variants)}  # fmt: skip
    data = {name: lines for name, lines in data.items() if lines}
    betas = [row["beta"] for row in rows]
    views = {
        f"{name}/{measure}/{scale}": _view(name, lines, measure, scale, betas)
        for name, lines in data.items()
        for measure in measures
        for scale in ("log", "linear")
    }
    controls = (
        Control("variant", tuple((name, lines[0]["variant"]) for name, lines in data.items())),
        Control("vertical axis", tuple((name, MEASURES[name]) for name in measures)),
        Control("its scale", (("log", "logarithmic"), ("linear", "linear"))),
    )
    return Chart("training", "Training by epoch", (), controls, (), views, data)


def _finding(lines: Rows, measure: str) -> str:
    """Say where the lines of a view end."""
    finite = [([value for value in row[measure] if value is not None], row["beta"]) for row in lines]
    ends = [(values[-1], beta) for values, beta in finite if values]
    title = f"{lines[0]['variant']}, {MEASURES[measure]}"
    if not ends:
        return f"{title}: no finite value."
    epochs = count(max(row["epoch"][-1] for row in lines), "epoch")
    (low, at_low), (high, at_high) = min(ends), max(ends)
    if len(ends) == 1:
        return f"{title}: {number(low)} after {epochs} at β = {plain(at_low)}."
    first, last = f"{number(low)} at β = {plain(at_low)}", f"{number(high)} at β = {plain(at_high)}"
    return f"{title}: after {epochs} from {first} to {last}."


def _rows(history: pd.DataFrame, measures: Sequence[str]) -> Rows:
    """Return a row a (variant, beta): lists by epoch of the means over seeds, null where none is finite."""
    means = history.groupby(["variant", "beta", "epoch"], sort=True)[list(measures)].mean().reset_index()
    seeds = history.groupby(["variant", "beta"])["seed"].nunique().to_dict()
    rows: Rows = []
    for (variant, beta), line in means.groupby(["variant", "beta"], sort=True):
        row: dict[str, Any] = {"variant": variant, "beta": beta, "n": int(seeds[variant, beta])}
        row["epoch"] = line["epoch"].astype(int).tolist()
        for name in measures:
            row[name] = [rounded(v, DIGITS) if math.isfinite(v) else None for v in line[name].tolist()]
        rows.append(row)
    return rows


def _view(name: str, lines: Rows, measure: str, scale: str, betas: Sequence[float]) -> Spec:
    """Return the spec of one variant, measure and scale."""
    values = [value for row in lines for value in row[measure] if value is not None]
    # A likelihood's loss may be of either sign.
    kind = "symlog" if scale == "log" and min(values, default=1.0) <= 0 else scale
    constant, ticks = symlog(values) if kind == "symlog" else (None, None)
    spec: Spec = fill(_template(kind, any(len(row["epoch"]) == 1 for row in lines)), {
        "$rows": name, "$y": measure, "$ytitle": MEASURES[measure], "$betas": [min(betas), max(betas)],
        "$legend": evenly_spaced(betas, LEGEND),
        "$epochs": epoch_ticks(max(row["epoch"][-1] for row in lines)),
        "$colours": list(BLUE_TO_ORANGE), "$constant": constant, "$ticks": ticks,
        "$description": _finding(lines, measure),
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
    top = math.floor(math.log10(max(map(abs, values)) or 1.0))
    decades = [10.0**power for power in range(top - 2, top + 1)]
    ticks = [*(-decade for decade in reversed(decades)), 0.0, *decades]
    return decades[0], [tick for tick in ticks if min(values) <= tick <= max(values)]
