"""How far one curve lies below another at equal rate: at each rate, and with a band over all common rates.

Each seed has a curve of its own: its points, joined by straight lines in the order of their rates. That one
curve is below another at *every* rate is shown where the t-test at each rate shows it there: the largest of
the p-values is that of the claim, without a correction (the intersection-union test; Berger, Technometrics
24, 1982). That it is not below at *some* rate needs one: a band of pointwise 95% intervals is left at some
rate far more often than in 5 of 100 sweeps. The simultaneous band is as many
standard errors wide as the largest of all rates' t-values reaches in 95 of 100 (max-t). How large that is
comes from a parametric bootstrap over seeds: seeds are drawn anew at each beta, normally distributed about
the mean with the standard deviation that the seeds have there, and everything is computed as from the data,
standard errors too. Resampling the seeds themselves fails for so few (of three, every ninth resample is one
seed thrice; of five, the band of resampled residuals held the truth in 60 to 88 of 100 simulated sweeps
instead of 95). Draws are independent between betas, which is the widest case: positively correlated ones have
a smaller maximum (Sidak, JASA 62, 1967). Of a single rate it is the t-interval. tools/simulated_verdicts.py
measures what it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from rdbench.report.statistics.curves import t_quantile

Floats = npt.NDArray[np.float64]

Curves = Mapping[int, tuple[Floats, Floats]]
"""Seed -> (rates, heights) of its points, of the same betas in each seed, in any order."""

DRAWS = 10_000
"""Of the parametric bootstrap: no p-value is smaller than one in so many, and corrected for n verdicts none
than n in so many. So a page of up to 500 verdicts can show one."""

ROUNDING = 1e-12
"""Of the largest height: a smaller standard error comes from adding up."""


@dataclass(frozen=True)
class Band:
    """The height of one curve less that of another at equal rate, over the rates that both reach.

    Attributes:
        rates: ascending, nats: those of all points within the range, both ends included.
        mean: over seeds, (rates,); a straight line between neighbouring rates. Positive: the first is higher.
        error: its standard error, (rates,); None for a single seed, or where nothing varies.
        freedom: the degrees of freedom of ``error``, (rates,): those of the paired t-test or of Welch's.
        largest: the sorted maxima of |t| over the rates in the bootstrap, (DRAWS,); None without ``error``.
        alone: ranges of rates, nats, that the second curve reaches and the first does not.
        seeds: how many, of the side that has fewer.
        reason: why there is no ``error``; else "".
    """

    rates: Floats
    mean: Floats
    error: Floats | None
    freedom: Floats | None
    largest: Floats | None
    alone: tuple[tuple[float, float], ...]
    seeds: int
    reason: str = ""

    @property
    def pointwise_half_width(self) -> Floats | None:
        """Of the 95% interval at each rate by itself, (rates,)."""
        if self.error is None or self.freedom is None:
            return None
        quantiles: Floats = np.array([t_quantile(freedom) for freedom in self.freedom.tolist()])
        return quantiles * self.error

    @property
    def half_width(self) -> Floats | None:
        """Of the simultaneous 95% band, (rates,)."""
        if self.error is None or self.largest is None:
            return None
        return float(np.quantile(self.largest, 0.95)) * self.error

    def p(self, positive: bool) -> float | None:
        """Return the p-value of one direction; None without a test.

        ``positive``: that the difference is positive at every rate: the largest of the two-sided p-values of
        the single rates. Else: that it is negative at some rate, which the band at level 1 - p just shows.
        """
        if self.error is None or self.freedom is None or self.largest is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.mean == 0, 0.0, self.mean / self.error)
        if positive:
            return float(2 * stdtr(self.freedom, -t).max()) if t.min() > 0 else 1.0
        beyond = len(self.largest) - int(np.searchsorted(self.largest, -t.min(), "left"))
        return (beyond + 1) / (len(self.largest) + 1) if t.min() < 0 else 1.0


def difference_band(first: Curves, second: Curves, least_rate: float) -> Band | None:
    """Compare two curves at every rate that all seeds of both reach.

    Seeds that both have are paired, if there are two or more; else all seeds of both are used as they are.

    Args:
        first, second: the curves of each seed; a seed has two points or more.
        least_rate: nats; nothing is compared below it.

    Returns:
        first - second; None where no range of rates is common.
    """
    both = sorted(first.keys() & second.keys())
    paired = len(both) > 1 or first.keys() == second.keys()
    sides = [[own[seed] for seed in (both if paired else sorted(own))] for own in (first, second)]
    starts, ends = zip(*((max(r.min() for r, _ in side), min(r.max() for r, _ in side)) for side in sides),
                       strict=True)  # fmt: skip
    low, high = max(least_rate, *starts), min(ends)
    if not low < high:
        return None
    rates = np.unique(np.concatenate([[low, high], *(r for side in sides for r, _ in side)]))
    rates = rates[(rates >= low) & (rates <= high)]
    heights = [np.stack([_joined(curve, rates) for curve in side]) for side in sides]
    mean = heights[0].mean(0) - heights[1].mean(0)
    reach = ((max(least_rate, starts[1]), low), (high, ends[1]))
    alone = tuple((float(start), float(end)) for start, end in reach if start < end)
    seeds = min(map(len, sides))
    if seeds < 2:
        return Band(rates, mean, None, None, None, alone, seeds, "a single seed has no interval")
    error, freedom = _error(heights, paired), _freedom(heights, paired)
    rounding = ROUNDING * max(float(np.abs(height).max()) for height in heights)
    if not (error > rounding).any():
        why = "nothing varies from seed to seed, so it has no interval"
        return Band(rates, mean, None, None, None, alone, seeds, why)
    error = np.maximum(error, rounding)
    return Band(rates, mean, error, freedom, _largest(sides, rates, paired, rounding), alone, seeds)


def _joined(curve: tuple[Floats, Floats], rates: Floats) -> Floats:
    order = np.argsort(curve[0], kind="stable")
    return np.interp(rates, curve[0][order], curve[1][order])


def _error(heights: list[Floats], paired: bool) -> Floats:
    """Return the standard error of the difference of means over the axis before the last."""
    if paired:
        difference = heights[0] - heights[1]
        error: Floats = difference.std(-2, ddof=1) / np.sqrt(difference.shape[-2])
        return error
    parts = [height.var(-2, ddof=1) / height.shape[-2] for height in heights]
    return np.asarray(np.sqrt(parts[0] + parts[1]))


def _freedom(heights: list[Floats], paired: bool) -> Floats:
    """Return the degrees of freedom of :func:`_error`, (rates,)."""
    if paired:
        return np.full(heights[0].shape[-1], len(heights[0]) - 1.0)
    parts = [height.var(0, ddof=1) / len(height) for height in heights]
    weights = [part**2 / (len(height) - 1) for part, height in zip(parts, heights, strict=True)]
    least = float(min(map(len, heights)) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom: Floats = (parts[0] + parts[1]) ** 2 / (weights[0] + weights[1])
    return np.where(np.isfinite(freedom), freedom, least)


def _largest(
    sides: list[list[tuple[Floats, Floats]]], rates: Floats, paired: bool, rounding: float
) -> Floats:
    """Return the sorted maximum over the rates of |t| in each draw of the bootstrap."""
    generator = np.random.default_rng(0)
    spreads = []
    for side in sides:
        knots = np.unique(np.sort([rate for rate, _ in side], axis=1).mean(0))
        spread = np.std([_joined(curve, knots) for curve in side], axis=0, ddof=1)
        # What a deviation of one standard deviation at a knot adds at each rate: (knots, rates).
        spreads.append(np.stack([np.interp(rates, knots, row) for row in np.diag(spread)]))
    largest = []
    for _ in range(DRAWS // 500):  # in parts: 29 betas of ten seeds would take gigabytes at once
        drawn = [generator.normal(size=(500, len(side), len(spread))) @ spread
                 for side, spread in zip(sides, spreads, strict=True)]  # fmt: skip
        mean = drawn[0].mean(1) - drawn[1].mean(1)
        largest.append(np.abs(mean / np.maximum(_error(drawn, paired), rounding)).max(1))
    return np.sort(np.concatenate(largest))
