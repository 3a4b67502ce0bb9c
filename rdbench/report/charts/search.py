"""What a search by Optuna tried: the objective over each setting, the front, and which setting matters."""

import math
from collections.abc import Sequence
from typing import Any

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import Chart, Control, Rows, fill, rounded, template
from rdbench.report.numbers import count, number, setting
from rdbench.report.searches import Proposal, StudyView

BLUE = "#3f66c9"
"""Of points that belong to no variant."""


HEIGHT = 300

AIR = 0.08
"""Of an axis, beyond the outermost points on either side: room for a ring on a phone."""


def _slice(kind: str) -> dict[str, Any]:
    """Return the template of a view of what was tried over one setting, or over another objective."""
    import altair as alt

    from rdbench.report.charts import layers

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
    return layers.configure(alt.layer(*drawn), HEIGHT)


def _importance() -> dict[str, Any]:
    """Return the template of the importances of the searched settings."""
    import altair as alt

    from rdbench.report.charts import layers

    # Two lines, for a phone.
    title = ["importance (PED-ANOVA)", "for $ytitle"]
    x = alt.X("share:Q", title=title, axis=alt.Axis(format="%", tickCount=5))
    y = alt.Y("setting:N", title=None, sort="-x")
    tooltip = [alt.Tooltip("setting:N"), alt.Tooltip("share:Q", title="importance", format=".0%")]
    bars = alt.Chart(alt.NamedData("$rows")).mark_bar(color=BLUE).encode(x, y, tooltip=tooltip)
    return layers.configure(alt.layer(bars), HEIGHT)


def search_chart(study: StudyView, name: str = "search") -> Chart | None:
    """Draw a study: for each objective the front, its course over each setting, and the settings' importance.

    Args:
        study: what was searched.
        name: of the chart.

    Returns:
        None where no proposal gave a result.
    """
    tried = [each for each in study.proposals if each.values is not None]
    if not tried:
        return None
    # A setting of one variant alone may have no result; names of options are safe as titles, not as fields.
    there = [name for name in study.scales if any(name in each.params for each in tried)]
    fields = {name: f"p{place}" for place, name in enumerate(there)}
    rows: Rows = []
    for each in tried:
        assert each.values is not None
        row: dict[str, Any] = {"about": about(each), "best": each.best, "feasible": not each.broken}
        row |= {fields[name]: value for name, value in each.params.items()}
        row |= {f"v{place}": rounded(value) for place, value in enumerate(each.values)}
        rows.append(row)
    data: dict[str, Rows] = {"tried": rows}
    views: dict[str, dict[str, Any]] = {}
    for place, objective in enumerate(study.objectives):
        axes: dict[str, Any] = {
            "$y": f"v{place}", "$ytitle": f"test {objective}", "$ydomain": _ends(rows, f"v{place}", pad=0.1),
            "$description": _finding(study, tried, place),
        }  # fmt: skip
        if len(study.objectives) > 1:
            other = (place + 1) % len(study.objectives)
            across: dict[str, Any] = {"$x": f"v{other}", "$xtitle": f"test {study.objectives[other]}"}
            across["$xdomain"] = _ends(rows, f"v{other}")
            views[f"{objective}/front"] = fill(template(_slice, "linear"), axes | across)
        for name_of, own in fields.items():
            kind = study.scales[name_of]
            ends = [] if kind == "choice" else _ends(rows, own, log=kind == "log")
            across = {"$x": own, "$xtitle": name_of, "$xdomain": ends}
            across["$xticks"] = _ticks(*ends) if kind == "log" else []
            views[f"{objective}/over_{name_of}"] = fill(template(_slice, kind), axes | across)
        if all(study.importance):  # objective and view are chosen apart: what one has, all have
            shares = study.importance[place]
            data[f"importance_{place}"] = [
                {"setting": name_of, "share": rounded(share, 4)} for name_of, share in shares.items()
            ]
            values = {
                "$rows": f"importance_{place}", "$ytitle": objective,
                "$description": _matters(objective, shares),
            }  # fmt: skip
            views[f"{objective}/importance"] = fill(template(_importance), values)
    shown = [(f"over_{name_of}", f"over {name_of}") for name_of in there]
    if len(study.objectives) > 1:
        shown.insert(0, ("front", "against the next objective: the front"))
    if all(study.importance):
        shown.append(("importance", "importance of each setting"))
    controls = (Control("objective", tuple((each, each) for each in study.objectives)),
                Control("shown", tuple(shown)))  # fmt: skip
    lost = len(study.proposals) - len(tried)
    notes = (f"{count(lost, 'proposal')} gave no result and {'is' if lost == 1 else 'are'} not drawn.",)
    title = f"The search of {study.name}: {count(len(tried), 'result')}"
    return Chart(name, title, notes if lost else (), controls, (), views, data, "search")


def _ends(rows: Rows, name: str, *, log: bool = False, pad: float = AIR) -> list[float]:
    """Return the domain of an axis."""
    return list(label_placement.domain([row[name] for row in rows if name in row], log=log, pad=pad))


def _ticks(low: float, high: float) -> list[float]:
    """Return where a logarithmic axis has its ticks: the powers of ten, where they are few also between them.

    Vega draws a line at each digit.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    tens = [tick for tick in every[::3] if low <= tick <= high]
    return tens if len(tens) > 2 else [tick for tick in every if low <= tick <= high]


def about(each: Proposal) -> str:
    """Return a proposal's settings in words."""
    return ", ".join(f"{name} {setting(value)}" for name, value in each.params.items())


def _finding(study: StudyView, tried: Sequence[Proposal], place: int) -> str:
    """Say which settings are best in an objective, or how many make the front."""
    best = [each for each in tried if each.best]
    name, amount = study.objectives[place], count(len(tried), "result")
    if not best:
        return f"{name}: none of {amount} keeps the constraints."
    if len(study.objectives) > 1:
        ends = [each.values[place] for each in best if each.values is not None]
        make = "makes" if len(best) == 1 else "make"
        span = f"{name} from {number(min(ends))} to {number(max(ends))}"
        return f"{len(best)} of {amount} {make} the front, with {span}."
    (first, *_) = best
    assert first.values is not None
    return f"{name}: the best of {amount} is {number(first.values[place])}, at {about(first)}."


def _matters(objective: str, shares: dict[str, float]) -> str:
    """Say which setting tells the best results from the others."""
    most = max(shares, key=lambda each: shares[each])
    return (
        f"{objective}: {most} matters most, with {shares[most]:.0%} of all importance (PED-ANOVA: how far its"
        " values among the best results differ from those among all)."
    )
