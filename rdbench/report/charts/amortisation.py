"""The amortisation gap over beta: the rate that each encoder spends over its own decoder's curve."""

from collections.abc import Iterable, Sequence
from typing import Any

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import (
    GREY,
    Chart,
    Control,
    Rows,
    Spec,
    Switch,
    by_variant,
    fill,
    rounded,
    wide,
)
from rdbench.report.charts.templates import template
from rdbench.report.numbers import interval, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.series import Key, Series, proxies
from rdbench.report.tables import decoders

HEIGHT = 320
TITLE = "Amortisation gap over β"
APART = 0.012
"""Of the axis' length, between two variants at one beta: their intervals would hide each other."""

SWITCHES = (Switch("spread", "seeds and intervals", True),)


@template((True, False))
def _template(seeds: bool) -> Spec:
    """Return the template of all views."""
    import altair as alt

    from rdbench.report.charts import layers

    x = alt.X("$x:Q", title="β", scale=alt.Scale(type="log", domain=["$xdomain"], nice=False),
              axis=alt.Axis(values=["$ticks"], format="~g"))  # fmt: skip
    chart = layers.ByVariant(x)
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color=GREY, strokeWidth=1, **layers.QUIET)
    scale = alt.Scale(domain=["$ydomain"], nice=False, zero=False)
    drawn = [zero.encode(y=alt.Y("gap:Q", scale=scale)), chart.curves()]
    if seeds:
        drawn += [chart.intervals(), chart.seeds()]
    ring = chart.shown("means", "datum.$short").mark_point(
        size=260, strokeWidth=2, strokeDash=[3, 2], shape="circle", **layers.QUIET
    )
    return layers.finish([*drawn, ring.encode(x, layers.Y, layers.COLOUR), chart.points()], SWITCHES, HEIGHT)


def amortisation_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw the gap of each variant over beta with its interval; None where ``ais`` measured none.

    A dashed ring marks a mean some of whose chains were too short: its gap is a lower bound.
    ``variants`` are all of the section, in order: each looks the same in every chart. A gap that was measured
    in two ways has a view for each.
    """
    series = proxies(section)
    measured = decoders.of("amortisation_gap", series)
    fields = {f"v{index}": one for index, one in enumerate(one for one in measured if one.values)}
    if not fields:
        return None
    means, seeds = wide(variants, {field: one.values for field, one in fields.items()})
    # Of each way of measuring, the (variant, beta) whose bounds lie too far apart.
    apart = zip(measured, decoders.of("gap", series), strict=False)
    warned = {one.name: gap.warned for one, gap in apart}
    short = {field: warned.get(one.name, set()) for field, one in fields.items()}
    for row in means:
        row |= {f"{field}_short": (row["variant"], row["beta"]) in keys for field, keys in short.items()}
    _set_apart([*means, *seeds], variants)
    data: dict[str, Rows] = {"means": means, "zero": [{"gap": 0}]} | ({"seeds": seeds} if seeds else {})
    views = {
        one.name: _view(field, data, variants, finding(one, variants, short[field]))
        for field, one in fields.items()
    }
    options = tuple((one.name, one.title if len(fields) == 1 else one.name) for one in fields.values())
    notes = tuple(_not_drawn(fields.values()))
    return Chart("amortisation", TITLE, notes, (Control("gap", options),), SWITCHES, views, data)


def _set_apart(rows: Rows, variants: Sequence[str]) -> None:
    """Set ``at``, where a row is drawn: at its beta, variants side by side."""
    low, high = label_placement.domain([row["beta"] for row in rows], log=True)
    shown = [variant for variant in variants if any(row["variant"] == variant for row in rows)]
    for row in rows:
        places = shown.index(row["variant"]) - (len(shown) - 1) / 2
        row["at"] = rounded(row["beta"] * (high / low) ** (APART * places))


def _view(field: str, data: dict[str, Rows], variants: Sequence[str], found: str) -> Spec:
    rows = [row for name in ("means", "seeds") for row in data.get(name, ())]
    heights = [row[field] for row in rows if row[field] is not None]
    betas = [row["beta"] for row in data["means"] if row[field] is not None]
    values: dict[str, Any] = by_variant(variants) | {
        "$x": "at", "$y": field, "$short": f"{field}_short",
        "$what": "amortisation gap", "$text": "datum.y_text",
        "$xdomain": list(label_placement.domain(betas, log=True, pad=0.1)),
        "$ticks": sorted(label_placement.wanted(betas)),
        "$ydomain": list(label_placement.domain([*heights, 0.0], pad=0.1)),
        "$ytitle": ["amortisation gap", "nats per image, lower is better"],
        "$description": found,
    }  # fmt: skip
    spec: Spec = fill(_template("seeds" in data), values)
    return spec


def finding(one: Series, variants: Sequence[str], short: set[Key]) -> str:
    """Say how much more than its decoder needs each encoder spends, and what a ring is."""
    sentences = []
    for variant in variants:
        means = {key: mean for key, mean in one.estimates.items() if key[0] == variant}
        if means:
            ends = sorted({min(means), max(means)})
            told = [f"{interval(means[key])} at β = {plain(key[1])}" for key in ends]
            sentences.append(f"{variant} {' to '.join(told)}")
    found = f"Nats per image that the encoder spends over its decoder's curve: {'; '.join(sentences)}."
    if ringed := sorted(short & one.values.keys()):
        names = ", ".join(f"{variant} at β = {plain(beta)}" for variant, beta in ringed)
        found += f" Dashed ring: chains too short, so the gap is a lower bound ({names})."
    return found


def _not_drawn(drawn: Iterable[Series]) -> list[str]:
    """Say which variants have no gap, and why."""
    lacking: dict[str, str] = {}
    for one in drawn:
        shown = {variant for variant, _ in one.values}
        lacking |= {variant: why for (variant, _), why in sorted(one.reasons.items()) if variant not in shown}
    return [f"Not drawn: {variant} ({why})." for variant, why in lacking.items()]
