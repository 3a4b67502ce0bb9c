"""Every series of a section over beta, with the best beta of each variant marked."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import (
    Chart,
    Control,
    Rows,
    Switch,
    Values,
    by_variant,
    fill,
    legend_columns,
    template,
    wide,
)
from rdbench.report.numbers import interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.series import UNTESTED, Key, Series, series

HEIGHT = 340
WRAP = 44
"""Characters of a line of an axis title: what the height has room for."""

SWITCHES = (Switch("spread", "seeds and intervals", True), Switch("mark_best", "best β", True))


def _template(seeds: bool, columns: int) -> dict[str, Any]:
    """Return the template of all views."""
    import altair as alt

    from rdbench.report.charts import layers

    x = alt.X("$x:Q", title="β", scale=alt.Scale(type="log", domain=["$xdomain"], nice=False),
              axis=alt.Axis(values=["$ticks"], format="~g"))  # fmt: skip
    y = alt.Y("$y:Q", title="$ytitle", scale=alt.Scale(domain=["$ydomain"], nice=False, zero=False))
    colour, shape = layers.encode_variant(columns)
    drawn = [layers.curves(x, y, colour)]
    if seeds:
        drawn += [layers.intervals(x, y, colour), layers.seeds(x, y, colour, shape)]
    best = layers.shown("means", "mark_best", "datum['$y_best']")
    ring = best.mark_point(size=260, strokeWidth=2, shape="circle", **layers.QUIET)
    name = best.mark_text(dy=-16, fontSize=11, **layers.QUIET)
    points = layers.points(x, y, colour, shape).add_params(layers.zoom())
    drawn += [
        ring.encode(x, y, colour),
        points.encode(tooltip=layers.tooltip()),
        name.encode(x, y, text=alt.value("best")),
    ]
    return layers.finish(drawn, SWITCHES, HEIGHT)


def beta_chart(section: Section, variants: Sequence[str]) -> Chart | None:
    """Draw each series over beta, a line a variant, and a ring around the best mean of each variant.

    Args:
        section: any.
        variants: all variants of the section, in order, so that each keeps its look in every chart.

    Returns:
        None where there is no finite value. A series without one is left out and named in the notes.
    """
    every = series(section)
    drawn = [each for each in every if each.values]
    if not drawn:
        return None
    # Names of series come from results files, and a field's name must be safe within an expression.
    fields = {f"v{place}": each for place, each in enumerate(drawn)}
    quantities: dict[str, Values] = {field: each.values for field, each in fields.items()}
    means, seeds = wide(variants, quantities)
    data: dict[str, Rows] = {"means": means} | ({"seeds": seeds} if seeds else {})
    for field, each in fields.items():
        best = {each.best(variant) for variant in variants}
        for row in means:
            row[f"{field}_best"] = (row["variant"], row["beta"]) in best

    own = template(_template, bool(seeds), legend_columns(variants))
    betas = [row["beta"] for row in means]
    ends, ticks = list(label_placement.domain(betas, log=True)), sorted(label_placement.wanted(betas))
    views = {}
    for field, each in fields.items():
        heights = [row[field] for rows in data.values() for row in rows if row[field] is not None]
        views[each.name] = fill(own, by_variant(variants) | {
            "$x": "beta", "$xdomain": ends, "$ticks": ticks, "$y": field,
            "$ydomain": list(label_placement.domain(heights, pad=0.1)), "$ytitle": _axis(each),
            "$what": each.title, "$text": "datum.y_text", "$description": finding(each, variants),
        })  # fmt: skip
    lost = [each.title for each in every if not each.values]
    notes = (f"No finite value, so not drawn: {'; '.join(lost)}.",) if lost else ()
    titles = Counter(each.title for each in drawn)
    # One metric measured in two ways is two series of one title, which the name tells apart.
    options = [(each.name, each.title + f" ({each.name})" * (titles[each.title] > 1)) for each in drawn]
    control = Control("value", tuple(options))
    return Chart("over_beta", "ELBO and the other measures over β", notes, (control,), SWITCHES, views, data)


def _axis(each: Series) -> list[str]:
    """Return the lines of an axis title: the series' title, and its unit and which way is better."""
    extras = ", ".join(
        extra for extra in (each.unit, f"{each.better} is better" if each.better else "") if extra
    )
    return [*textwrap.wrap(each.title, WRAP), *textwrap.wrap(extras, WRAP)]


def finding(each: Series, variants: Sequence[str]) -> str:
    """Say what a series shows: the best beta of each variant, and whether its runner-up can be told from it.

    The t-test at 5% is of those two means alone: no allowance is made for having picked the best.
    """
    sentences = []
    for variant in variants:
        found = {key: value for key, value in each.estimates.items() if key[0] == variant}
        best = each.best(variant)
        if best is None:
            if found:
                ends = sorted({min(found), max(found)})
                told = [f"{number(found[key].mean)} at β = {plain(key[1])}" for key in ends]
                sentences.append(f"{variant} {' to '.join(told)}")
            continue
        others = {key: value for key, value in found.items() if key != best}
        edge = len(found) > 1 and best in (min(found), max(found))
        sentences.append(
            f"{variant} is best at β = {plain(best[1])}{', an end of those tried' if edge else ''},"
            f" with {interval(found[best])}{_runner_up(each, best, others)}"
        )
    return f"{each.title}: {'; '.join(sentences)}."


def _runner_up(each: Series, best: Key, others: dict[Key, Any]) -> str:
    """Say whether the best of the other betas can be told from the best."""
    if not others:
        return " (the only β)"
    sign = 1 if each.better == "higher" else -1
    second = max(others, key=lambda key: (sign * others[key].mean, -key[1]))
    told = {True: "distinguishable from", False: "not distinguishable from", None: "ahead of"}
    apart = each.tells_apart(best, second)
    untested = f" (not tested, {UNTESTED})" if apart is None else ""
    return f", {told[apart]} β = {plain(second[1])} with {interval(others[second])}{untested}"
