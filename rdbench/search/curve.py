"""The search ``curve``: betas where a curve is least known, its widest gap split again and again.

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
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rdbench.search.base import BetaSearch, SearchState, by_beta
from rdbench.search.ended import FinishedTrial
from rdbench.spec.labels import variant_names
from rdbench.spec.search_options import TRIALS_A_CURVE, CurveSearch
from rdbench.spec.sweep import VariantSpec

Point = tuple[float, float]
Curve = Mapping[float, Sequence[Point]]
"""Beta -> the points of its seeds; none for a wall."""
Curves = Mapping[VariantSpec, Curve]

RATE_FLOOR = 0.01
"""Nats: as low as log rates go. BD-rate has the same floor."""
CLOSEST = math.log(1.01)
_FRACTIONS = np.linspace(0.15, 0.85, 29)  # of an interval: a point too near either end teaches little


class Gap(NamedTuple):
    """The distance of two neighbouring betas' points, in ranges of the plane, the lower beta, one between."""

    size: float
    low: float
    at: float | None = None  # None where it is not to be split


def coordinate(name: str, values: Mapping[str, float]) -> float | None:
    """Return a trial's coordinate on an axis, such as ``mse`` or ``log_rate``; None where it has none."""
    value = values.get(name.removeprefix("log_"))
    if value is None or not name.startswith("log_"):
        return value
    value = max(value, RATE_FLOOR) if name == "log_rate" else value
    return math.log(value) if value > 0 else None


def scales(curves: Iterable[Curve]) -> Point:
    """Return the range of all points on either axis; 1 where they are all alike."""
    points = np.array([p for curve in curves for points in curve.values() for p in points])
    if not len(points):
        return 1.0, 1.0
    x, y = np.ptp(points, axis=0).tolist()
    return x or 1.0, y or 1.0


def widest(curve: Curve, scale: Point) -> list[Gap]:
    """Return the gaps of a curve, the widest first."""
    points_at = _scaled(curve, scale)
    walls = [math.log(beta) for beta, points in curve.items() if not len(points)]
    interpolation = _interpolation(points_at)
    gaps = []
    for low, high in itertools.pairwise(points_at):
        size = float(np.linalg.norm(points_at[low][:, None] - points_at[high][None], axis=2).max())
        stops = [low, *sorted(wall for wall in walls if low < wall < high), high]
        free = max(itertools.pairwise(stops), key=lambda part: part[1] - part[0])
        at = None
        if free[1] - free[0] > CLOSEST:
            at = math.exp(_halfway(interpolation, *free) if len(stops) == 2 else sum(free) / 2)
        gaps.append(Gap(size, math.exp(low), at))
    return sorted(gaps, key=lambda gap: (-gap.size, gap.low))


def _scaled(curve: Curve, scale: Point) -> dict[float, np.ndarray]:
    """Return the scaled points, (seeds, 2), at each log beta that has any, ascending."""
    return {math.log(beta): np.array(curve[beta]) / scale for beta in sorted(curve) if len(curve[beta])}


def _interpolation(points_at: Mapping[float, np.ndarray]) -> Any:
    """Return a monotone interpolation (PCHIP) of scaled points over log beta; None of fewer than two."""
    from scipy.interpolate import PchipInterpolator  # here: a quarter of a second

    means = [np.mean(points, 0) for points in points_at.values()]
    return PchipInterpolator([*points_at], means) if len(means) > 1 else None


def _halfway(interpolation: Any, low: float, high: float) -> float:
    """Return the log beta between two that makes the larger of the two new gaps smallest."""
    tried = low + _FRACTIONS * (high - low)
    points = interpolation(tried)
    larger = np.maximum(*(np.linalg.norm(points - end, axis=1) for end in interpolation([low, high])))
    # Of equals, as on a flat stretch, the middle.
    order = np.lexsort((np.abs(_FRACTIONS - 0.5), larger.round(12)))
    return float(tried[order[0]])


def next_betas(curves: Curves, count: int, gap: float) -> list[tuple[VariantSpec, float]]:
    """Return the next variants and betas to train, the most wanted first, six significant digits.

    ``count`` of them, fewer where nothing else is left to split; none where all gaps are at most ``gap``.
    """
    scale = scales(curves.values())
    drawn = {name: dict(curve) for name, curve in curves.items()}
    interpolations = {name: _interpolation(_scaled(curve, scale)) for name, curve in curves.items()}
    chosen: list[tuple[VariantSpec, float]] = []
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


def largest(curves: Curves) -> dict[VariantSpec, Gap]:
    """Return the widest gap of each variant that has two points or more."""
    scale = scales(curves.values())
    gaps = {name: widest(curve, scale) for name, curve in curves.items()}
    return {name: of_curve[0] for name, of_curve in gaps.items() if of_curve}


class CurveSearcher(BetaSearch):
    """The search ``curve``: first the sweep's betas, then wherever the curves have their widest gaps."""

    def __init__(self, begun: SearchState, settings: CurveSearch) -> None:
        super().__init__(begun, settings.trials, TRIALS_A_CURVE)
        self.settings = settings

    def curves(self, known: Collection[FinishedTrial]) -> Curves:
        """Return the points of every variant at every known beta, of the seeds that have one."""
        return {
            variant: {
                beta: [point for trial in trials if (point := self._point(trial))]
                for beta, trials in by_beta(self.sweep, variant, known).items()
            }
            for variant in self.sweep.variants
        }

    def _point(self, trial: FinishedTrial) -> Point | None:
        x, y = (coordinate(name, trial.values) for name in self.settings.plane)
        return None if x is None or y is None else (x, y)

    def choose(self, known: Collection[FinishedTrial]) -> list[tuple[VariantSpec, float]]:
        """Return the betas that split the widest gaps."""
        return next_betas(self.curves(known), self.settings.at_a_time, self.settings.gap)

    def findings(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return the widest gap of each variant before and after."""
        known = self.known(ended)
        now = self.curves(known)
        # Before: of what was there and the start grid, on the axes' ranges of the end.
        start = self.begun.there | {trial.id for batch in self.begun.batches[:1] for trial in batch}
        first = self.curves([result for result in known if result.trial.id in start])
        scale = scales(now.values())
        names, lines = variant_names(self.sweep.variants), []
        for variant, curve in now.items():
            before, after = widest(first[variant], scale), widest(curve, scale)
            if not before:
                lines.append(f"{names[variant]}: fewer than two betas gave a point; no gap to split")
                continue
            count = sum(bool(points) for points in curve.values())
            lines.append(
                f"{names[variant]}: widest gap {before[0].size:.3f} -> {after[0].size:.3f} of the plane's"
                f" range, {count} betas"
            )
            if walls := [f"{beta:g}" for beta, points in curve.items() if not points]:
                lines.append(f"{names[variant]}: no point at beta {', '.join(walls)}")
        return lines

    def why_done(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return "done" and why, where no further beta is to be trained."""
        curves = self.curves(self.known(ended))
        gaps = largest(curves).values()
        if gaps and all(gap.size <= self.settings.gap for gap in gaps):
            return f"done: every gap is at most {self.settings.gap:g}"
        if not next_betas(curves, 1, self.settings.gap):
            return "done: the gaps left lie between betas too close to split, or at trials without a point"
        return "" if self.affords_more() else "done: the trials are spent"
