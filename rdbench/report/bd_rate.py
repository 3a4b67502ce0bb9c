"""BD-rate: how much more rate one curve needs than another for the same quality, in per cent.

Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001: the logarithm of the
rate as a function of the quality, here interpolated by PCHIP, averaged over the range of quality that both
curves reach.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from rdbench.report.curves import envelope, finite_points, lowest_shares, mean_points, pareto
from rdbench.report.gather import Section
from rdbench.report.numbers import ABSENT, count, number
from rdbench.report.pchip import Monotone
from rdbench.report.series import BETA_HALF, READING_NAMES, says_nothing_of
from rdbench.report.table import Cell, Column, Mark, Table

LEAST_RATE = 0.01
"""Nats: below it the posterior has collapsed, and how far below says nothing."""
BASELINE = "beta_vae"
"""What the others are compared with, where it is there."""
ENUMERATED = 5
"""Up to so many seeds every resample is taken, with its probability: 126 different ones of five seeds."""
RESAMPLES = 200
UNDEFINED = 0.05
"""The share of resamples without a BD-rate beyond which there is no interval."""
LITTLE_OVERLAP = 0.75
"""Below it BD-rate speaks of a part of the curves only: where ``bjontegaard`` warns, too."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BdRate:
    """The rate a variant needs beyond a baseline's for the same quality, on average.

    Attributes:
        variant, baseline: what is compared.
        measure: what quality is: "mse" or "distortion".
        percent: BD-rate, negative where the variant needs less; None where it is not defined.
        low, high: its 95% interval over seeds, in per cent; None where there is none.
        n: seeds, of the variant that has fewer.
        overlap: the range of quality that both curves reach, as a share of what either does; None where
            there are not two curves.
        quality_range: that range: -10 log10 of the MSE (the PSNR of images in [0, 1], dB), or -distortion
            (nats); None where it is empty.
        reason: why there is no BD-rate, or no interval; "" where there are both.
    """

    variant: str
    baseline: str
    measure: str
    percent: float | None
    low: float | None
    high: float | None
    n: int
    overlap: float | None
    quality_range: tuple[float, float] | None
    reason: str

    @property
    def overlaps_little(self) -> bool:
        """Whether it speaks of a part of the curves only, or of nothing."""
        return self.overlap is not None and self.overlap < LITTLE_OVERLAP


@dataclass(frozen=True)
class _Curve:
    """The logarithm of the rate as a function of quality, and the range of quality it reaches."""

    log_rate: Monotone
    low: float
    high: float


class _Points:
    """The finite points of a variant as arrays (seeds, betas); ``there`` tells where there is one."""

    def __init__(self, rows: pd.DataFrame, measure: str) -> None:
        self.measure = measure
        values = rows[["seed", "beta", "rate", measure]].to_numpy(float)
        values = values[np.isfinite(values).all(axis=1)]
        seeds, by_seed = np.unique(values[:, 0], return_inverse=True)
        betas, by_beta = np.unique(values[:, 1], return_inverse=True)
        self.seeds = tuple(seeds.tolist())
        self.there = np.zeros((len(seeds), len(betas)), bool)
        self.rate, self.value = np.zeros((2, len(seeds), len(betas)))
        self.there[by_seed, by_beta] = True
        self.rate[by_seed, by_beta], self.value[by_seed, by_beta] = values[:, 2], values[:, 3]

    def curve(self, weights: Float64) -> _Curve | None:
        """Return the hull of the means over seeds; None where it has fewer than two points.

        Also where a beta has no seed of any weight: a curve without it is another one, and what tells them
        apart is the interpolation, not the seeds.

        Args:
            weights: of each seed, (seeds,).
        """
        total = weights @ self.there
        if not total.all():
            return None
        rate, value = ((weights @ own) / total for own in (self.rate, self.value))
        # An error of zero has no logarithm, and that of a collapsed posterior's rate would outweigh all else.
        held = (rate > LEAST_RATE) & ((value > 0) | (self.measure != "mse"))
        rate, value = rate[held], value[held]
        quality = -10 * np.log10(value) if self.measure == "mse" else -value
        hull = pareto(rate, -quality)
        if len(hull) < 2:
            return None
        return _Curve(Monotone(quality[hull], np.log(rate[hull])), *quality[hull][[0, -1]].tolist())

    @functools.cached_property
    def whole(self) -> _Curve | None:
        """The curve of all seeds."""
        return self.curve(np.ones(len(self.seeds)))

    @functools.cached_property
    def resampled(self) -> list[_Curve | None]:
        """The curve of each resample of :func:`_resamples`; those of a baseline serve all its comparisons."""
        return [self.curve(weights) for weights in _resamples(len(self.seeds))[0]]


@functools.cache
def _resamples(n: int) -> tuple[Float64, Float64]:
    """Return how often each resample of ``n`` seeds takes each seed, (resamples, n), and its probability."""
    if n > ENUMERATED:
        return _random_resamples(n, 0), np.full(RESAMPLES, 1 / RESAMPLES)
    counts = np.array(
        [np.bincount(taken, minlength=n) for taken in combinations_with_replacement(range(n), n)]
    )
    ways = [math.factorial(n) / math.prod(map(math.factorial, row)) for row in counts.tolist()]
    return counts.astype(float), np.array(ways) / n**n


def _random_resamples(n: int, stream: int) -> Float64:
    return np.random.default_rng(stream).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)


def _shared(one: _Curve, other: _Curve) -> tuple[float, float] | None:
    low, high = max(one.low, other.low), min(one.high, other.high)
    return (low, high) if low < high else None


def _log_ratio(test: _Curve | None, baseline: _Curve | None) -> float | None:
    """Return the mean logarithm of the ratio of rates; None where no quality is shared."""
    if test is None or baseline is None or (shared := _shared(test, baseline)) is None:
        return None
    area = test.log_rate.area(*shared) - baseline.log_rate.area(*shared)
    return area / (shared[1] - shared[0])


def _half_width(test: _Points, baseline: _Points) -> tuple[float | None, str]:
    """Return the half-width of the 95% interval of the logarithm of the ratio, or why there is none.

    A seed's whole curve is resampled at once, since its points may err together, and for both variants at
    once where both have the same seeds, since those may share their luck. Percentiles of three to five
    seeds' resamples are far too narrow; Student's t on the bootstrap's standard error, which is that of a
    mean times sqrt((n-1)/n), is not.
    """
    n = min(len(test.seeds), len(baseline.seeds))
    if n < 2:
        return None, "a single seed has no interval"
    if test.seeds == baseline.seeds:
        probability = _resamples(n)[1]
        pairs = list(zip(test.resampled, baseline.resampled, strict=True))
    else:
        probability = np.full(RESAMPLES, 1 / RESAMPLES)
        draws = (_random_resamples(len(own.seeds), i) for i, own in enumerate((test, baseline)))
        pairs = [(test.curve(one), baseline.curve(other)) for one, other in zip(*draws, strict=True)]
    found = [_log_ratio(*pair) for pair in pairs]
    defined = np.array([value is not None for value in found])
    lost = 1 - float(probability[defined].sum())
    if lost > UNDEFINED:
        return None, f"no interval: {100 * lost:.0f}% of the resamples of seeds have no BD-rate"
    values, weights = np.array([value for value in found if value is not None]), probability[defined]
    error = math.sqrt(float(np.cov(values, aweights=weights, ddof=0)) * n / (n - 1))
    return float(stdtrit(n - 1, 0.975)) * error, ""


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(min(log_ratio, 700.0))  # beyond, a float overflows


def _compare(test: _Points, baseline: _Points, variant: str, name: str) -> BdRate:
    n = min(len(test.seeds), len(baseline.seeds))
    bare = BdRate(variant, name, test.measure, None, None, None, n, None, None, "")
    one, other = test.whole, baseline.whole
    if one is None or other is None:
        short = " and ".join(who for who, curve in ((variant, one), (name, other)) if curve is None)
        return replace(bare, reason=f"fewer than two points on the hull of {short}")
    log_ratio, shared = _log_ratio(one, other), _shared(one, other)
    if log_ratio is None or shared is None:
        return replace(bare, overlap=0.0, reason="the curves reach no quality in common")
    overlap = (shared[1] - shared[0]) / (max(one.high, other.high) - min(one.low, other.low))
    half, reason = _half_width(test, baseline)
    low, high = (None, None) if half is None else (_percent(log_ratio - half), _percent(log_ratio + half))
    return BdRate(variant, name, test.measure, _percent(log_ratio), low, high, n, overlap, shared, reason)


def bd_rate_between(
    test: pd.DataFrame, baseline: pd.DataFrame, measure: str, *, variant: str = "test", name: str = "baseline"
) -> BdRate:
    """Return BD-rate between two curves, which may come from different results.

    Args:
        test, baseline: rows of one variant, one split and one reading each: columns beta, seed, rate
            (nats) and ``measure``. A (beta, seed) may be missing; means are over those that are there.
        measure: "mse" (the number is that of PSNR) or "distortion".
        variant, name: what the two are called.
    """
    return _compare(_Points(test, measure), _Points(baseline, measure), variant, name)


def bd_rate(points: pd.DataFrame, variant: str, baseline: str, measure: str) -> BdRate:
    """Return BD-rate of one variant against another; rows of both, as :func:`bd_rate_between` takes."""
    test, other = (points[points["variant"] == each] for each in (variant, baseline))
    return bd_rate_between(test, other, measure, variant=variant, name=baseline)


def _measures(section: Section) -> Iterator[tuple[str, str, pd.DataFrame, list[str]]]:
    """Yield (title, column, finite points of the test split, variants) of MSE and of each distortion.

    Of the variants that the reading says something of: the others' distortion is not to be compared.
    """
    if not len(section.points):
        return
    # MSE is the same under every reading, and all are stored.
    for title, measure, reading in (
        ("MSE", "mse", "half"),
        *((f"distortion, {READING_NAMES[each]}", "distortion", each) for each in section.readings),
    ):
        rows = section.splits.get(("test", reading))
        # Not every variant has a likelihood of its own.
        silent = says_nothing_of(section, reading)
        there = [] if rows is None else sorted(set(rows["variant"]) - silent)
        points = finite_points(section.points, "test", reading)
        yield title, measure, points[~points["variant"].isin(silent)], there


def _beta_half(section: Section) -> str:
    """Return the end of a caption: why some variants have no row, where they have none."""
    return f" {BETA_HALF}" if any(says_nothing_of(section, each) for each in section.readings) else ""


def table(section: Section) -> Table | None:
    """Return the section's BD-rates, a row a quality and variant; None where there are not two variants."""
    variants = sorted(section.points["variant"].unique()) if len(section.points) else []
    if len(variants) < 2:
        return None
    baseline = BASELINE if BASELINE in variants else variants[0]
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for title, measure, points, there in _measures(section):
        if baseline not in there:
            continue  # such as a likelihood of its own, which the baseline has not got
        curves = {name: _Points(points[points["variant"] == name], measure) for name in variants}
        for variant in variants:
            if variant != baseline and variant in there:
                found = _compare(curves[variant], curves[baseline], variant, baseline)
                rows.append((Cell(title), Cell(variant), *_cells(found)))
        means = mean_points(points)
        without = int(((means["rate"] <= LEAST_RATE) | (means["mse"] <= 0)).sum())
        if measure == "mse" and without:
            notes.append(
                f"{count(without, 'point')} of a rate up to {LEAST_RATE:g} nats or of error 0 left out: the"
                " logarithm of nearly nothing would outweigh all else."
            )
    caption = (
        f"How much more rate than {baseline} a variant needs for the same quality, on average over"
        " the qualities both reach (Bjontegaard 2001, PCHIP, in the logarithm of the rate); negative: less."
        " Test split. Each curve is the monotone hull of the means over seeds: the points that no point of"
        " lower or equal rate beats. MSE stands for PSNR too, which gives the same number. Overlap: the"
        " range both reach as a share of what either does, marked below"
        f" {LITTLE_OVERLAP:.0%}, where the number speaks of a part of the curves only. 95% intervals:"
        " bootstrap over whole seeds, Student's t on the standard error of the logarithm, n seeds."
        f"{_beta_half(section)}"
    )
    columns = (
        Column("quality", kind="key"), Column("variant", kind="key"), Column("%", "BD-rate"),
        Column("from", "95% interval, %"), Column("to", "95% interval, %"), Column("n"),
        Column("overlap, %"), Column("over the range", kind="text"),
    )  # fmt: skip
    return Table("bd_rate", f"BD-rate against {baseline}", caption, columns, tuple(rows), tuple(notes))


def _cells(found: BdRate) -> tuple[Cell, ...]:
    """Return the cells of a BD-rate, from the percentage on; the first that is empty says why."""

    def cell(value: float | None, decimals: int = 1, why: str = "", mark: Mark = "") -> Cell:
        if value is None:
            return Cell(ABSENT, why)
        return Cell(number(value, decimals if abs(value) < 1e6 else None), "", mark, value)

    overlap = None if found.overlap is None else 100 * found.overlap
    return (
        cell(found.percent, why=found.reason),
        cell(found.low, why="" if found.percent is None else found.reason),
        cell(found.high),
        cell(found.n, 0),
        cell(overlap, 0, mark="warning" if found.overlaps_little else ""),
        Cell(_range(found) if found.quality_range else ABSENT),
    )


def _range(found: BdRate) -> str:
    """Write the shared range of quality, the best end last, as what was measured."""
    ends = found.quality_range or ()
    values = [10 ** (-end / 10) if found.measure == "mse" else -end for end in ends]
    return f"{' to '.join(map(number, values))}{'' if found.measure == 'mse' else ' nats'}"


def envelope_table(section: Section) -> Table | None:
    """Return where each variant is the best of all, a row a measure and variant; None without two."""
    rows: list[tuple[Cell, ...]] = []
    for title, measure, points, _ in _measures(section):
        means = mean_points(points)
        if means["variant"].nunique() < 2:
            continue
        found = lowest_shares(means, measure)
        # Of equal points the envelope keeps one; all of them are on it.
        best = set(envelope(means, measure)[["rate", measure]].itertuples(index=False, name=None))
        for variant, own in means.groupby("variant"):
            on = sum(point in best for point in own[["rate", measure]].itertuples(index=False, name=None))
            share = None if found is None else found.shares.get(str(variant))
            if found is not None and share is not None:
                cell = Cell(number(100 * share, 1), value=100 * share)
                span = Cell(f"{number(found.low)} to {number(found.high)}")
            else:
                alone = len(envelope(own, measure)) < 2
                why = "fewer than two points on its hull" if alone else "no rates that another curve spans"
                cell = span = Cell(ABSENT, why)
            rows.append((Cell(title), Cell(str(variant)), cell, span, Cell(str(on), value=on),
                         Cell(str(len(own)), value=len(own))))  # fmt: skip
    if not rows:
        return None
    caption = (
        "Share: of the rates that two curves or more span, in nats, those at which the variant's curve is the"
        " lowest of those there; where curves are equal, each is. On the envelope: its points, means over"
        " seeds, that no point of any variant of lower or equal rate beats. Test split. A curve is the hull"
        " of the variant's own means, joined by straight lines; a variant with fewer than two points has none"
        " and is not compared. Where points are far apart such lines say little: MSE and the distortion at"
        " σ² = 1/2 order two models of one rate alike, and if their shares differ it is the lines between the"
        f" points that do.{_beta_half(section)}"
    )
    columns = (
        Column("measure", kind="key"), Column("variant", kind="key"), Column("share, %"),
        Column("of the rates (nats)", kind="text"), Column("on the envelope"), Column("points"),
    )  # fmt: skip
    return Table("envelope", "Share of the lower envelope", caption, columns, tuple(rows))
