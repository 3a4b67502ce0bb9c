"""The search ``target``: the beta of each variant at which a rate or a PSNR is met.

Both fall as beta rises, so between two betas on either side of the target there is one that meets it. The
next beta is where a monotone interpolation of all known points meets it, kept off the ends of the interval,
so that it shrinks whatever the curve does. Rates are interpolated by their square roots, which are nearly
straight over log beta: each dimension's rate falls linearly there, and one after the other reaches zero.
scipy's root finders do not serve: they call a function, where a batch of trainings has to be waited for, and
know of no betas without a result.
"""

import bisect
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rdbench.search.base import BetaSearch, SearchState, by_beta
from rdbench.search.ended import FinishedTrial, mean_values
from rdbench.spec.labels import variant_names
from rdbench.spec.search_options import TRIALS_A_TARGET, TargetSearch
from rdbench.spec.sweep import VariantSpec

EDGE = 0.05  # of an interval: how near to either end a new beta may lie
WALL = 0.05  # of log beta: nearer to a beta that gave no result none is tried
CLOSEST = 1e-4  # of log beta: a target between two betas this near is jumped over


class Step(NamedTuple):
    """What is to be done next: train at ``beta``, or, where that is None, nothing, and ``why``."""

    beta: float | None
    why: str = ""


def next_beta(heights: Mapping[float, float], wanted: float, walls: Collection[float] = ()) -> Step:
    """Return the next beta to try for a wanted height, of beta -> finite heights, which fall as beta rises.

    ``walls`` are betas that gave no height.
    """
    betas = sorted(heights)
    if len(betas) < 2:
        return Step(None, "fewer than two betas gave a result")
    crossings = [
        (low, high)
        for low, high in itertools.pairwise(betas)
        if (heights[low] - wanted) * (heights[high] - wanted) <= 0
    ]
    if not crossings:
        return _beyond(betas, walls, below=wanted > max(heights.values()))
    # The seeds' noise may cross it more than once: take the narrowest.
    low, high = min(crossings, key=lambda pair: (math.log(pair[1] / pair[0]), pair[0]))
    width = math.log(high / low)
    if width < CLOSEST:
        return Step(None, f"it jumps between beta {low:g} and {high:g}")
    from scipy.interpolate import PchipInterpolator  # here: a quarter of a second

    tried = math.log(low) + np.linspace(EDGE, 1 - EDGE, 181) * width
    for wall in walls:
        tried = tried[np.abs(tried - math.log(wall)) >= EDGE * width]
    if not len(tried):
        return Step(None, f"no trial between beta {low:g} and {high:g} gave a result")
    expected = PchipInterpolator(np.log(betas), [heights[beta] for beta in betas])(tried)
    return Step(float(f"{math.exp(tried[np.argmin(np.abs(expected - wanted))]):.6g}"))


def _beyond(betas: Sequence[float], walls: Collection[float], *, below: bool) -> Step:
    """Return the next beta to try where the target lies outside the betas that gave a result."""
    end = betas[0] if below else betas[-1]
    lost = [wall for wall in walls if (wall < end if below else wall > end)]
    if not lost:
        fix = f"begin below {end:g}" if below else f"end above {end:g}"
        return Step(None, f"out of reach; let the range of beta {fix}")
    # The end of the range gave no result: something between may.
    nearest = max(lost) if below else min(lost)
    if abs(math.log(nearest / end)) < WALL:
        return Step(None, f"no trial {'below' if below else 'above'} beta {end:g} gave a result")
    return Step(float(f"{math.sqrt(nearest * end):.6g}"))


class TargetSearcher(BetaSearch):
    """The search ``target``: first the sweep's betas, then root finding, a beta a variant at a time."""

    def __init__(self, begun: SearchState, settings: TargetSearch) -> None:
        super().__init__(begun, settings.trials, TRIALS_A_TARGET)
        self.measure, self.wanted, self.within = settings.measure

    def _values(
        self, known: Collection[FinishedTrial], variant: VariantSpec
    ) -> dict[float, dict[str, float]]:
        """Return the means over seeds of what each beta measured; nothing for one that lost a seed."""
        trials_at = by_beta(self.sweep, variant, known)
        seeds = len(self.sweep.seeds)
        means = {beta: mean_values(trials) for beta, trials in trials_at.items() if len(trials) == seeds}
        return {beta: values if self.measure in values else {} for beta, values in means.items()}

    def step(self, known: Collection[FinishedTrial], variant: VariantSpec) -> Step:
        """Return what is to be done next for a variant."""
        values = self._values(known, variant)
        heights = {beta: measured[self.measure] for beta, measured in values.items() if measured}
        if any(abs(height - self.wanted) <= self.within for height in heights.values()):
            return Step(None, "met")
        walls = [beta for beta, measured in values.items() if not measured]
        if self.measure == "psnr":
            return next_beta(heights, self.wanted, walls)
        roots = {beta: math.sqrt(max(0.0, height)) for beta, height in heights.items()}
        return next_beta(roots, math.sqrt(self.wanted), walls)

    def choose(self, known: Collection[FinishedTrial]) -> list[tuple[VariantSpec, float]]:
        """Return the next beta of each variant."""
        steps = {variant: self.step(known, variant).beta for variant in self.sweep.variants}
        return [(variant, beta) for variant, beta in steps.items() if beta is not None]

    def findings(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return the beta of each variant that comes nearest, and which variant is best there."""
        known, lines = self.known(ended), []
        unit, other = ("nats", "mse") if self.measure == "rate" else ("dB", "rate")
        names = variant_names(self.sweep.variants)
        interpolated: dict[str, _Interpolated] = {}
        for variant in self.sweep.variants:
            values = {beta: measured for beta, measured in self._values(known, variant).items() if measured}
            heights = {beta: measured[self.measure] for beta, measured in values.items()}
            beta = min(heights, key=lambda beta: abs(heights[beta] - self.wanted), default=0.0)
            if not heights:
                line = f"no beta gave a {self.measure}"
            elif abs(heights[beta] - self.wanted) <= self.within:
                value = values[beta].get(other, math.nan)
                line = f"{self.measure} {heights[beta]:.4g} {unit} at beta {beta:g}, {other} {value:.5g}"
                points = [(heights[beta], values[beta][other]) for beta in values if other in values[beta]]
                if at_target := _interpolate(points, self.wanted):
                    interpolated[names[variant]] = at_target
            else:
                why = self.step(known, variant).why or "the trials are spent"
                line = f"{self.measure} {self.wanted:g} {unit} not met: {self._nearest(heights, beta)}; {why}"
            lines.append(f"{names[variant]}: {line}")
        if len(interpolated) > 1:
            lines.append(_verdict(interpolated, f"{self.wanted:g} {unit}", other))
        return lines

    def _nearest(self, heights: Mapping[float, float], beta: float) -> str:
        """Return what was measured at the nearest beta, and beyond the target at the nearest there."""
        nearest = heights[beta]
        beyond = [b for b, height in heights.items() if (height - self.wanted) * (nearest - self.wanted) < 0]
        other = min(beyond, key=lambda beta: abs(heights[beta] - self.wanted), default=None)
        words = f", beyond it {heights[other]:.4g} at beta {other:g}" if other else ""
        return f"nearest {nearest:.4g} at beta {beta:g}{words}"

    def why_done(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return "done" where no further beta is to be trained."""
        return "" if self.affords_more() and self.choose(self.known(ended)) else "done"


class _Interpolated(NamedTuple):
    """The other quantity at the target, on the chord between the points on either side of it.

    A rate-distortion curve is convex: the chord is the most that it can be there, and the neighbouring
    chords, extended, give the ``least``. Noise is left out.
    """

    value: float
    least: float


def _interpolate(points: Collection[tuple[float, float]], wanted: float) -> _Interpolated | None:
    """Return the other quantity at ``wanted``, of points (measure, other); None outside their range."""
    order = sorted(set(points))
    index = bisect.bisect_left(order, (wanted, -math.inf))
    if index < len(order) and order[index][0] == wanted:
        return _Interpolated(order[index][1], order[index][1])
    if not 0 < index < len(order):
        return None
    low, high = order[index - 1], order[index]
    value = _on_chord(low, high, wanted)
    least = min(low[1], high[1])
    if index > 1:
        least = max(least, _on_chord(order[index - 2], low, wanted))
    if index + 1 < len(order):
        least = max(least, _on_chord(high, order[index + 1], wanted))
    return _Interpolated(value, min(value, least))


def _on_chord(one: tuple[float, float], other: tuple[float, float], at: float) -> float:
    """Return the height of the line through two points."""
    if one[0] == other[0]:
        return min(one[1], other[1])
    return one[1] + (other[1] - one[1]) * (at - one[0]) / (other[0] - one[0])


def _verdict(interpolated: Mapping[str, _Interpolated], at: str, other: str) -> str:
    """Return which variant has the least of ``other`` at the target, if that can be told."""
    order = sorted(interpolated, key=lambda name: interpolated[name].value)
    values = ", ".join(f"{name} {interpolated[name].value:.5g}" for name in order)
    best = interpolated[order[0]].value
    if any(interpolated[name].least <= best for name in order[1:]):
        return f"at {at} too near to call: {other} {values}, interpolated"
    return f"best at {at}: {order[0]}; {other} {values}, interpolated"
