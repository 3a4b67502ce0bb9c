"""Reference curves in a chart over the rate: a dashed grey line each, with its name at its last point."""

import copy
import re
from collections.abc import Sequence
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
    drawn = {key: _drawn(view, rows) for key, view in chart.views.items()}
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


def _drawn(view: Spec, rows: Rows) -> Spec:
    """Return a view with the curves of its quantity, which are none of some; then the view itself."""
    points = next(layer for layer in view["layer"] if layer.get("name") == "points")
    x, y = (points["encoding"][channel]["field"] for channel in ("x", "y"))
    log = points["encoding"]["x"]["scale"].get("type") == "log"
    shown = [row for row in rows if y in row and (row[x] > 0 or not log)]
    if not shown:
        return view
    view = widen(view, {"x": [row[x] for row in shown], "y": [row[y] for row in shown]})
    points = next(layer for layer in view["layer"] if layer.get("name") == "points")
    encoding = {channel: copy.deepcopy(points["encoding"][channel]) for channel in ("x", "y")}
    return view | {"layer": [*_layers(x, y, log, encoding), *view["layer"]]}


def _layers(x: str, y: str, log: bool, encoding: dict[str, Any]) -> list[dict[str, Any]]:
    place = f" && datum['{x}'] > 0" if log else ""
    transform = [{"filter": f"isValid(datum['{y}']){place}"}]
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


def widen(view: Spec, values: dict[str, list[float]]) -> Spec:
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
