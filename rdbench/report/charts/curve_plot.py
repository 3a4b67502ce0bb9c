"""A plot of curves over the rate: points with intervals, a fitted curve each, its name at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rdbench.report.charts import fit, label_placement
from rdbench.report.charts.chart import GREY, Rows, Spec, Switch, fill, is_reference, rounded
from rdbench.report.charts.end_names import end_names
from rdbench.report.charts.templates import template
from rdbench.report.statistics.curves import lower_envelope

HEIGHT, PLAIN_HEIGHT = 400, 350  # a plain one stands beside another on the first screen
ENVELOPE_POINTS = 150
Unit = tuple[str, str, float]  # of the rate: its field, its title, and how many of it are a nat per image

SPREAD = Switch("spread", "seeds and intervals", True)
OUTSIDE = Switch("outside", "all points", False)
DETAILS = (
    SPREAD,
    Switch("envelope", "lower envelope of what is compared (grey)", True),
    Switch("equal_beta", "lines joining equal β", False),
    Switch("labels", "labels of β", True),
    OUTSIDE,
)
PLAIN = (SPREAD, Switch("labels", "labels of β", False), OUTSIDE)


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
    monotone: bool = True  # of an ideal coder it falls with the rate, or rises if more is better


@dataclass(frozen=True)
class Plot:
    """What the views of one chart share.

    Attributes:
        data: the chart's; views add the rows they need. ``means`` and ``seeds`` are from
            :func:`~rdbench.report.charts.chart.wide`, the rate in nats in the field ``rate``.
        looks: from :func:`~rdbench.report.charts.chart.by_variant`.
        units: of the rate.
        end: where the linear axis of the rate ends, in nats, if rates go beyond; None: where curves do.
        plain: without envelope and lines joining equal beta; its switches are ``PLAIN``, else ``DETAILS``.
        loose: as of :func:`~rdbench.report.charts.fit.height_axis`.
        rough: variants whose points are joined as they are, as no theory says that they fall.
    """

    data: dict[str, Rows]
    looks: Mapping[str, Any]
    units: Sequence[Unit]
    end: float | None = None
    plain: bool = False
    loose: frozenset[str] = frozenset()
    rough: frozenset[str] = frozenset()

    @property
    def switches(self) -> tuple[Switch, ...]:
        """What a reader can switch."""
        return PLAIN if self.plain else DETAILS

    def views(
        self, measure: Measure, compared: Rows, finding: str, *, shannon: bool = False
    ) -> dict[str, Spec]:
        """Return the views of a measure, by "<scale>" or "<scale>/<unit>" where there are units.

        Args:
            measure: its values are in the means.
            compared: the means that the envelope is of.
            finding: the description of the views, to which each adds what is outside of it.
            shannon: the data ``shannon_<measure>`` hold Shannon's curve.
        """
        return {
            key: view
            for scale in ("linear", "log")
            for key, view in self._views(measure, compared, finding, scale, shannon).items()
        }

    def _views(
        self, measure: Measure, compared: Rows, finding: str, scale: str, shannon: bool
    ) -> dict[str, Spec]:
        name, log = measure.name, scale == "log"
        curves = self._curves(measure)
        points = [
            row for rows in ("means", "seeds") for row in self.data.get(rows, []) if row[name] is not None
        ]
        bound = self.data.get(f"shannon_{name}", []) if shannon else []
        across = fit.rate_axis(points, curves, log=log, end=self.end)
        up = fit.height_axis(points, [*curves, *bound], name, across, self.loose)
        _place(self.data, name, scale, (across.fit, up.fit))
        names = end_names(curves, points, name, (across, up), log=log)
        self.data[f"names_{name}_{scale}"] = names
        if not self.plain:
            variants = {row["variant"] for row in compared}
            of = [row for row in curves if row["variant"] in variants]
            self.data[f"envelope_{name}_{scale}"] = _lowest(of, measure, log=log)
        if missed := fit.outside(self.data["means"], name, across, up):
            lie = "point lies" if missed == 1 else "points lie"
            finding += f" {missed} {lie} outside; “{OUTSIDE.label}” shows all."
        drawn = _template(scale, "seeds" in self.data, shannon, self.plain, bool(names))
        values = dict(self.looks) | {
            "$y": name, "$ytitle": list(measure.axis), "$what": measure.what, "$shannon": f"shannon_{name}",
            "$description": finding, "$ydomain": up.domain(), "$at": f"{name}_{scale}",
            "$curve": f"curve_{name}", "$envelope": f"envelope_{name}_{scale}",
            "$names": f"names_{name}_{scale}",
        }  # fmt: skip
        return {
            "/".join([scale, *([unit] if len(self.units) > 1 else [])]): fill(drawn, values | {
                "$x": unit, "$xtitle": f"rate ({title})", "$xdomain": across.domain(factor),
                "$xleast": factor * across.whole[0], "$factor": factor,
                "$text": f"'rate ' + datum.x_text + ' {title}, {measure.what} ' + datum.y_text",
            }) for unit, title, factor in self.units
        }  # fmt: skip

    def _curves(self, measure: Measure) -> Rows:
        key = f"curve_{measure.name}"
        if key not in self.data:
            self.data[key] = [
                row
                for rough in (False, True)
                for row in fit.curve_rows(
                    [mean for mean in self.data["means"] if (mean["variant"] in self.rough) == rough],
                    measure.name, higher=measure.higher, monotone=measure.monotone and not rough,
                )
            ]  # fmt: skip
        return self.data[key]


@template(("linear", "log"), *[(False, True)] * 4)
def _template(scale: str, seeds: bool, shannon: bool, plain: bool, named: bool) -> Spec:
    import altair as alt

    from rdbench.report.charts import layers

    log = scale == "log"
    axis = alt.Scale(type="log" if log else "linear", domain=["$xdomain"], nice=False)
    x, y = alt.X("$x:Q", title="$xtitle", axis=alt.Axis(tickCount=8), scale=axis), layers.Y
    on_axis = ("datum['$x'] > 0",) if log else ()  # rate 0 has no place on a logarithmic axis
    chart = layers.ByVariant(x, on_axis)
    grey: dict[str, Any] = {"color": GREY} | layers.QUIET
    drawn = []
    if shannon:
        bound = layers.in_units("$shannon").mark_line(strokeWidth=1.5, strokeDash=[6, 4], **grey)
        drawn.append(bound.encode(x, y))
    if not plain:
        band = layers.in_units("$envelope").transform_filter("envelope")
        band = band.mark_line(strokeWidth=9, opacity=0.3, strokeJoin="round", **grey)
        joined = chart.shown("means", "equal_beta").mark_line(strokeWidth=1, strokeDash=[2, 3], **grey)
        drawn += [band.encode(x, y, order="$x:Q"), joined.encode(x, y, detail="beta:Q", order="$x:Q")]
    drawn += chart.fitted(named)
    if seeds:
        bars = chart.shown("means", "spread && isValid(datum['$x_low'])")
        # A logarithmic axis has no place for an end at or below 0: the bar then goes to the axis.
        low = "max(datum['$x_low'], $xleast)" if log else "datum['$x_low']"
        start = x.copy()
        start.shorthand = "x_low:Q"
        bars = bars.transform_calculate(x_low=low).mark_rule(opacity=0.7, **layers.QUIET)
        bars = bars.encode(start, y, layers.COLOUR, x2="$x_high:Q", opacity=layers.lit(0.7))
        drawn += [bars, chart.intervals(), chart.seeds()]
    x_text = layers.with_interval("$x")
    drawn.append(chart.points(alt.Tooltip("x_text:N", title="$xtitle"), x_text=x_text))
    left, below = "datum['$at'][0] == 'l'", "indexof(datum['$at'], 'below') > 0"
    text = chart.shown("means", "labels", "!outside", "isValid(datum['$at'])").mark_text(
        fontSize=11, align=alt.expr(f"{left} ? 'right' : 'left'"), dx=alt.expr(f"{left} ? -7 : 7"),
        baseline=alt.expr(f"{below} ? 'top' : 'bottom'"), dy=alt.expr(f"{below} ? 4 : -4"), **layers.QUIET,
    )  # fmt: skip
    drawn.append(text.encode(x, y, text="label:N"))
    return layers.finish(
        drawn, PLAIN if plain else DETAILS, PLAIN_HEIGHT if plain else HEIGHT, legend=not named
    )


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


def _lowest(rows: Rows, measure: Measure, log: bool) -> Rows:
    """Return the lowest height of all curves as they are drawn, at evenly spaced places of the rate axis."""
    sign = -1 if measure.higher else 1
    curves = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [(row["rate"], sign * row[measure.name]) for row in rows if row["variant"] == variant]
        rates, costs = np.array(own, float).T
        curves.append((np.log(rates) if log else rates, costs))
    if not curves:
        return []
    ends = np.concatenate([rates for rates, _ in curves])
    at = np.unique(np.concatenate([np.linspace(ends.min(), ends.max(), ENVELOPE_POINTS), ends]))
    costs = lower_envelope(curves, at)
    return [
        {"rate": rounded(rate), measure.name: rounded(sign * cost)}
        for rate, cost in zip(np.exp(at) if log else at, costs, strict=True)
    ]
