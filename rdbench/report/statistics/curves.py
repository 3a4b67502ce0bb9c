"""From ``points`` rows to what the charts draw: means over seeds, and which curve lies lowest."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from rdbench.report.numbers import Estimate

Floats = npt.NDArray[np.float64]

MEASURED = ("rate", "distortion", "elbo", "mse", "psnr_of_mse", "density_bits_per_dim")


def t_quantile(freedom: float) -> float:
    """Return the 97.5% quantile of Student's t: a 95% interval reaches so many standard errors either way."""
    return float(stdtrit(freedom, 0.975))


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of finite values, and its standard error; None for a single value."""
    n = len(values)
    if n == 1:
        return values[0], None
    if min(values) == max(values):  # whose rounded mean need not be that very number
        return values[0], 0.0
    # By a power of two, which is exact: else the square of a huge value overflows.
    size = math.ldexp(1.0, math.frexp(max(map(abs, values)))[1] - 1)
    mean = math.fsum(value / size for value in values) / n
    deviation = math.sqrt(math.fsum((value / size - mean) ** 2 for value in values) / (n - 1))
    return mean * size, deviation / math.sqrt(n) * size


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return mean and 95% t-interval of the finite values; None where there is none.

    The interval is mean +- t(0.975, n-1) s / sqrt(n): it holds the mean over trainings if those are
    normally distributed, and says nothing about the sampling of test images.
    """
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    mean, error = mean_and_error(finite)
    if error is None:
        return Estimate(mean, None, 1)
    half = t_quantile(len(finite) - 1) * error
    return Estimate(mean, half if math.isfinite(half) else None, len(finite))


def evenly_spaced(values: Sequence[float], amount: int) -> list[float]:
    """Return ``amount`` of the sorted values, evenly spaced by position, both ends included."""
    ordered = sorted(set(values))
    if len(ordered) <= amount:
        return ordered
    if amount == 1:
        return [ordered[len(ordered) // 2]]
    return [ordered[round(i * (len(ordered) - 1) / (amount - 1))] for i in range(amount)]


def finite_points(points: pd.DataFrame, split: str, reading: str) -> pd.DataFrame:
    """Return the rows of one split and reading that have a finite rate, distortion and MSE."""
    rows = points[(points["split"] == split) & (points["reading"] == reading)]
    finite = np.isfinite(rows[["rate", "distortion", "mse"]].to_numpy(float)).all(axis=1)
    return rows[pd.Series(finite, index=rows.index)]


def mean_points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of each variant and beta.

    Args:
        rows: ``points`` rows of one split and one reading.

    Returns:
        Columns variant, beta, n (seeds) and the means of ``MEASURED`` (NaN where nothing was measured),
        sorted by variant and beta.
    """
    groups = rows.groupby(["variant", "beta"], sort=True)
    means = pd.DataFrame(groups[list(MEASURED)].mean())
    means.insert(0, "n", groups["rate"].count())
    return means.reset_index()


def pareto(rate: Floats, height: Floats) -> npt.NDArray[np.intp]:
    """Return the places of the points that no point of lower or equal rate beats, by ascending rate.

    Args:
        rate, height: finite values of shape (points,); ``height`` is better where it is lower.
    """
    order = np.lexsort((height, rate))
    ordered = height[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(ordered)[:-1]]) if len(ordered) else ordered
    return order[ordered < before]


def envelope(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the rows (columns rate and ``measure``) of :func:`pareto`; ``measure`` falls strictly."""
    return rows.iloc[pareto(rows["rate"].to_numpy(float), rows[measure].to_numpy(float))]


def lower_envelope(curves: Sequence[tuple[Floats, Floats]], at: Floats) -> Floats:
    """Return the lowest height that any curve reaches at a rate, or at a lower one.

    Args:
        curves: (rate, height) of each, rates ascending, joined by straight lines.
        at: ascending rates, shape (points,).

    Returns:
        Shape (points,); NaN before the first curve begins.
    """
    lowest = np.minimum.accumulate(_heights(curves, at, np.inf).min(0))
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _heights(curves: Sequence[tuple[Floats, Floats]], at: Floats, outside: float) -> Floats:
    """Return the height of each curve at some rates, (curves, points), or ``outside`` beyond its ends."""
    return np.stack([np.interp(at, rate, height, outside, outside) for rate, height in curves])


@dataclass(frozen=True)
class Shares:
    """Over which share of some rates, in nats from ``low`` to ``high``, each curve is the lowest.

    Where some are equal, the stretch counts for each of them.
    """

    shares: dict[str, float]
    low: float
    high: float


def lowest_shares(means: pd.DataFrame, measure: str) -> Shares | None:
    """Tell over which share of the rates that two curves or more span each variant's is the lowest of those.

    Rates that all curves span would not do: one narrow curve among many would leave next to none. A curve is
    the :func:`envelope` of two or more of its means, joined by straight lines.

    Args:
        means: from :func:`mean_points`.
        measure: the column to compare: "distortion" or "mse".

    Returns:
        None where no two curves share a range of rates.
    """
    curves = {}
    for variant, rows in means.groupby("variant"):
        rows = envelope(rows, measure)
        if len(rows) > 1:
            curves[str(variant)] = (rows["rate"].to_numpy(float), rows[measure].to_numpy(float))
    if len(curves) < 2:
        return None
    edges = _with_crossings(list(curves.values()))
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    heights = _heights(list(curves.values()), middles, np.inf)
    compared = np.isfinite(heights).sum(0) >= 2
    if not compared.any():
        return None
    # Equal lines that are joined at different knots differ by rounding: that is a tie.
    scale = max(float(np.abs(height).max()) for _, height in curves.values())
    lowest = (heights <= heights.min(0) + 1e-12 * scale) & compared
    *lengths, whole = (np.vstack([lowest, compared]) * widths).sum(1)  # alike, so that all of it is 1
    shares = np.array(lengths) / whole
    low, high = edges[:-1][compared].min(), edges[1:][compared].max()
    return Shares(dict(zip(curves, shares.tolist(), strict=True)), float(low), float(high))


def _with_crossings(curves: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Return the rates between which every curve is straight, or absent, and no two of them cross."""
    knots = np.unique(np.concatenate([rate for rate, _ in curves]))
    edges = [knots]
    for one, other in itertools.combinations(_heights(curves, knots, np.nan), 2):
        gap = one - other
        at = np.flatnonzero(np.sign(gap[1:]) * np.sign(gap[:-1]) < 0)
        edges.append(knots[at] + (knots[at + 1] - knots[at]) * gap[at] / (gap[at] - gap[at + 1]))
    return np.unique(np.concatenate(edges))


class Lowest(NamedTuple):
    """The curves (several where equal) that lie lowest over the largest share of some rates, in nats."""

    variants: tuple[str, ...]
    share: float
    low: float
    high: float


def lowest_curve(means: pd.DataFrame, measure: str) -> Lowest | None:
    """Return the largest of :func:`lowest_shares`; None where there are none, or all curves are equal."""
    compared = lowest_shares(means, measure)
    if compared is None:
        return None
    largest = max(compared.shares.values())
    best = tuple(variant for variant, share in compared.shares.items() if share == largest)
    return Lowest(best, largest, compared.low, compared.high) if len(best) < len(compared.shares) else None
