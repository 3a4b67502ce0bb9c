"""Reference curves in a chart over the rate: a dashed grey line each, with its name at its last point."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rdbench.report.charts.chart import GREY, Chart, Rows, Spec, rounded
from rdbench.report.references import Reference
from rdbench.report.sections import Section

CHARTS = ("psnr", "rate_distortion")
"""Names of the charts that have reference curves."""
DATA = "references"
NOTE = "Dashed grey: reference curves from files, which do not say what images they are of."

_EITHER = re.compile(r"outside \? (\S+) : (\S+)")


def with_references(chart: Chart | None, section: Section, references: Sequence[Reference]) -> Chart | None:
    """Return a chart with reference curves in each view that shows their quantity; others unchanged.

    What lies outside of a view's axes shows when a reader asks for all points.
    """
    if chart is None or chart.name not in CHARTS or not references:
        return chart
    rows = reference_rows(section, references)
    drawn = {key: laid_under(view, rows, _layers) for key, view in chart.views.items()}
    if not any(spec is not chart.views[key] for key, spec in drawn.items()):
        return chart
    data = chart.data | {DATA: rows}
    return replace(chart, views=drawn, data=data, notes=(*chart.notes, NOTE))


def reference_rows(section: Section, references: Sequence[Reference]) -> Rows:
    """Return the points of reference curves; ``last`` marks the one of each that its name stands at."""
    rows: Rows = []
    for reference in references:
        points = [
            {key: rounded(value) if isinstance(value, float) else value for key, value in row.items()}
            | {"curve": f"{reference.name}/{reference.quantity}", "last": False}
            for row in reference.rows(section)
        ]
        points[-1]["last"] = True
        rows += points
    return rows


def laid_under(view: Spec, rows: Rows, layers: Callable[[dict[str, Any], str], list[dict[str, Any]]]) -> Spec:
    """Return a view with layers of further rows below its own, on axes that hold these; without rows itself.

    Args:
        view: of a plot over the rate.
        rows: only those are of the view that have its height, and a place on its rate axis.
        layers: are made from the encoding of the view's points, and the test of what has a place.
    """
    x, y = (_points(view)[channel]["field"] for channel in ("x", "y"))
    log = _points(view)["x"]["scale"].get("type") == "log"
    shown = [row for row in rows if row.get(y) is not None and (row[x] > 0 or not log)]
    if not shown:
        return view
    view = _widen(view, {"x": [row[x] for row in shown], "y": [row[y] for row in shown]})
    has_place = f"isValid(datum['{y}'])" + (f" && datum['{x}'] > 0" if log else "")
    return view | {"layer": [*layers(copy.deepcopy(_points(view)), has_place), *view["layer"]]}


def _points(view: Spec) -> dict[str, Any]:
    """Return the encoding of a view's points."""
    return next(layer["encoding"] for layer in view["layer"] if layer.get("name") == "points")


def _layers(points: dict[str, Any], has_place: str) -> list[dict[str, Any]]:
    encoding = {channel: points[channel] for channel in ("x", "y")}
    transform = [{"filter": has_place}]
    base = {"data": {"name": DATA}, "transform": transform}
    line = base | {
        "mark": {"type": "line", "color": GREY, "strokeDash": [2, 3], "clip": True, "aria": False,
                 "point": {"color": GREY, "size": 12}},
        "encoding": encoding | {"detail": {"field": "curve", "type": "nominal"}},
    }  # fmt: skip
    name = base | {
        "transform": [*transform, {"filter": "datum.last"}],
        "mark": {"type": "text", "color": GREY, "align": "right", "dy": -8, "fontSize": 11, "clip": True},
        "encoding": encoding | {"text": {"field": "reference", "type": "nominal"}},
    }
    return [line, name]


def _widen(view: Spec, values: dict[str, list[float]]) -> Spec:
    """Return a copy of a view whose axes hold these values by channel, where all points are asked for."""
    view = copy.deepcopy(view)
    for channel, ends in values.items():
        for layer in view["layer"]:
            scale = layer.get("encoding", {}).get(channel, {}).get("scale", {})
            if "domain" in scale:
                scale["domain"] = _widened(scale["domain"], min(ends), max(ends))
    return view


def _widened(domain: Sequence[Any], low: float, high: float) -> list[Any]:
    """Return the ends of an axis that, where a reader asks for all points, hold these as well."""
    widened = []
    for end, other, choose in zip(domain, (low, high), (min, max), strict=True):
        text = end.get("expr", "") if isinstance(end, dict) else ""
        if match := _EITHER.fullmatch(text):
            whole, fit = float(match[1]), float(match[2])
        elif isinstance(end, int | float):
            whole = fit = float(end)
        else:
            widened.append(end)
            continue
        whole = choose(whole, other)
        widened.append(end if whole == fit else {"expr": f"outside ? {whole!r} : {fit!r}"})
    return widened
