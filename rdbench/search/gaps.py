"""Betas where a rate-distortion curve is least known: its widest gap, split again and again.

The curve of a variant runs through the points of its betas in a plane, by default log rate against squared
error, each axis scaled by the range of all points. The gap between two neighbouring betas is the distance of
their points, of whichever two seeds lie farthest apart: where seeds disagree is worth a look, too. A gap is
not halved in log beta, which would follow the steps of beta, but where a monotone interpolation says that the
curve is half run through. The interpolation also stands in for the new point while the same batch is chosen,
so that its betas do not pile up.

What has no place in the plane:

- A rate at or below :data:`RATE_FLOOR` counts as that: collapsed points coincide, and a collapsed stretch,
  however long in beta, costs no trial.
- A beta without a finite point (its trials diverged, failed or were stopped) is a wall: nothing is computed
  from it. Where walls lie between two points, the widest free part between them is split; beyond the last
  point before a wall nothing is sought.
- Betas closer than :data:`CLOSEST` are not split: what is apart there is a jump, or the seeds.
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Point = tuple[float, float]
V = TypeVar("V", bound=Hashable)

RATE_FLOOR = 0.01
"""Nats: as low as log rates go. BD-rate has the same floor."""
CLOSEST = math.log(1.01)
_FRACTIONS = np.linspace(0.15, 0.85, 29)  # of an interval: a point too near either end teaches little


@dataclass(frozen=True)
class Gap:
    """Two neighbouring betas, the distance of their points in ranges of the plane, and the beta between."""

    size: float
    low: float
    high: float
    at: float | None = None  # None where it is not to be split


def coordinate(name: str, values: Mapping[str, float]) -> float | None:
    """Return a trial's coordinate on an axis, such as ``mse`` or ``log_rate``; None where it has none."""
    value = values.get(name.removeprefix("log_"))
    if value is None or not name.startswith("log_"):
        return value
    value = max(value, RATE_FLOOR) if name == "log_rate" else value
    return math.log(value) if value > 0 else None


def scales(curves: Iterable[Mapping[float, Sequence[Point]]]) -> Point:
    """Return the range of all points on either axis; 1 where they are all alike."""
    points = np.array([p for curve in curves for points in curve.values() for p in points])
    if not len(points):
        return 1.0, 1.0
    x, y = np.ptp(points, axis=0).tolist()
    return x or 1.0, y or 1.0


def widest(curve: Mapping[float, Sequence[Point]], scale: Point) -> list[Gap]:
    """Return the gaps of a curve (beta -> points of its seeds, none for a wall), the widest first."""
    points_at = {math.log(beta): np.array(points) / scale for beta, points in curve.items() if len(points)}
    walls = [math.log(beta) for beta, points in curve.items() if not len(points)]
    interpolation = _interpolation(curve, scale)
    gaps = []
    for low, high in itertools.pairwise(sorted(points_at)):
        size = float(np.linalg.norm(points_at[low][:, None] - points_at[high][None], axis=2).max())
        stops = [low, *sorted(wall for wall in walls if low < wall < high), high]
        free = max(itertools.pairwise(stops), key=lambda part: part[1] - part[0])
        at = None
        if free[1] - free[0] > CLOSEST:
            at = math.exp(_halfway(interpolation, *free) if len(stops) == 2 else sum(free) / 2)
        gaps.append(Gap(size, math.exp(low), math.exp(high), at))
    return sorted(gaps, key=lambda gap: (-gap.size, gap.low))


def _interpolation(curve: Mapping[float, Sequence[Point]], scale: Point) -> Any:
    """Return a monotone interpolation (PCHIP) of the scaled points over log beta; None of fewer than two."""
    from scipy.interpolate import PchipInterpolator  # here: a quarter of a second

    means = {
        math.log(beta): np.mean(np.array(points) / scale, 0)
        for beta, points in sorted(curve.items())
        if len(points)
    }
    return PchipInterpolator([*means], [*means.values()]) if len(means) > 1 else None


def _halfway(interpolation: Any, low: float, high: float) -> float:
    """Return the log beta between two that makes the larger of the two new gaps smallest."""
    tried = low + _FRACTIONS * (high - low)
    points = interpolation(tried)
    larger = np.maximum(*(np.linalg.norm(points - end, axis=1) for end in interpolation([low, high])))
    # Of equals, as on a flat stretch, the middle.
    order = np.lexsort((np.abs(_FRACTIONS - 0.5), larger.round(12)))
    return float(tried[order[0]])


def choose(
    curves: Mapping[V, Mapping[float, Sequence[Point]]], count: int, gap: float
) -> list[tuple[V, float]]:
    """Return the next variants and betas to train, the most wanted first, six significant digits.

    Args:
        curves: of each variant: beta -> the points of its seeds; none for a wall.
        count: how many; fewer where nothing else is left to split.
        gap: none where all gaps are this small.
    """
    scale = scales(curves.values())
    drawn = {name: dict(curve) for name, curve in curves.items()}
    interpolations = {name: _interpolation(curve, scale) for name, curve in curves.items()}
    chosen: list[tuple[V, float]] = []
    while len(chosen) < count:
        wide = [
            (candidate.size, name, float(f"{candidate.at:.6g}"))
            for name, curve in drawn.items()
            for candidate in widest(curve, scale)
            if candidate.at is not None and candidate.size > gap
        ]
        if not wide:
            break
        _, name, beta = max(wide, key=lambda gap_at: gap_at[0])
        x, y = (interpolations[name](math.log(beta)) * scale).tolist()
        drawn[name][beta] = [(x, y)]
        chosen.append((name, beta))
    return chosen


def largest(curves: Mapping[V, Mapping[float, Sequence[Point]]]) -> dict[V, Gap]:
    """Return the widest gap of each variant that has two points or more."""
    scale = scales(curves.values())
    gaps = {name: widest(curve, scale) for name, curve in curves.items()}
    return {name: of_curve[0] for name, of_curve in gaps.items() if of_curve}
