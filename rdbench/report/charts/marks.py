"""What the marks of the curve plots mean: those that a section's charts have, for the line above them."""

from collections.abc import Sequence

from rdbench.report.charts.chart import Chart, is_reference
from rdbench.report.charts.coded_lines import DATA as CODED

PLOTS = ("fig3", "psnr", "rate_distortion")
"""Names of the charts whose marks these are."""


def marks(charts: Sequence[Chart]) -> tuple[tuple[str, str], ...]:
    """Return (its picture in the template, its meaning) of each kind of mark in a section's curve plots."""
    plots = [chart for chart in charts if chart.name in PLOTS]
    data = [(name, rows) for chart in plots for name, rows in chart.data.items()]
    means = [row for name, rows in data if name == "means" for row in rows]
    if not means:
        return ()
    several = any(name == "seeds" and rows for name, rows in data)
    fitted = [row for name, rows in data if name.startswith("curve_") for row in rows
              if not is_reference(row["variant"])]  # fmt: skip
    found = {
        ("mean", "mean over seeds" if several else "one training"): True,
        ("seed", "one seed"): several,
        ("interval", "95% interval"): several,
        ("line", "fitted curve"): any(not row["alone"] for row in fitted),
        ("dashed", "fit to single seeds"): any(row["alone"] for row in fitted),
        ("off", "off the curve: collapsed or unstable"): any(row.get("state") for row in means),
        ("dotted", "rate as coded into bits"): any(name == CODED for name, _ in data),
        ("grey", "Shannon's bound"): any(name.startswith("shannon_") for name, _ in data),
    }
    return tuple(mark for mark, shown in found.items() if shown)
