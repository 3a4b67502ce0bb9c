"""The search ``target``: the beta of each variant at which a rate or a PSNR is met.

Both fall as beta rises, so between two betas on either side of the target there is one that meets it. The
next beta is where a monotone interpolation of all known points meets it, kept off the ends of the interval,
so that it shrinks whatever the curve does. Rates are interpolated by their square roots, which are nearly
straight over log beta: each dimension's rate falls linearly there, and one after the other reaches zero.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rdbench.search.base import Begun, Rounds, at_beta, budget, by_beta, cost
from rdbench.search.ended import Ended, mean_values
from rdbench.spec.naming import labels
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import TRIALS_A_TARGET, TargetSearch
from rdbench.spec.sweep import VariantSpec

EDGE = 0.05
"""Of an interval: how near to either end a new beta may lie."""
WALL = 0.05
"""Of log beta: nearer to a beta that gave no result none is tried."""
CLOSEST = 1e-4
"""Of log beta: a target between two betas this near is jumped over."""


@dataclass(frozen=True)
class Step:
    """What is to be done next: train at ``beta``, or, where that is None, nothing, and ``why``."""

    beta: float | None
    why: str = ""


def next_beta(heights: Mapping[float, float], wanted: float, walls: Collection[float] = ()) -> Step:
    """Return the next beta to try.

    Args:
        heights: beta -> what falls as beta rises; finite.
        wanted: the height sought.
        walls: betas that gave no height.
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

    logs = np.log(betas)
    tried = math.log(low) + np.linspace(EDGE, 1 - EDGE, 181) * width
    for wall in walls:
        tried = tried[np.abs(tried - math.log(wall)) >= EDGE * width]
    if not len(tried):
        return Step(None, f"no trial between beta {low:g} and {high:g} gave a result")
    found = PchipInterpolator(logs, [heights[beta] for beta in betas])(tried)
    return Step(float(f"{math.exp(tried[np.argmin(np.abs(found - wanted))]):.6g}"))


def _beyond(betas: Sequence[float], walls: Collection[float], *, below: bool) -> Step:
    """Return the next beta to try where the target is below the first beta that gave a result, or above the
    last."""
    end = betas[0] if below else betas[-1]
    lost = [wall for wall in walls if (wall < end if below else wall > end)]
    if not lost:
        mend = f"begin below {end:g}" if below else f"end above {end:g}"
        return Step(None, f"out of reach; let the range of beta {mend}")
    # The end of the range gave no result: something between may.
    nearest = max(lost) if below else min(lost)
    if abs(math.log(nearest / end)) < WALL:
        return Step(None, f"no trial {'below' if below else 'above'} beta {end:g} gave a result")
    return Step(float(f"{math.sqrt(nearest * end):.6g}"))


class TargetRounds(Rounds):
    """The search ``target``: first the sweep's betas, then root finding, a beta a variant at a time."""

    def __init__(self, begun: Begun, settings: TargetSearch) -> None:
        self.begun = begun
        self.settings = settings
        self.budget = budget(settings.trials, begun.sweep, TRIALS_A_TARGET)

    def _values(self, known: Collection[Ended], variant: VariantSpec) -> dict[float, dict[str, float]]:
        """Return the means over seeds of what each beta measured; nothing for one that lost a seed."""
        own = by_beta(self.begun.sweep, variant, known)
        names = {name for trials in own.values() for each in trials for name in each.values}
        seeds = len(self.begun.sweep.seeds)
        means = {beta: mean_values(trials, names) for beta, trials in own.items() if len(trials) == seeds}
        return {beta: found if self.settings.measure[0] in found else {} for beta, found in means.items()}

    def step(self, known: Collection[Ended], variant: VariantSpec) -> Step:
        """Return what is to be done next for a variant."""
        measure, wanted, within = self.settings.measure
        values = self._values(known, variant)
        heights = {beta: found[measure] for beta, found in values.items() if found}
        if any(abs(height - wanted) <= within for height in heights.values()):
            return Step(None, "met")
        walls = [beta for beta, found in values.items() if not found]
        if measure == "psnr":
            return next_beta(heights, wanted, walls)
        roots = {beta: math.sqrt(max(0.0, height)) for beta, height in heights.items()}
        return next_beta(roots, math.sqrt(wanted), walls)

    def choose(self, known: Collection[Ended]) -> list[list[Trial]]:
        """Return the next beta of each variant."""
        steps = {variant: self.step(known, variant).beta for variant in self.begun.sweep.variants}
        return [
            at_beta(self.begun.sweep, variant, beta) for variant, beta in steps.items() if beta is not None
        ]

    def account(self, ended: Mapping[str, Ended]) -> list[str]:
        """Return the beta of each variant that comes nearest, which is best there, and what it cost."""
        measure, wanted, within = self.settings.measure
        unit = "nats" if measure == "rate" else "dB"
        other = "mse" if measure == "rate" else "rate"
        known, lines = self.known(ended), []
        names = labels(self.begun.sweep.variants)
        there: dict[str, _Between] = {}
        for variant in self.begun.sweep.variants:
            values = {beta: found for beta, found in self._values(known, variant).items() if found}
            if not values:
                lines.append(f"{names[variant]}: no beta gave a {measure}")
                continue
            beta = min(values, key=lambda each: abs(values[each][measure] - wanted))
            found = values[beta]
            if abs(found[measure] - wanted) <= within:
                lines.append(
                    f"{names[variant]}: {measure} {found[measure]:.4g} {unit} at beta {beta:g},"
                    f" {other} {found.get(other, math.nan):.5g}"
                )
                points = [(each[measure], each[other]) for each in values.values() if other in each]
                if between := _between(points, wanted):
                    there[names[variant]] = between
            else:
                why = self.step(known, variant).why or "the trials are spent"
                far = [
                    each
                    for each in values
                    if (values[each][measure] - wanted) * (found[measure] - wanted) < 0
                ]
                over = min(far, key=lambda each: abs(values[each][measure] - wanted), default=None)
                beyond = f", beyond it {values[over][measure]:.4g} at beta {over:g}" if over else ""
                lines.append(
                    f"{names[variant]}: {measure} {wanted:g} {unit} not met: nearest {found[measure]:.4g} at"
                    f" beta {beta:g}{beyond}; {why}"
                )
        if len(there) > 1:
            lines.append(_verdict(there, f"{wanted:g} {unit}", other))
        done = "not done yet" if self._is_open(ended) else "done"
        lines.append(f"{cost(self.spent(ended), self.budget)}; {done}")
        return [f"search target: {line}" for line in lines]

    def _is_open(self, ended: Mapping[str, Ended]) -> bool:
        if any(trial.id not in ended for trial in self.trials()) or not self.trials():
            return True
        left = self.budget - sum(trial.id not in self.begun.there for trial in self.trials())
        return left >= len(self.begun.sweep.seeds) and bool(self.choose(self.known(ended)))


@dataclass(frozen=True)
class _Between:
    """What goes with the wanted measure: read off the chord between the points on either side of it.

    A rate-distortion curve is convex, so the chord is as high as it can be, and the neighbouring chords, made
    longer, are as low: ``least``. Noise is not in it.
    """

    value: float
    least: float


def _between(points: Collection[tuple[float, float]], wanted: float) -> _Between | None:
    """Return what goes with ``wanted``, of points (measure, other); None where it is not between any."""
    order = sorted(set(points))
    place = next((place for place, point in enumerate(order) if point[0] >= wanted), None)
    if place is None:
        return None
    if order[place][0] == wanted:
        return _Between(order[place][1], order[place][1])
    if place == 0:
        return None
    low, high = order[place - 1], order[place]
    value = _on_chord(low, high, wanted)
    least = min(low[1], high[1])
    if place > 1:
        least = max(least, _on_chord(order[place - 2], low, wanted))
    if place + 1 < len(order):
        least = max(least, _on_chord(high, order[place + 1], wanted))
    return _Between(value, min(value, least))


def _on_chord(one: tuple[float, float], other: tuple[float, float], at: float) -> float:
    """Return the height of the line through two points."""
    if one[0] == other[0]:
        return min(one[1], other[1])
    return one[1] + (other[1] - one[1]) * (at - one[0]) / (other[0] - one[0])


def _verdict(there: Mapping[str, _Between], at: str, other: str) -> str:
    """Say which variant has the least of ``other`` at the target, if that can be told."""
    order = sorted(there, key=lambda name: there[name].value)
    told = ", ".join(f"{name} {there[name].value:.5g}" for name in order)
    first = there[order[0]]
    if any(each.least <= first.value for name, each in there.items() if name != order[0]):
        return f"at {at} too near to call: {other} {told}, interpolated"
    return f"best at {at}: {order[0]}; {other} {told}, interpolated"
