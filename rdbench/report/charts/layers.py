"""The layers that charts by variant have in common, for their templates.

In a template ``$x`` and ``$y`` are the fields that are drawn; see :func:`rdbench.report.charts.chart.fill`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from rdbench.report.charts.chart import REFERENCE, SHOWN, Switch

IS_REFERENCE = f"test(/^{REFERENCE}( |,|$)/, datum.variant)"  # as chart.is_reference
# Of marks that a screen reader skips, as the finding and the points say the same. Clipped, because an axis
# may end before its points do, and zooming moves them out.
QUIET: dict[str, Any] = {"clip": True, "aria": False}
LIT = "!lit || lit === (datum.member || datum.variant)"
BETA = alt.Tooltip("beta:Q", title="β", format="~g")
NUMBER = ",.5~r"
PER_CHARACTER = 6.3  # pixels of a name's character, at 12 pixels
LEGEND = alt.Legend(title=None, orient="top", columns=alt.expr("$columns"), labelLimit=330, symbolSize=80)
COLOUR = alt.Color("variant:N", legend=LEGEND, scale=alt.Scale(domain=["$variants"], range=["$colours"]))
SHAPE = alt.Shape("variant:N", legend=LEGEND, scale=alt.Scale(domain=["$variants"], range=["$shapes"]))
Y = alt.Y("$y:Q", title="$ytitle", scale=alt.Scale(domain=["$ydomain"], nice=False, zero=False))


def rows(name: str, *tests: str) -> alt.Chart:
    """Return a chart of the rows of a dataset that pass all tests and have both fields."""
    conditions = ["isValid(datum['$x'])", "isValid(datum['$y'])", *tests]
    return alt.Chart(alt.NamedData(name)).transform_filter(" && ".join(conditions))


def in_units(name: str, *tests: str) -> alt.Chart:
    """Return a chart of rows whose rate is in nats, in the unit of the axis."""
    data = alt.Chart(alt.NamedData(name)).transform_calculate(**{"$x": "datum.rate * $factor"})
    conditions = ["isValid(datum['$y'])", *tests]
    return data.transform_filter(" && ".join(conditions))


def lit(opacity: float) -> Any:
    """Return an opacity that fades while a reader points at another variant (the parameter ``lit``)."""
    return alt.condition(LIT, alt.value(opacity), alt.value(opacity / 6))


@dataclass(frozen=True)
class ByVariant:
    """Makes the layers of a chart over ``x`` and :data:`Y` by variant, of the rows that pass all ``tests``.

    A reader can switch variants off: every layer leaves out those that the parameter ``hidden`` lists.
    """

    x: alt.X
    tests: tuple[str, ...] = ()

    def shown(self, name: str, *tests: str) -> alt.Chart:
        """Return a chart of the :func:`rows` whose variant is not switched off."""
        return rows(name, SHOWN, *tests, *self.tests)

    def curves(self) -> Any:
        """Return a line a variant, through its means by beta."""
        line = self.shown("means").mark_line(**QUIET)
        width = alt.condition(IS_REFERENCE, alt.value(1), alt.value(1.5))
        dash = alt.condition(IS_REFERENCE, alt.value([6, 4]), alt.value([1, 0]))
        return line.encode(
            self.x, Y, COLOUR, order="beta:Q", strokeWidth=width, strokeDash=dash, opacity=lit(0.8)
        )

    def fitted(self, named: bool) -> list[Any]:
        """Return the curves of the data ``$curve``, dashed between single seeds; and their names beside."""
        line = in_units("$curve", SHOWN, *self.tests).mark_line(**QUIET)
        width = alt.condition(IS_REFERENCE, alt.value(1), alt.value(2))
        dash = alt.condition(f"{IS_REFERENCE} || datum.alone", alt.value([5, 4]), alt.value([1, 0]))
        layers = [line.encode(self.x, Y, COLOUR, detail="part:N", order="$x:Q", strokeWidth=width,
                              strokeDash=dash, opacity=lit(0.9))]  # fmt: skip
        if named:
            layers += self._names()
        return layers

    def _names(self) -> list[Any]:
        """Return the names of the data ``$names``: at the curves' ends, or beside with their marks."""
        names = in_units("$names", "!narrow", SHOWN, *self.tests)
        looks: dict[str, Any] = {"align": "left", "baseline": "middle", "fontSize": 12, "aria": False}
        # A printed column may be too narrow for a name behind its curve: then it ends there, above.
        narrow = f"scale('x', datum['$x']) + 10 + {PER_CHARACTER} * length(datum.text) > width"
        at_end = names.transform_filter("!datum.beside").mark_text(
            **looks | {"align": alt.expr(f"{narrow} ? 'right' : 'left'")}, clip=True,
            dx=alt.expr(f"{narrow} ? -8 : 10"), dy=alt.expr(f"datum.shift - ({narrow} ? 14 : 0)"),
        )  # fmt: skip
        beside = names.transform_filter("datum.beside")
        height = alt.expr("(1 - datum.place) * height")
        mark = beside.mark_point(
            filled=True, size=60, x=alt.expr("width + 11"), y=height, clip=False, aria=False
        )
        text = beside.mark_text(x=alt.expr("width + 20"), y=height, clip=False, **looks)
        return [
            at_end.encode(self.x, Y, text="text:N", opacity=lit(1)),
            mark.encode(COLOUR, SHAPE, opacity=lit(1)),
            text.encode(text="text:N", opacity=lit(1)),
        ]

    def seeds(self) -> Any:
        """Return a small mark a seed, of points with several."""
        small = self.shown("seeds", "spread", f"!({IS_REFERENCE})").mark_point(size=24, **QUIET)
        small = small.transform_calculate(seed_text=_with_sign("$y"))
        height = alt.Tooltip("seed_text:N", title="$what")
        tooltip = [alt.Tooltip("variant:N"), BETA, alt.Tooltip("seed:Q"), height]
        return small.encode(self.x, Y, COLOUR, SHAPE, tooltip=tooltip, opacity=lit(0.55))

    def intervals(self) -> Any:
        """Return a bar a point, over the interval of its mean ``$y``; none where there is no interval."""
        bar = self.shown("means", "spread && isValid(datum['$y_low'])").mark_rule(**QUIET)
        low = Y.copy()
        low.shorthand = "$y_low:Q"
        return bar.encode(self.x, low, COLOUR, y2="$y_high:Q", opacity=lit(0.7))

    def points(self, *tooltip: alt.Tooltip, **fields: str) -> Any:
        """Return a mark a mean, which can be picked; ``about`` describes it: variant, beta and ``$text``.

        ``tooltip`` is shown besides variant, beta, seeds and value; ``fields`` are further expressions to
        calculate, for ``$text`` and the tooltip, beside ``y_text``.
        """
        seeds, value = alt.Tooltip("$y_n:Q", title="seeds averaged"), alt.Tooltip("y_text:N", title="$what")
        return (
            self.shown("means")
            .transform_calculate(y_text=with_interval("$y"), **fields)
            .transform_calculate(about="datum.variant + ', ' + datum.label + ': ' + $text")
            .mark_point(filled=True, clip=True, cursor="pointer")
            .encode(self.x, Y, COLOUR, SHAPE, description="about:N", opacity=lit(1))
            .encode(size=alt.condition(IS_REFERENCE, alt.value(18), alt.value(70)))
            .encode(tooltip=[alt.Tooltip("variant:N"), BETA, seeds, *tooltip, value])
            .properties(name="points")
            .add_params(zoom())
        )


def zoom() -> alt.Parameter:
    """Return what lets a reader move and zoom; a plain wheel scrolls the page."""
    return alt.selection_interval(bind="scales", name="zoom", zoom="wheel![event.ctrlKey || event.metaKey]")


def _with_sign(field: str) -> str:
    """Return the expression that writes a number, after the sign of one that is a bound only."""
    return f"(datum.signs['{field}'] || '') + format(datum['{field}'], '{NUMBER}')"


def with_interval(field: str) -> str:
    """Return the expression that writes a mean with its interval."""
    half = f"datum['{field}_high'] - datum['{field}']"
    interval = f"(isValid(datum['{field}_high']) ? ' ± ' + format({half}, '.2~g') : '')"
    return f"{_with_sign(field)} + {interval}"


def finish(
    layers: Sequence[alt.Chart], switches: Sequence[Switch], height: int, *, legend: bool = True
) -> dict[str, Any]:
    """Return the template of a chart by variant, with the parameters that the page sets."""
    params = [alt.param(name=switch.parameter, value=switch.on) for switch in switches]
    params += [alt.param(name="hidden", value=[]), alt.param(name="lit", value="")]
    params.append(alt.param(name="narrow", value=False))  # a phone has no room for the names of curves
    spec = configure(alt.layer(*layers).add_params(*params), height)
    for layer in spec["layer"] if not legend else ():
        for channel in layer["encoding"].keys() & {"color", "shape"}:
            layer["encoding"][channel]["legend"] = None
    return spec


def configure(chart: alt.LayerChart | alt.FacetChart, height: int) -> dict[str, Any]:
    """Return the template of a chart, in the report's looks."""
    chart = chart.properties(width="container", height=height, description="$description")
    chart = chart.configure(font="system-ui, sans-serif", background="transparent")
    chart = chart.configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
    return dict(chart.configure_legend(labelFontSize=13).to_dict())
