"""The curve of real bits beside the KL's: dotted, in the colour of its variant, on a chart over the rate."""

import math
from dataclasses import replace
from typing import Any

from rdbench.report.charts.chart import SHOWN, Chart, Rows, Spec, Switch, rounded
from rdbench.report.charts.reference_lines import CHARTS, laid_under
from rdbench.report.sections import Section, records
from rdbench.report.statistics.coded import coded_points
from rdbench.report.statistics.curves import pareto

DATA = "coded"
SWITCH = Switch("coded", "rate as coded into bits (dotted)", True)
NOTE = (
    "Dotted: the same networks as a codec (metric coded), with latents rounded to a grid and range coded. The"
    " rate is that of the stream of bits, the error that of what it decodes to. The curve holds what no β and"
    " size of step beats."
)


def with_coded(chart: Chart | None, section: Section) -> Chart | None:
    """Return a chart with the coded curves in each view of MSE or PSNR; any other unchanged."""
    if chart is None or chart.name not in CHARTS:
        return chart
    rows = coded_rows(section)
    views = {key: _drawn(view, rows) for key, view in chart.views.items()} if rows else chart.views
    if not any(spec is not chart.views[key] for key, spec in views.items()):
        return chart
    return replace(chart, views=views, data=chart.data | {DATA: rows}, notes=(*chart.notes, NOTE),
                   switches=(*chart.switches, SWITCH))  # fmt: skip


def coded_rows(section: Section) -> Rows:
    """Return each variant's coded curve: means over seeds at each (β, step) that no other beats."""
    points = coded_points(section)
    if not len(points):
        return []
    rows: Rows = []
    means = points.groupby(["variant", "beta", "step"])[["rate", "mse", "psnr"]].mean().reset_index()
    for variant, own in means.groupby("variant"):
        own = own.iloc[pareto(own["rate"].to_numpy(), own["mse"].to_numpy())]
        for row in records(own):
            rate, quality = float(row["rate"]), float(row["psnr"])
            rows.append({
                "variant": str(variant), "beta": row["beta"], "step": row["step"], "rate": rounded(rate),
                "bits_per_pixel": rounded(rate / (section.pixels * math.log(2))),
                "mse": rounded(float(row["mse"])), "psnr": None if math.isnan(quality) else rounded(quality),
            })  # fmt: skip
    return rows


def _layers(points: dict[str, Any], has_place: str) -> list[dict[str, Any]]:
    encoding = {channel: points[channel] for channel in ("x", "y", "color")}
    return [{
        "data": {"name": DATA},
        "transform": [{"filter": f"coded && ({SHOWN}) && {has_place}"}],
        "mark": {"type": "line", "strokeDash": [1, 4], "strokeCap": "round", "strokeWidth": 2, "clip": True,
                 "aria": False},
        "encoding": encoding | {"order": {"field": points["x"]["field"], "type": "quantitative"}},
    }]  # fmt: skip


def _drawn(view: Spec, rows: Rows) -> Spec:
    """Return a view with the coded curves of its quantity, and their switch; else the view itself."""
    drawn = laid_under(view, rows, _layers)
    if drawn is view:
        return view
    return drawn | {"params": [*view["params"], {"name": SWITCH.parameter, "value": SWITCH.on}]}
