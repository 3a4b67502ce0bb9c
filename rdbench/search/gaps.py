"""Betas where a rate-distortion curve is least known: its widest gap, halved again and again.

The curve of a variant is drawn through the points of its betas in a plane, by default log rate against
squared error, each axis scaled by the range of all points there. The gap between two neighbouring betas is
the distance of their points, of whichever two seeds lie farthest apart: so a place where seeds disagree is a
place to look at, too. Bisecting every gap in log beta would follow the steps of beta; here a gap is parted
where a monotone interpolation says that the curve between is half run through, which is also where the next
choice of the same batch takes the new point to lie: several are chosen at a time without piling up.

What has no place in the plane:

- A rate at or below :data:`RATE_FLOOR` counts as that: collapsed points coincide, and a collapsed stretch,
  however long in beta, costs no trial.
- A beta without a finite point (its trials diverged, failed or were stopped) is a wall: nothing is computed
  from it. Where walls lie between two points, the widest free part between them is parted; beyond the last
  point before a wall nothing is sought.
- Betas closer than :data:`CLOSEST` are not parted: what is apart there is a jump, or the seeds.
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Point = tuple[float, float]
V = TypeVar("V", bound=Hashable)

RATE_FLOOR = 0.01
"""Nats: as low as log rates go. BD-rate has the same floor."""
CLOSEST = math.log(1.01)
_FRACTIONS = np.linspace(0.15, 0.85, 29)  # of an interval: a point too near either end teaches little


@dataclass(frozen=True)
class Gap:
    """Two neighbouring betas of a curve and the distance of their points, in ranges of the plane.

    ``at`` is the beta that parts it, ``None`` where it is not to be parted.
    """

    size: float
    low: float
    high: float
    at: float | None = None


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
    """Return the gaps of a curve, the widest first.

    Args:
        curve: beta -> the points of its seeds; none for a wall.
        scale: ranges of the axes.
    """
    where = {math.log(beta): np.array(points) / scale for beta, points in curve.items() if len(points)}
    walls = [math.log(beta) for beta, points in curve.items() if not len(points)]
    logs = sorted(where)
    bend = _Bend(np.array(logs), np.array([where[u].mean(0) for u in logs])) if len(logs) > 1 else None
    gaps = []
    for low, high in itertools.pairwise(logs):
        size = float(np.linalg.norm(where[low][:, None] - where[high][None], axis=2).max())
        stops = [low, *sorted(wall for wall in walls if low < wall < high), high]
        free = max(itertools.pairwise(stops), key=lambda part: part[1] - part[0])
        at = None
        if bend and free[1] - free[0] > CLOSEST:
            at = math.exp(bend.halfway(*free) if len(stops) == 2 else sum(free) / 2)
        gaps.append(Gap(size, math.exp(low), math.exp(high), at))
    return sorted(gaps, key=lambda gap: (-gap.size, gap.low))


class _Bend:
    """A monotone interpolation of a curve over log beta (PCHIP): where a point will fall.

    Args:
        logs: logarithms of betas, ascending, (betas,).
        points: scaled, (betas, 2).
    """

    def __init__(self, logs: Float64, points: Float64) -> None:
        from scipy.interpolate import PchipInterpolator  # here: a quarter of a second

        self._at = PchipInterpolator(logs, points)

    def halfway(self, low: float, high: float) -> float:
        """Return the log beta between two that makes the larger of the two new gaps smallest."""
        tried = low + _FRACTIONS * (high - low)
        ends = self._at([low, high])
        found = self._at(tried)
        larger = np.maximum(*(np.linalg.norm(found - end, axis=1) for end in ends))
        # Of equals, as on a flat stretch, the middle.
        order = np.lexsort((np.abs(_FRACTIONS - 0.5), larger.round(12)))
        return float(tried[order[0]])

    def predict(self, beta: float) -> Float64:
        """Return the scaled point that is expected at a beta."""
        point: Float64 = self._at(math.log(beta))
        return point


def choose(
    curves: Mapping[V, Mapping[float, Sequence[Point]]], count: int, gap: float
) -> list[tuple[V, float]]:
    """Return the next betas to train, the most wanted first.

    Args:
        curves: of each variant: beta -> the points of its seeds; none for a wall.
        count: how many, at most.
        gap: none where all gaps are this small.

    Returns:
        (variant, beta), beta rounded to six significant digits. Fewer than ``count``, or none, where
        nothing is left to part.
    """
    scale = scales(curves.values())
    drawn = {name: {beta: list(points) for beta, points in curve.items()} for name, curve in curves.items()}
    bends = {}
    for name, curve in drawn.items():
        known = {beta: np.mean(np.array(points) / scale, 0) for beta, points in curve.items() if len(points)}
        if len(known) > 1:
            betas = sorted(known)
            bends[name] = _Bend(np.log(betas), np.array([known[beta] for beta in betas]))
    chosen: list[tuple[V, float]] = []
    while len(chosen) < count:
        open_gaps = [
            (found.size, name, float(f"{found.at:.6g}"))
            for name, curve in drawn.items()
            for found in widest(curve, scale)
            if found.at is not None and found.size > gap
        ]
        if not open_gaps:
            break
        _, name, beta = max(open_gaps, key=lambda each: each[0])
        expected = bends[name].predict(beta) * scale
        drawn[name][beta] = [(float(expected[0]), float(expected[1]))]
        chosen.append((name, beta))
    return chosen


def largest(curves: Mapping[V, Mapping[float, Sequence[Point]]]) -> dict[V, Gap]:
    """Return the widest gap of each variant that has two points or more."""
    scale = scales(curves.values())
    found = {name: widest(curve, scale) for name, curve in curves.items()}
    return {name: gaps[0] for name, gaps in found.items() if gaps}
