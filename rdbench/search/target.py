"""The search ``target``: the beta of each variant at which a rate or a PSNR is met.

Both fall as beta rises, so between two betas on either side of the target there is one that meets it. The
next beta is where a monotone interpolation of all known points meets it, kept off the ends of the interval,
so that it shrinks whatever the curve does. Rates are interpolated by their square roots, which are nearly
straight over log beta: each dimension's rate falls linearly there, and one after the other reaches zero.
"""

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from rdbench.plan import Trial
from rdbench.search import Begun, Rounds, at_beta, by_beta, cost
from rdbench.search.ended import Ended, mean_values
from rdbench.spec import VariantSpec
from rdbench.spec_search import TRIALS_A_TARGET, TargetSearch

EDGE = 0.05
"""Of an interval: how near to either end a new beta may lie."""
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
        if wanted > max(heights.values()):
            return Step(None, f"out of reach; let the range of beta begin below {betas[0]:g}")
        return Step(None, f"out of reach; let the range of beta end above {betas[-1]:g}")
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


class TargetRounds(Rounds):
    """The search ``target``: first the sweep's betas, then root finding, a beta a variant at a time."""

    def __init__(self, begun: Begun, settings: TargetSearch) -> None:
        self.begun = begun
        self.settings = settings
        self.budget = settings.trials or TRIALS_A_TARGET * len(begun.sweep.variants) * len(begun.sweep.seeds)

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
        there: dict[str, _Crossing] = {}
        for variant in self.begun.sweep.variants:
            values = {beta: found for beta, found in self._values(known, variant).items() if found}
            if not values:
                lines.append(f"{variant.name}: no beta gave a {measure}")
                continue
            beta = min(values, key=lambda each: abs(values[each][measure] - wanted))
            found = values[beta]
            if abs(found[measure] - wanted) <= within:
                lines.append(
                    f"{variant.name}: {measure} {found[measure]:.4g} {unit} at beta {beta:g},"
                    f" {other} {found.get(other, math.nan):.5g}"
                )
                if crossing := _crossing(
                    [(e[measure], e[other]) for e in values.values() if other in e], wanted
                ):
                    there[variant.name] = crossing
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
                    f"{variant.name}: {measure} {wanted:g} {unit} not met: nearest {found[measure]:.4g} at"
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
class _Crossing:
    """What goes with the wanted measure, read between the points on either side of it.

    ``between`` is how far it is from the nearer of the two: what the reading may be off by.
    """

    value: float
    between: float


def _crossing(points: Collection[tuple[float, float]], wanted: float) -> _Crossing | None:
    """Return what goes with ``wanted``, of points (measure, other); None where it is not between any."""
    below = max((point for point in points if point[0] <= wanted), default=None)
    above = min((point for point in points if point[0] >= wanted), default=None)
    if below is None or above is None:
        return None
    share = (wanted - below[0]) / (above[0] - below[0]) if above[0] > below[0] else 0.0
    value = below[1] + share * (above[1] - below[1])
    return _Crossing(value, min(abs(value - below[1]), abs(value - above[1])))


def _verdict(there: Mapping[str, _Crossing], at: str, other: str) -> str:
    """Say which variant has the least of ``other`` at the target, if that can be told."""
    order = sorted(there, key=lambda name: there[name].value)
    told = ", ".join(f"{name} {there[name].value:.5g}" for name in order)
    first, second = there[order[0]], there[order[1]]
    if second.value - first.value <= max(first.between, second.between):
        return f"at {at} too near to call: {other} {told}, interpolated"
    return f"best at {at}: {order[0]}; {other} {told}, interpolated"
