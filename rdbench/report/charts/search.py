"""What a search by Optuna tried: the objective over each setting, the front, and which setting matters."""

import math
from collections.abc import Sequence
from typing import Any

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import GREY, Chart, Control, Rows, Spec, fill, rounded
from rdbench.report.charts.templates import template
from rdbench.report.numbers import count, number
from rdbench.report.searches import Proposal, StudyView
from rdbench.text import shown

BLUE = "#3f66c9"  # of points that belong to no variant
HEIGHT = 300
AIR = 0.08  # of an axis, beyond the outermost points on either side: room for a ring on a phone


@template(("linear", "log", "whole", "choice"))
def _slice(kind: str) -> Spec:
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
    value = alt.Tooltip("$y:Q", title="$ytitle", format=layers.NUMBER)
    ring = layers.rows("tried", "datum.best").mark_point(size=260, strokeWidth=2, **layers.QUIET)
    points = layers.rows("tried").mark_point(size=70, filled=True, clip=True, color=BLUE)
    faint = alt.condition("datum.feasible", alt.value(1.0), alt.value(0.3))
    drawn = [
        ring.encode(x, layers.Y, color=alt.value(GREY)),
        points.encode(x, layers.Y, opacity=faint, tooltip=[alt.Tooltip("about:N", title="settings"), value]),
    ]
    return layers.configure(alt.layer(*drawn), HEIGHT)


@template()
def _importance() -> Spec:
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
    """Draw each objective against the next, over each setting, and the settings' importance for it.

    Returns None where no proposal gave a result.
    """
    tried = [proposal for proposal in study.proposals if proposal.values is not None]
    if not tried:
        return None
    # Names of settings are safe as titles, not as fields. One of a single variant may have no result.
    settings = [name for name in study.scales if any(name in proposal.params for proposal in tried)]
    fields = {setting: f"p{index}" for index, setting in enumerate(settings)}
    data: dict[str, Rows] = {"tried": [_row(proposal, fields) for proposal in tried]}
    views: dict[str, Spec] = {}
    for index, objective in enumerate(study.objectives):
        finding = _finding(study, tried, index)
        views |= _slices(study, data["tried"], index, fields, finding)
        if all(study.importance):  # objective and view are chosen apart: what one has, all have
            rows, shares = f"importance_{index}", study.importance[index]
            data[rows] = [{"setting": key, "share": rounded(share, 4)} for key, share in shares.items()]
            values = {"$rows": rows, "$ytitle": objective, "$description": _matters(objective, shares)}
            views[f"{objective}/importance"] = fill(_importance(), values)
    options = [(f"over_{setting}", f"over {setting}") for setting in settings]
    if len(study.objectives) > 1:
        options.insert(0, ("front", "against the next objective: the front"))
    if all(study.importance):
        options.append(("importance", "importance of each setting"))
    controls = (Control("objective", tuple((objective, objective) for objective in study.objectives)),
                Control("shown", tuple(options)))  # fmt: skip
    lost = len(study.proposals) - len(tried)
    notes = (f"{count(lost, 'proposal')} gave no result and {'is' if lost == 1 else 'are'} not drawn.",)
    title = f"The search of {study.name}: {count(len(tried), 'result')}"
    return Chart(name, title, notes if lost else (), controls, (), views, data, kind="search")


def _finding(study: StudyView, tried: Sequence[Proposal], index: int) -> str:
    """Say which settings are best in an objective, or how many make the front."""
    best = [proposal for proposal in tried if proposal.best]
    values = [proposal.values[index] for proposal in best if proposal.values is not None]
    name, amount = study.objectives[index], count(len(tried), "result")
    if not best:
        return f"{name}: none of {amount} keeps the constraints."
    if len(study.objectives) > 1:
        make = "makes" if len(best) == 1 else "make"
        span = f"{name} from {number(min(values))} to {number(max(values))}"
        return f"{len(best)} of {amount} {make} the front, with {span}."
    return f"{name}: the best of {amount} is {number(values[0])}, at {about(best[0])}."


def _matters(objective: str, shares: dict[str, float]) -> str:
    """Say which setting distinguishes the best results from the others."""
    most = max(shares, key=lambda setting: shares[setting])
    return (
        f"{objective}: {most} matters most, with {shares[most]:.0%} of all importance. Importance (PED-ANOVA)"
        " is how far a setting's values among the best results differ from those among all."
    )


def about(proposal: Proposal) -> str:
    """Return a proposal's settings in words."""
    return ", ".join(f"{name} {shown(value)}" for name, value in proposal.params.items())


def _row(proposal: Proposal, fields: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {"about": about(proposal), "best": proposal.best, "feasible": not proposal.broken}
    row |= {fields[name]: value for name, value in proposal.params.items()}
    return row | {f"v{index}": rounded(value) for index, value in enumerate(proposal.values or ())}


def _slices(
    study: StudyView, rows: Rows, index: int, fields: dict[str, str], finding: str
) -> dict[str, Spec]:
    """Return the views of an objective: against the next one, and over each setting."""
    objective, y = study.objectives[index], f"v{index}"
    height = _ends(rows, y, pad=0.1)
    up = {"$y": y, "$ytitle": f"{study.chosen_on} {objective}", "$ydomain": height, "$description": finding}
    views = {}
    if (amount := len(study.objectives)) > 1:
        x, title = f"v{(index + 1) % amount}", f"{study.chosen_on} {study.objectives[(index + 1) % amount]}"
        across: dict[str, Any] = {"$x": x, "$xtitle": title, "$xdomain": _ends(rows, x)}
        views[f"{objective}/front"] = fill(_slice("linear"), up | across)
    for name, x in fields.items():
        scale = study.scales[name]
        ends = [] if scale == "choice" else _ends(rows, x, log=scale == "log")
        ticks = _ticks(*ends) if scale == "log" else []
        across = {"$x": x, "$xtitle": name, "$xdomain": ends, "$xticks": ticks}
        views[f"{objective}/over_{name}"] = fill(_slice(scale), up | across)
    return views


def _ends(rows: Rows, name: str, *, log: bool = False, pad: float = AIR) -> list[float]:
    return list(label_placement.domain([row[name] for row in rows if name in row], log=log, pad=pad))


def _ticks(low: float, high: float) -> list[float]:
    """Return where a logarithmic axis has its ticks: the powers of ten, where they are few also between them.

    Vega draws a line at each digit.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    tens = [tick for tick in every[::3] if low <= tick <= high]
    return tens if len(tens) > 2 else [tick for tick in every if low <= tick <= high]
