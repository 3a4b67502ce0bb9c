"""Every series of a section over beta or effective weight, with the best beta of each variant marked."""

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import (
    Chart,
    Control,
    Rows,
    Spec,
    Switch,
    Values,
    by_variant,
    fill,
    wide,
)
from rdbench.report.charts.templates import template
from rdbench.report.numbers import interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.series import UNTESTED, Key, Series, series
from rdbench.report.statistics.weights import NOT_EQUAL, weights

HEIGHT = 340
WRAP = 44
"""Characters of a line of an axis title: what the height has room for."""

SWITCHES = (Switch("spread", "seeds and intervals", True), Switch("mark_best", "best β", True))


@template((False, True))
def _template(seeds: bool) -> Spec:
    """Return the template of all views."""
    import altair as alt

    from rdbench.report.charts import layers

    x = alt.X("$x:Q", title="$xtitle", scale=alt.Scale(type="log", domain=["$xdomain"], nice=False),
              axis=alt.Axis(values=["$ticks"], format="~g"))  # fmt: skip
    chart = layers.ByVariant(x)
    drawn = [chart.curves()]
    if seeds:
        drawn += [chart.intervals(), chart.seeds()]
    best = chart.shown("means", "mark_best", "datum['$y_best']")
    ring = best.mark_point(size=260, strokeWidth=2, shape="circle", **layers.QUIET)
    name = best.mark_text(dy=-16, fontSize=11, **layers.QUIET)
    drawn += [ring.encode(x, layers.Y, layers.COLOUR), chart.points()]
    drawn.append(name.encode(x, layers.Y, text=alt.value("best")))
    return layers.finish(drawn, SWITCHES, HEIGHT)


def beta_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw each series over beta, a line a variant, and a ring around the best mean of each variant.

    Where the effective weight of any variant is not its beta, a reader can choose it for the horizontal axis.
    A series without a finite value is left out and named in the notes; returns None if there is no other.
    ``variants`` are all of the section, in order: each looks the same in every chart.
    """
    measured = series(section)
    drawn = [one for one in measured if one.values]
    if not drawn:
        return None
    # Names of series come from results files, and a field's name must be safe within an expression.
    fields = {f"v{index}": one for index, one in enumerate(drawn)}
    quantities: dict[str, Values] = {field: one.values for field, one in fields.items()}
    found, unknown = weights(section)
    shown = {key for one in drawn for key in one.values}
    weighed = {key: by_seed for key, by_seed in found.items() if key in shown}
    means, seeds = wide(variants, quantities | {"w": weighed})
    _sign(fields, [*means, *seeds])
    data: dict[str, Rows] = {"means": means} | ({"seeds": seeds} if seeds else {})
    axes = _axes(means)
    drawing = _template(bool(seeds))
    views = {}
    for field, one in fields.items():
        best = {one.best(variant) for variant in variants}
        for row in means:
            row[f"{field}_best"] = (row["variant"], row["beta"]) in best
        heights = [row[field] for rows in data.values() for row in rows if row[field] is not None]
        values = by_variant(variants) | {
            "$y": field, "$ydomain": list(label_placement.domain(heights, pad=0.1)), "$ytitle": _axis(one),
            "$what": one.title, "$description": finding(one, variants), "$text": "datum.y_text",
        }  # fmt: skip
        for name, across in axes.items():
            views["/".join([one.name, *([name] if len(axes) > 1 else [])])] = fill(drawing, values | across)
    notes = _notes([one.title for one in measured if not one.values], "w" in axes, shown, unknown)
    titles = Counter(one.title for one in drawn)
    # One metric measured in two ways is two series of one title, which the name distinguishes.
    options = [(one.name, one.title + f" ({one.name})" * (titles[one.title] > 1)) for one in drawn]
    controls = [Control("value", tuple(options))]
    if len(axes) > 1:
        controls.append(Control("horizontal axis", (("beta", "β"), ("w", "effective weight w = 2σ²β"))))
    title = "ELBO and the other measures over β"
    return Chart("over_beta", title, notes, tuple(controls), SWITCHES, views, data)


def _axes(means: Rows) -> dict[str, dict[str, Any]]:
    """Return what fills the template for beta, and for the weight if any differs from beta."""
    axes = {}
    for name, title in (("beta", "β"), ("w", "effective weight w = 2σ²β")):
        values = [row[name] for row in means if row[name] is not None]
        ends = label_placement.domain(values, log=True)
        ticks = label_placement.wanted(values)
        if name == "w":  # no value that was set: powers of ten
            tens = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
            ticks = {10.0**power for power in tens}
        axes[name] = {"$x": name, "$xtitle": title, "$xdomain": list(ends), "$ticks": sorted(ticks)}
    equal = all(row["w"] is None or math.isclose(row["w"], row["beta"], rel_tol=1e-6) for row in means)
    return {"beta": axes["beta"]} if equal else axes


def _notes(lost: Sequence[str], both: bool, shown: set[Key], unknown: Mapping[Key, str]) -> tuple[str, ...]:
    """Say what is not drawn, and why; and what equal beta is not."""
    notes = [f"No finite value, so not drawn: {'; '.join(lost)}."] if lost else []
    if both:
        notes.append(NOT_EQUAL)
        without = {variant: unknown[variant, beta] for variant, beta in sorted(shown & unknown.keys())}
        if without:
            names = " ".join(f"{variant}: {reason}." for variant, reason in without.items())
            notes.append(f"Without a weight, so not drawn over it. {names}")
    return tuple(notes)


def _sign(fields: dict[str, Series], rows: Rows) -> None:
    """Set the signs of values that are known as a bound only, which has no interval."""
    for field, one in fields.items():
        for row in rows:
            if sign := one.signs.get((row["variant"], row["beta"])):
                row["signs"][field] = f"{sign} "
                row |= {end: None for end in (f"{field}_low", f"{field}_high") if end in row}


def finding(one: Series, variants: Sequence[str]) -> str:
    """Say what a series shows: the best beta of each variant, and whether it differs from the runner-up.

    The t-test at 5% is of those two means alone: no allowance is made for having picked the best.
    """
    sentences = []
    for variant in variants:
        means = {point: mean for point, mean in one.estimates.items() if point[0] == variant}
        best = one.best(variant)
        if best is not None:
            edge = ", an end of those tried" if len(means) > 1 and best in (min(means), max(means)) else ""
            beta, mean = plain(best[1]), interval(means.pop(best))
            runner_up = _runner_up(one, best, means)
            sentences.append(f"{variant} is best at β = {beta}{edge}, with {mean}{runner_up}.")
        elif means:
            ends = sorted({min(means), max(means)})
            signs = {point: f"{one.signs[point]} " if point in one.signs else "" for point in ends}
            span = " to ".join(
                f"{signs[point]}{number(means[point].mean)} at β = {plain(point[1])}" for point in ends
            )
            sentences.append(f"{variant} {span}.")
    how = f" Best: {one.chosen_on}." if any(one.best(variant) for variant in variants) else ""
    why = f" Not tested: {UNTESTED}." if any("(not tested)" in said for said in sentences) else ""
    return f"{one.title[:1].upper()}{one.title[1:]}. {' '.join(sentences)}{how}{why}"


def _runner_up(one: Series, best: Key, others: dict[Key, Any]) -> str:
    """Say whether the best of the other betas is distinguishable from the best."""
    if not others:
        return " (the only β)"
    sign = 1 if one.better == "higher" else -1
    second = max(others, key=lambda point: (sign * others[point].mean, -point[1]))
    differs = one.tells_apart(best, second)
    # A best that was chosen on other images may be behind on these.
    ahead = sign * one.estimates[best].mean >= sign * others[second].mean
    untold = "ahead of" if ahead else "behind"
    relation = {True: "distinguishable from", False: "not distinguishable from", None: untold}[differs]
    if differs and not ahead:
        relation = "behind, and distinguishable from,"
    untested = " (not tested)" if differs is None else ""
    return f", {relation} β = {plain(second[1])} with {interval(others[second])}{untested}"


def _axis(one: Series) -> list[str]:
    """Return the lines of an axis title: the series' title, and its unit and which way is better."""
    extras = filter(None, (one.unit, f"{one.better} is better" if one.better else ""))
    return [*textwrap.wrap(one.title, WRAP), *textwrap.wrap(", ".join(extras), WRAP)]
