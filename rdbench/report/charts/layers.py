"""The layers that charts by variant have in common, for their templates.

In a template ``$x`` and ``$y`` are the fields that are drawn; see :func:`rdbench.report.charts.chart.fill`.
A reader can switch variants off: every layer leaves out those that the parameter ``hidden`` lists.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from rdbench.report.charts.chart import Switch

GREY = "#808080"
"""For what belongs to no variant; it shows on a white and on a dark page."""

QUIET: dict[str, Any] = {"clip": True, "aria": False}
"""Of marks that a screen reader passes over, since the finding and the points tell the same. They are clipped
because an axis may end before its points do, and zooming moves them out."""

BETA = alt.Tooltip("beta:Q", title="β", format="~g")
NUMBER = ",.5~r"


def encode_variant(columns: int) -> tuple[alt.Color, alt.Shape]:
    """Return colour and shape by variant, with a legend of so many columns."""
    legend = alt.Legend(title=None, orient="top", columns=columns, labelLimit=330, symbolSize=80)
    return (
        alt.Color("variant:N", legend=legend, scale=alt.Scale(domain=["$variants"], range=["$colours"])),
        alt.Shape("variant:N", legend=legend, scale=alt.Scale(domain=["$variants"], range=["$shapes"])),
    )


def rows(name: str, *tests: str) -> alt.Chart:
    """Return a chart of the rows of a dataset that pass all tests and have both fields."""
    every = ["isValid(datum['$x'])", "isValid(datum['$y'])", *tests]
    return alt.Chart(alt.NamedData(name)).transform_filter(" && ".join(every))


def shown(name: str, *tests: str) -> alt.Chart:
    """Return a chart of the :func:`rows` whose variant is not switched off."""
    return rows(name, "indexof(hidden, datum.variant) < 0", *tests)


def curves(x: alt.X, y: alt.Y, colour: alt.Color, *tests: str) -> alt.Chart:
    """Return a line a variant, through its means by beta."""
    line = shown("means", *tests).mark_line(strokeWidth=1.5, opacity=0.8, **QUIET)
    layer: alt.Chart = line.encode(x, y, colour, order="beta:Q")
    return layer


def seeds(x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape, *tests: str) -> alt.Chart:
    """Return a small mark a seed, of points with several."""
    small = shown("seeds", "spread", *tests).mark_point(size=24, opacity=0.55, **QUIET)
    height = alt.Tooltip("$y:Q", title="$what", format=NUMBER)
    tooltip = [alt.Tooltip("variant:N"), BETA, alt.Tooltip("seed:Q"), height]
    layer: alt.Chart = small.encode(x, y, colour, shape, tooltip=tooltip)
    return layer


def intervals(x: alt.X, y: alt.Y, colour: alt.Color, *tests: str) -> alt.Chart:
    """Return a bar a point, over the interval of its mean ``$y``; none where there is no interval."""
    bar = shown("means", "spread && isValid(datum['$y_low'])", *tests).mark_rule(opacity=0.7, **QUIET)
    low = y.copy()
    low.shorthand = "$y_low:Q"
    layer: alt.Chart = bar.encode(x, low, colour, y2="$y_high:Q")
    return layer


def points(x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape, *tests: str, **fields: str) -> alt.Chart:
    """Return a mark a mean; it can be picked, and says in ``about`` what it is: variant, beta and ``$text``.

    Args:
        x, y, colour, shape, tests: of the layer.
        fields: further expressions to calculate, which ``$text`` and the tooltip may use beside ``y_text``.
    """
    layer: alt.Chart = (
        shown("means", *tests)
        .transform_calculate(y_text=with_interval("$y"), **fields)
        .transform_calculate(about="datum.variant + ', ' + datum.label + ': ' + $text")
        .mark_point(size=70, filled=True, opacity=1, clip=True, cursor="pointer")
        .encode(x, y, colour, shape, description="about:N")
        .properties(name="points")
    )
    return layer


def tooltip(*more: alt.Tooltip) -> list[alt.Tooltip]:
    """Return what hovering over a mean shows."""
    seeds = alt.Tooltip("$y_n:Q", title="seeds averaged")
    return [alt.Tooltip("variant:N"), BETA, seeds, *more, alt.Tooltip("y_text:N", title="$what")]


def zoom() -> alt.Parameter:
    """Return what lets a reader move and zoom; a plain wheel scrolls the page."""
    return alt.selection_interval(bind="scales", name="zoom", zoom="wheel![event.ctrlKey || event.metaKey]")


def with_interval(field: str) -> str:
    """Return the expression that writes a mean with its interval."""
    half = f"datum['{field}_high'] - datum['{field}']"
    interval = f"(isValid(datum['{field}_high']) ? ' ± ' + format({half}, '.2~g') : '')"
    return f"format(datum['{field}'], '{NUMBER}') + {interval}"


def finish(layers: Sequence[alt.Chart], switches: Sequence[Switch], height: int) -> dict[str, Any]:
    """Return the template of a chart by variant, with the parameters that the page sets."""
    params = [alt.param(name=switch.parameter, value=switch.on) for switch in switches]
    return configure(alt.layer(*layers).add_params(alt.param(name="hidden", value=[]), *params), height)


def configure(chart: alt.LayerChart | alt.FacetChart, height: int) -> dict[str, Any]:
    """Return the template of a chart, in the report's looks."""
    chart = chart.properties(width="container", height=height, description="$description")
    chart = chart.configure(font="system-ui, sans-serif", background="transparent")
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
    return dict(chart.configure_legend(labelFontSize=13).to_dict())
