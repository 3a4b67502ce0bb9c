"""The Vega-Lite templates of the report's charts, as Altair makes them.

They hold names in place of fields, titles and domains (:func:`rdbench.report.chart.fill`), so a few serve
all views. Altair takes a second or two to import and to make them: :func:`rdbench.report.chart.template`
keeps what they return, and imports this module only where that is not there.
"""

from typing import Any

import altair as alt

from rdbench.report import beta_chart, layers, rate_chart, search_chart, training_chart

BLUE = "#3f66c9"
"""Of points that belong to no variant."""


def rate(scale: str, seeds: bool, shannon: bool, columns: int) -> dict[str, Any]:
    """Return the template of all views with this scale and these layers."""
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
    return layers.finish(drawn, rate_chart.SWITCHES, rate_chart.HEIGHT)


def _envelope(x: alt.X, y: alt.Y) -> alt.Chart:
    """Return a band along the lowest of all curves."""
    band: alt.Chart = (
        alt.Chart(alt.NamedData("$envelope"))
        .transform_filter("envelope")
        .transform_calculate(**{"$x": "datum.rate * $factor"})
        .mark_line(strokeWidth=9, opacity=0.3, color=layers.GREY, strokeJoin="round", **layers.QUIET)
        .encode(x, y, order="$x:Q")
    )
    return band


def beta(seeds: bool, columns: int) -> dict[str, Any]:
    """Return the template of all views."""
    x = alt.X("$x:Q", title="β", scale=alt.Scale(type="log", domain=["$xdomain"], nice=False),
              axis=alt.Axis(values=["$ticks"], format="~g"))  # fmt: skip
    y = alt.Y("$y:Q", title="$ytitle", scale=alt.Scale(domain=["$ydomain"], nice=False, zero=False))
    colour, shape = layers.encode_variant(columns)
    drawn = [layers.curves(x, y, colour)]
    if seeds:
        drawn += [layers.intervals(x, y, colour), layers.seeds(x, y, colour, shape)]
    best = layers.shown("means", "mark_best", "datum['$y_best']")
    ring = best.mark_point(size=260, strokeWidth=2, shape="circle", **layers.QUIET)
    name = best.mark_text(dy=-16, fontSize=11, **layers.QUIET)
    points = layers.points(x, y, colour, shape).add_params(layers.zoom())
    drawn += [
        ring.encode(x, y, colour),
        points.encode(tooltip=layers.tooltip()),
        name.encode(x, y, text=alt.value("best")),
    ]
    return layers.finish(drawn, beta_chart.SWITCHES, beta_chart.HEIGHT)


def training(kind: str, dots: bool) -> dict[str, Any]:
    """Return the template of all views with this scale: log, symlog or linear."""
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
    return layers.configure(alt.layer(*drawn), training_chart.HEIGHT)


def search_slice(kind: str) -> dict[str, Any]:
    """Return the template of a view of what was tried over one setting, or over another objective."""
    scale = alt.Scale(type="log" if kind == "log" else "linear", domain=["$xdomain"], nice=False, zero=False)
    axis = alt.Axis(tickCount=6, format="~g")
    if kind == "log":
        axis["values"] = ["$xticks"]
    if kind == "whole":
        axis["tickMinStep"] = 1
    x = alt.X("$x:Q", title="$xtitle", scale=scale, axis=axis)
    if kind == "choice":
        x = alt.X("$x:N", title="$xtitle", axis=alt.Axis(labelAngle=0, labelLimit=120))
    y = alt.Y("$y:Q", title="$ytitle", scale=alt.Scale(domain=["$ydomain"], nice=False, zero=False))
    value = alt.Tooltip("$y:Q", title="$ytitle", format=layers.NUMBER)
    ring = layers.rows("tried", "datum.best").mark_point(size=260, strokeWidth=2, **layers.QUIET)
    points = layers.rows("tried").mark_point(size=70, filled=True, clip=True, color=BLUE)
    faint = alt.condition("datum.feasible", alt.value(1.0), alt.value(0.3))
    drawn = [
        ring.encode(x, y, color=alt.value(layers.GREY)),
        points.encode(x, y, opacity=faint, tooltip=[alt.Tooltip("about:N", title="settings"), value]),
    ]
    return layers.configure(alt.layer(*drawn), search_chart.HEIGHT)


def search_importance() -> dict[str, Any]:
    """Return the template of the importances of the searched settings."""
    # Two lines, for a phone.
    title = ["importance (PED-ANOVA)", "for $ytitle"]
    x = alt.X("share:Q", title=title, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("setting:N", title=None, sort="-x")
    tooltip = [alt.Tooltip("setting:N"), alt.Tooltip("share:Q", title="importance", format=".0%")]
    bars = alt.Chart(alt.NamedData("$rows")).mark_bar(color=BLUE).encode(x, y, tooltip=tooltip)
    return layers.configure(alt.layer(bars), search_chart.HEIGHT)
