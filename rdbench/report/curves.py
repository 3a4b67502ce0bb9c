"""From ``points`` rows to what the charts draw: means over seeds, labels, and which curve lies lowest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

MEASURED = ("rate", "distortion", "elbo", "mse", "psnr", "bits_per_dim")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; ``half_width`` of its 95% t-interval is None for a single seed."""

    mean: float
    half_width: float | None
    n: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return mean and 95% t-interval of the finite values; None where there is none.

    The interval is mean +- t(0.975, n-1) s / sqrt(n): it holds the mean over trainings if those are
    normally distributed, and says nothing about the sampling of test images.
    """
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return None
    mean = math.fsum(finite) / n
    if n == 1:
        return Estimate(mean, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1))
    return Estimate(mean, float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n), n)


def spaced(values: Sequence[float], amount: int) -> list[float]:
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


def envelope(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the lower envelope of a curve: the points that no point of lower or equal rate beats.

    Args:
        rows: points of one variant, columns rate and ``measure``.
        measure: the column to minimise.

    Returns:
        Those rows by ascending rate; ``measure`` falls strictly.
    """
    ordered = rows.sort_values(["rate", measure])
    return ordered[ordered[measure] < ordered[measure].cummin().shift(fill_value=np.inf)]


@dataclass(frozen=True)
class Lowest:
    """Where one curve lies lowest: ``share`` of the rates ``low`` to ``high`` (nats) that all curves span."""

    variant: str
    share: float
    low: float
    high: float


def lowest_curve(means: pd.DataFrame, measure: str) -> Lowest | None:
    """Tell which variant's curve is lowest over most of the rates that all curves span.

    A curve is the :func:`envelope` of its means, joined by straight lines; the curves are compared at
    1,001 evenly spaced rates.

    Args:
        means: from :func:`mean_points`.
        measure: the column to compare: "distortion" or "mse".

    Returns:
        None where there are not two such curves of two points or more that share a range of rates.
    """
    curves = {}
    for variant, rows in means.groupby("variant"):
        rows = envelope(rows, measure)
        if len(rows) > 1:
            curves[str(variant)] = (rows["rate"].to_numpy(float), rows[measure].to_numpy(float))
    if len(curves) < 2:
        return None
    low = max(float(rate[0]) for rate, _ in curves.values())
    high = min(float(rate[-1]) for rate, _ in curves.values())
    if not low < high:
        return None
    grid = np.linspace(low, high, 1001)
    heights = np.stack([np.interp(grid, rate, height) for rate, height in curves.values()])
    # A tie belongs to neither: two equal curves have no lowest one.
    lowest = (heights == heights.min(0)) & ((heights == heights.min(0)).sum(0) == 1)
    shares = lowest.mean(1)
    winner = int(shares.argmax())
    return Lowest(list(curves)[winner], float(shares[winner]), low, high) if shares[winner] > 0 else None
