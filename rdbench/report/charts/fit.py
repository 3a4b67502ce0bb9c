"""What a plot over the rate draws as a curve, and which ranges its axes take."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rdbench.report.charts import label_placement
from rdbench.report.charts.chart import Rows, is_reference, rounded
from rdbench.report.statistics.curves import Floats
from rdbench.report.statistics.monotone import Monotone, falling

STEPS = 4  # of a curve from one of its points to the next, and as many in the logarithm

FAR = 3  # times the rates of all other curves
LOOSE = 0.3  # of the range of heights of the other curves, to either side

Span = tuple[float, float]


def of_curve(mean: dict[str, Any]) -> bool:
    """Tell whether a mean, with rate and ``state``, is of a model that neither collapsed nor is unstable."""
    return mean["rate"] is not None and mean["state"] is None


def mark_states(means: Rows, states: Mapping[tuple[str, float], str], variant: str = "variant") -> None:
    """Give each mean the ``state`` of its model, whose variant stands in the field ``variant``; or None."""
    for mean in means:
        mean["state"] = states.get((mean[variant], mean["beta"]))


def curve_rows(means: Rows, name: str, *, higher: bool = False, monotone: bool = True) -> Rows:
    """Return the curve of each variant over the rate, as rows of variant, rate and ``name``.

    A curve is the monotone fit through the means that :func:`of_curve` accepts, weighted by their seeds: a
    piecewise cubic in the logarithm of the rate. ``alone`` marks stretches between single seeds, and ``part``
    numbers the stretches of a variant.

    Args:
        means: rows of variant, rate, state, ``name`` and ``<name>_n``.
        name: the field of the height.
        higher: more of it is better, so that the curve rises.
        monotone: theory says that the curve is; else its points are joined as they are.
    """
    shown = [row for row in means if row[name] is not None and of_curve(row)]
    shown.sort(key=lambda row: (row["variant"], row["rate"]))
    rows: Rows = []
    for variant, members in itertools.groupby(shown, key=lambda row: row["variant"]):
        points = [*members]
        rate, height, n = (
            np.array([row[key] for row in points], float) for key in ("rate", name, f"{name}_n")
        )
        for part, alone, at, y in _parts(rate, -height if higher else height, n, monotone):
            rows += [
                {"variant": variant, "rate": rounded(r, 5), name: rounded(-h if higher else h, 6),
                 "part": part, "alone": alone} for r, h in zip(at, y, strict=True)
            ]  # fmt: skip
    return rows


def _parts(
    rate: Floats, cost: Floats, n: Floats, monotone: bool
) -> Iterator[tuple[int, bool, Floats, Floats]]:
    """Yield (number, of single seeds, rates, costs) of each stretch of one curve."""
    blocks = falling(rate, cost, n) if monotone else [[index] for index in range(len(rate))]
    x = np.array([math.exp(np.average(np.log(rate[block]), weights=n[block])) for block in blocks])
    y = np.array([np.average(cost[block], weights=n[block]) for block in blocks])
    single = [bool(n[block].max() == 1) for block in blocks]
    if len(x) < 2:
        if rate[-1] > rate[0]:
            yield 0, single[0], rate[[0, -1]], np.repeat(y, 2)
        return
    fitted = Monotone(np.log(x), y) if monotone else None
    last = len(blocks) - 2
    stretches = itertools.groupby(range(last + 1), key=lambda i: single[i] or single[i + 1])
    for number, (alone, members) in enumerate(stretches):
        segments = [*members]
        at = _between(x[segments[0] : segments[-1] + 2])
        heights = np.interp(at, x, y) if fitted is None else fitted.at(np.log(at))
        # A block at an end of the curve reaches to its outermost point.
        before, after = segments[0] == 0 and rate[0] < x[0], segments[-1] == last and rate[-1] > x[-1]
        at = np.concatenate([rate[:1] if before else [], at, rate[-1:] if after else []])
        heights = np.concatenate([y[:1] if before else [], heights, y[-1:] if after else []])
        yield number, alone, at, heights


def _between(ends: Floats) -> Floats:
    """Return places at and between some rates, close enough on a linear and on a logarithmic axis."""
    spaces = itertools.product(itertools.pairwise(ends), (np.geomspace, np.linspace))
    at = np.unique(np.concatenate([ends, *(space(*two, STEPS + 1) for two, space in spaces)]))
    return np.asarray(np.clip(at, ends[0], ends[-1]))


@dataclass(frozen=True)
class Axis:
    """The range of an axis: ``fit`` is of what matters, ``whole`` of all points; a reader switches."""

    fit: Span
    whole: Span

    def domain(self, factor: float = 1.0) -> list[Any]:
        """Return the ends for a scale, which follow the switch ``outside`` where the ranges differ."""
        return [
            factor * fit if fit == whole else {"expr": f"outside ? {factor * whole!r} : {factor * fit!r}"}
            for fit, whole in zip(self.fit, self.whole, strict=True)
        ]

    def holds(self, value: float) -> bool:
        """Tell whether a value is within ``fit``."""
        return self.fit[0] <= value <= self.fit[1]


def rate_axis(rows: Rows, curves: Rows, *, log: bool, end: float | None) -> Axis:
    """Return the range of the rate, in nats.

    It fits the curves, but for what of a single one is far beyond all others; it ends at ``end`` where that
    is given and within the rates.

    Args:
        rows: all points: rate.
        curves: from :func:`curve_rows`.
    """
    rates = [row["rate"] for row in rows]
    whole = label_placement.domain(rates, log=log)
    fitted = [row["rate"] for row in curves]
    if not fitted:
        return Axis(whole, whole)
    last = sorted(max(row["rate"] for row in one) for one in by_variant(curves).values())
    # One curve alone that goes far beyond all others leaves these no room.
    reach = last[-2] if len(last) > 1 and last[-1] > FAR * last[-2] else last[-1]
    low, high = label_placement.domain([rate for rate in fitted if rate <= reach] or fitted, log=log)
    if end is not None and not log:
        high = whole[1]
        if min(fitted) < end < max(rates):
            low, high = label_placement.domain([rate for rate in fitted if rate <= end])[0], end
    return Axis((low, high), (min(low, whole[0]), max(high, whole[1])))


def by_variant(curves: Rows) -> dict[str, Rows]:
    """Return the rows of each variant."""
    groups: dict[str, Rows] = {}
    for row in curves:
        groups.setdefault(row["variant"], []).append(row)
    return groups


def height_axis(
    rows: Rows, curves: Rows, name: str, rates: Axis, loose: frozenset[str] = frozenset()
) -> Axis:
    """Return the range of the heights ``name``, for what of the curves is within the rates.

    Args:
        rows, curves: as of :func:`rate_axis`; ``curves`` may hold more that has to be seen.
        loose: curves that widen the range of the others by the share ``LOOSE`` at most.
    """
    whole = label_placement.domain([row[name] for row in rows])
    near = [row for row in curves if rates.holds(row["rate"])]
    firm = [row[name] for row in near if row.get("variant") not in loose]
    if not firm:
        return Axis(whole, whole)
    slack = LOOSE * (max(firm) - min(firm))
    bounds = min(firm) - slack, max(firm) + slack
    low, high = label_placement.domain([*firm, *(min(max(row[name], bounds[0]), bounds[1]) for row in near)])
    return Axis((low, high), (min(low, whole[0]), max(high, whole[1])))


def outside(means: Rows, name: str, rates: Axis, heights: Axis) -> int:
    """Return how many means are outside the ranges that fit."""
    drawn = [row for row in means if row[name] is not None and not is_reference(row["variant"])]
    return sum(not (rates.holds(row["rate"]) and heights.holds(row[name])) for row in drawn)
