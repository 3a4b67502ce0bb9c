"""BD-rate: how much more rate one curve needs than another for the same quality, in per cent.

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001: the logarithm of the
ratio of rates at equal quality, averaged over the range of quality that both curves reach.

Two things differ from how codecs are compared, as the rates of a VAE go to zero. The rate is interpolated
over the quality, not its logarithm: that falls without bound where the posterior collapses, and between the
few points there a curve of it is off by far more than the noise. (Grids of 9 and of 29 betas on one simulated
curve came out 15% apart, and half of the intervals missed zero; with the rate it is 5%, and 95 of 100 hold
it.) And rates up to a floor are left out, which the result states, with the BD-rate at ten times that floor:
a logarithm gives the least rates as much weight as all others. The gain at equal rate, averaged over the rate
itself, does not hang on it.

A hull of noisy points is a little too good, more so of many points: of 29 betas whose trainings are off by
10%, five seeds each, BD-rate against the curve itself is -2.5% on average, of intervals of 10% either way. A
bootstrap takes that away and makes the spread larger by half, so nothing is corrected
(tools/simulated_verdicts.py).
"""

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr

from rdbench.report.statistics.curves import pareto, t_quantile
from rdbench.report.statistics.monotone import Monotone
from rdbench.results.model_states import LEAST_RATE as LEAST_RATE

HIGHER_FLOOR = 10.0
"""A second BD-rate has a floor so many times as high: what hangs on the floor shows in the difference."""
ENUMERATED = 5
"""Up to so many seeds every resample is taken, with its probability: 126 different ones of five seeds."""
RESAMPLES = 200
UNDEFINED = 0.05
"""The share of resamples without a BD-rate beyond which there is no interval."""
HUGE = 1e100
"""A larger number is left out as one that is not finite is: arithmetic with it would overflow."""
DISTINCT = 1e-12
"""Of a curve's range: points that lie closer are one."""
ROUNDING = 1e-6
"""In per cent: by less two BD-rates do not differ."""
LITTLE_OVERLAP = 0.75
"""Below it BD-rate is about a part of the curves only; ``bjontegaard`` warns there, too."""

Float64 = npt.NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)
"""Of Gauss and Legendre's quadrature on -1 to 1."""


class Curve:
    """The hull of some points: the rate over the quality, and the quality over the rate.

    Args:
        rate: nats, strictly ascending, (points,), two or more.
        quality: strictly ascending, (points,).
    """

    def __init__(self, rate: Float64, quality: Float64) -> None:
        self.rate, self.quality = rate, quality

    @functools.cached_property
    def rate_over_quality(self) -> Monotone:
        """The rate that a quality needs."""
        return Monotone(self.quality, self.rate)

    @functools.cached_property
    def quality_over_rate(self) -> Monotone:
        """The quality that a rate gives."""
        return Monotone(self.rate, self.quality)


@dataclass(frozen=True)
class BdRate:
    """The rate a variant needs beyond a baseline's for the same quality, on average.

    Attributes:
        variant, baseline: what is compared.
        measure: what quality is: "mse" or "distortion".
        percent: BD-rate, negative where the variant needs less; None where it is not defined.
        low, high: its 95% interval over seeds and joins, in per cent; None where there is none.
        n: seeds, of the variant that has fewer.
        overlap: the range of quality that both curves reach, as a share of what either does; None without
            two curves.
        quality_range: that range: -10 log10 of the MSE (the PSNR of images in [0, 1], dB), or -distortion
            (nats); None where it is empty.
        reason: why there is no BD-rate, or no interval; "" where there are both.
        p: two-sided, of a BD-rate of zero; None without an interval.
        floor: the rate in nats up to which points are left out.
        above: BD-rate in per cent with ``HIGHER_FLOOR`` times the floor; None where that leaves no curve.
        gain: by how much the variant's quality is better at equal rate, averaged over the rates that both
            reach, in dB of PSNR for "mse" and in nats else; None where they reach none.
        gain_half_width: of its 95% interval; None where there is none.
    """

    variant: str
    baseline: str
    measure: str
    percent: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    overlap: float | None = None
    quality_range: tuple[float, float] | None = None
    reason: str = ""
    p: float | None = None
    floor: float = LEAST_RATE
    above: float | None = None
    gain: float | None = None
    gain_half_width: float | None = None

    @property
    def overlaps_little(self) -> bool:
        """Whether the number is about a part of the curves only, or there is none."""
        return self.overlap is not None and self.overlap < LITTLE_OVERLAP

    @property
    def hangs_on_floor(self) -> bool:
        """Whether a higher floor gives a BD-rate outside of the interval, or none."""
        if self.percent is None:
            return False
        if self.above is None:
            return True
        if self.low is None or self.high is None:
            return False
        return not self.low - ROUNDING <= self.above <= self.high + ROUNDING


class CurvePoints:
    """The finite points of a variant as arrays (seeds, betas); ``measured`` tells where there is one.

    Args:
        rows: of one variant, one split and one reading: columns beta, seed, rate (nats) and ``measure``.
        measure: "mse" or "distortion".
        floor: nats; points whose mean rate is not above it are left out.
    """

    def __init__(self, rows: pd.DataFrame, measure: str, floor: float = LEAST_RATE) -> None:
        self.measure, self.floor = measure, floor
        values = rows[["seed", "beta", "rate", measure]].to_numpy(float)
        values = values[np.isfinite(values).all(axis=1) & (np.abs(values[:, 2:]) < HUGE).all(axis=1)]
        seeds, by_seed = np.unique(values[:, 0], return_inverse=True)
        betas, by_beta = np.unique(values[:, 1], return_inverse=True)
        self.seeds = tuple(seeds.tolist())
        self.measured = np.zeros((len(seeds), len(betas)), bool)
        self.rate, self.value = np.zeros((2, len(seeds), len(betas)))
        self.measured[by_seed, by_beta] = True
        self.rate[by_seed, by_beta], self.value[by_seed, by_beta] = values[:, 2], values[:, 3]

    def curve(self, weights: Float64) -> Curve | None:
        """Return the hull of the means over seeds.

        None where the hull has fewer than two points, and where a beta has no seed of any weight: a curve
        without it is another one, and what tells them apart is the interpolation, not the seeds.

        Args:
            weights: of each seed, (seeds,).
        """
        total = weights @ self.measured
        if not total.all():
            return None
        rate, value = weights @ self.rate / total, weights @ self.value / total
        # An error of zero has no logarithm, and that of a collapsed posterior's rate would outweigh all else.
        positive = (rate > max(self.floor, 1 / HUGE)) & ((value > 0) | (self.measure != "mse"))
        rate, value = rate[positive], value[positive]
        quality = -10 * np.log10(value) if self.measure == "mse" else -value
        hull = pareto(rate, -quality)
        rate, quality = rate[hull], quality[hull]
        if len(hull) > 2:  # of points that rounding alone tells apart the first stands for all
            steps = np.minimum(*(np.diff(x) / (x[-1] - x[0]) for x in (rate, quality)))
            apart = np.concatenate([[True], steps > DISTINCT])
            rate, quality = rate[apart], quality[apart]
        return Curve(rate, quality) if len(rate) > 1 else None

    @functools.cached_property
    def whole(self) -> Curve | None:
        """The curve of all seeds."""
        return self.curve(np.ones(len(self.seeds)))

    @functools.cached_property
    def resampled(self) -> list[Curve | None]:
        """The curve of each resample of :func:`_resamples`; those of a baseline serve all its comparisons."""
        return [self.curve(weights) for weights in _resamples(len(self.seeds))[0]]

    @functools.cached_property
    def above(self) -> "CurvePoints":
        """The same points with a floor ``HIGHER_FLOOR`` times as high."""
        higher = copy.copy(self)
        for name in ("whole", "resampled"):
            higher.__dict__.pop(name, None)
        higher.floor = HIGHER_FLOOR * self.floor
        return higher


@functools.cache
def _resamples(n: int) -> tuple[Float64, Float64]:
    """Return how often each resample of ``n`` seeds takes each seed, (resamples, n), and its probability."""
    if n > ENUMERATED:
        return _random_resamples(n, 0), np.full(RESAMPLES, 1 / RESAMPLES)
    resamples = combinations_with_replacement(range(n), n)
    counts = np.array([np.bincount(seeds, minlength=n) for seeds in resamples])
    ways = [math.factorial(n) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts.astype(float), np.array(ways) / n**n


def _random_resamples(n: int, stream: int) -> Float64:
    return np.random.default_rng(stream).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)


def _shared(one: Float64, other: Float64) -> tuple[float, float] | None:
    """Return the range that two ascending arrays both span; None where it is empty."""
    low, high = float(max(one[0], other[0])), float(min(one[-1], other[-1]))
    return (low, high) if low < high else None


def _mean_log(
    shared: tuple[float, float], test: Curve, baseline: Curve, rates: Callable[[Curve, Float64], Float64]
) -> tuple[float, float]:
    """Return the means of the logarithm of the rate of two curves over a range of quality."""
    inner = np.concatenate([test.quality, baseline.quality])
    edges = np.concatenate([shared, inner[(inner > shared[0]) & (inner < shared[1])]])
    edges.sort()
    # The rates are smooth between neighbouring edges; six Gaussian nodes leave less than 1e-3 of a logarithm
    # where a curve leaps from 1 to 300 nats.
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    at = middle + half * NODES[:, None]
    width = shared[1] - shared[0]
    one, other = (float(WEIGHTS @ (np.log(rates(curve, at)) * half).sum(1)) / width
                  for curve in (test, baseline))  # fmt: skip
    return one, other


def _smooth(curve: Curve, quality: Float64) -> Float64:
    return curve.rate_over_quality.at(quality)


def _straight(curve: Curve, quality: Float64) -> Float64:
    return np.interp(quality, curve.quality, curve.rate)


def _log_ratio(test: Curve | None, baseline: Curve | None) -> float | None:
    """Return the mean logarithm of the ratio of rates; None where no quality is shared."""
    if test is None or baseline is None or (shared := _shared(test.quality, baseline.quality)) is None:
        return None
    one, other = _mean_log(shared, test, baseline, _smooth)
    return one - other


def _joins(test: Curve, baseline: Curve, shared: tuple[float, float]) -> float:
    """Return how far the logarithm may be off for what lies between the points of either curve.

    Straight joins lie above a convex curve, and PCHIP between them and it: what joins and PCHIP differ by, of
    one curve more than of the other, was one to two times the error in simulated sweeps. It vanishes where
    points are dense, and where those of both curves lie at the same qualities.
    """
    smooth, straight = (_mean_log(shared, test, baseline, rates) for rates in (_smooth, _straight))
    return abs(straight[0] - smooth[0] - straight[1] + smooth[1])


def _gain(test: Curve | None, baseline: Curve | None) -> float | None:
    """Return the mean difference of quality over the rates that both reach; None where there are none."""
    if test is None or baseline is None or (shared := _shared(test.rate, baseline.rate)) is None:
        return None
    area = test.quality_over_rate.area(*shared) - baseline.quality_over_rate.area(*shared)
    return area / (shared[1] - shared[0])


def _resampled_pairs(
    test: CurvePoints, baseline: CurvePoints
) -> tuple[Float64, list[tuple[Curve | None, Curve | None]]]:
    """Return the probability of each resample of seeds, and both curves of it.

    A seed's whole curve is resampled at once, since its points may err together, and for both variants at
    once where both have the same seeds, since those may share their luck.
    """
    if test.seeds == baseline.seeds:
        pairs = list(zip(test.resampled, baseline.resampled, strict=True))
        return _resamples(len(test.seeds))[1], pairs
    draws = (_random_resamples(len(points.seeds), i) for i, points in enumerate((test, baseline)))
    pairs = [(test.curve(one), baseline.curve(other)) for one, other in zip(*draws, strict=True)]
    return np.full(RESAMPLES, 1 / RESAMPLES), pairs


def _error(values: list[float | None], probability: Float64, n: int) -> tuple[float | None, str]:
    """Return the bootstrap's standard error (a mean's times sqrt((n-1)/n)), or why there is none."""
    defined = np.array([value is not None for value in values])
    undefined = 1 - float(probability[defined].sum())
    if undefined > UNDEFINED:
        return None, f"no interval: {100 * undefined:.0f}% of the resamples of seeds have no BD-rate"
    known = np.array([value for value in values if value is not None])
    return math.sqrt(float(np.cov(known, aweights=probability[defined], ddof=0)) * n / (n - 1)), ""


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(min(log_ratio, 700.0))  # beyond, a float overflows


def bd_rate(test: CurvePoints, baseline: CurvePoints, *, variant: str, name: str) -> BdRate:
    """Return BD-rate between two curves, which may come from different results.

    Percentiles of the bootstrap of so few seeds are far too narrow; Student's t on its standard error is not.
    What may lie between the points (:func:`_joins`) is added to it in quadrature.

    Args:
        test, baseline: their points, of one measure and floor; means are over the seeds that a beta has.
        variant, name: what the two are called.
    """
    one, other = test.whole, baseline.whole
    n = min(len(test.seeds), len(baseline.seeds))
    none = BdRate(variant, name, test.measure, n=n, floor=test.floor)
    if one is None or other is None:
        short = " and ".join(who for who, curve in ((variant, one), (name, other)) if curve is None)
        return replace(none, reason=f"fewer than two points on the hull of {short}")
    pairs = None if n < 2 else _resampled_pairs(test, baseline)
    none = replace(none, gain=_gain(one, other), gain_half_width=_gain_half_width(pairs, n))
    log_ratio, shared = _log_ratio(one, other), _shared(one.quality, other.quality)
    if log_ratio is None or shared is None:
        return replace(none, overlap=0.0, reason="the curves reach no quality in common")
    reach = float(max(one.quality[-1], other.quality[-1]) - min(one.quality[0], other.quality[0]))
    above = _log_ratio(test.above.whole, baseline.above.whole)
    found = replace(none, percent=_percent(log_ratio), overlap=(shared[1] - shared[0]) / reach,
                    quality_range=shared, above=None if above is None else _percent(above))  # fmt: skip
    if pairs is None:
        return replace(found, reason="a single seed has no interval")
    error, reason = _error([_log_ratio(*pair) for pair in pairs[1]], pairs[0], n)
    if error is None:
        return replace(found, reason=reason)
    error = math.hypot(error, _joins(one, other, shared) / t_quantile(n - 1))
    half = t_quantile(n - 1) * error
    p = float(2 * stdtr(n - 1, -abs(log_ratio) / error)) if error else float(log_ratio == 0)
    return replace(found, low=_percent(log_ratio - half), high=_percent(log_ratio + half), p=p)


def _gain_half_width(
    pairs: tuple[Float64, list[tuple[Curve | None, Curve | None]]] | None, n: int
) -> float | None:
    error = None if pairs is None else _error([_gain(*pair) for pair in pairs[1]], pairs[0], n)[0]
    return None if error is None else t_quantile(n - 1) * error


def bd_rate_between(
    test: pd.DataFrame, baseline: pd.DataFrame, measure: str, *, variant: str = "test", name: str = "baseline"
) -> BdRate:
    """Return :func:`bd_rate` of the rows of two variants, as :class:`CurvePoints` takes them."""
    return bd_rate(CurvePoints(test, measure), CurvePoints(baseline, measure), variant=variant, name=name)
