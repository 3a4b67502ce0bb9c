"""The kernel inception distance: the squared maximum mean discrepancy under a cubic kernel.

    k(x, y) = (x.y / d + 1)^3

    MMD^2 = mean of k(x_i, x_j) over i != j + mean of k(y_i, y_j) over i != j - 2 mean of k(x_i, y_j)

Binkowski, Sutherland, Arbel & Gretton, "Demystifying MMD GANs", ICLR 2018. The estimate is unbiased, so it
may fall below zero, and its mean does not depend on the count of samples. It is averaged over random subsets,
since its cost grows with their square. All is float64: the features are float32, but the small differences of
large sums are not.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


def check_features(x: "Tensor", y: "Tensor") -> None:
    """Raise ValueError for two sets that are not (samples, features) of equal features, or not finite."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features of shapes {tuple(x.shape)} and {tuple(y.shape)} have no distance")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("features are not finite")


def kid(
    x: "Tensor", y: "Tensor", subsets: int = 100, subset_size: int = 1000, *, generator: np.random.Generator
) -> tuple[float, float | None]:
    """Return the mean of MMD^2 over random subsets, and its standard error.

    Random subsets share samples, so their spread over the root of their number tells how well the mean over
    all subsets is known, not how well the distance is. With n samples and subsets of m the spread v of the
    subsets given the samples is about (1/m - 1/n) times what one sample adds, the chance in the samples
    themselves 1/n times that; so the error is v (m / (n - m) + 1 / subsets) under the root. It is
    generous where x and y are alike (there chance falls with n^2), and where one of them has more than n.

    Both are features (samples, features) of any floating type on one device; their order does not matter.
    ``generator`` draws each subset without replacement: ``subset_size`` samples of x and of y, or as many as
    the smaller set has, where that is fewer.

    The error is None with one subset, and with subsets that are all of x or of y, which do not show what
    chance in it does. ValueError: the features do not fit each other, are not finite, or a subset has fewer
    than two.
    """
    if subsets < 1:
        raise ValueError(f"subsets must be at least 1, not {subsets}")
    count = min(len(x), len(y))
    size = min(subset_size, count)
    draws = [
        (generator.choice(len(x), size, replace=False), generator.choice(len(y), size, replace=False))
        for _ in range(subsets)
    ]
    values = subset_values(x, y, draws)
    if subsets == 1 or size == count:
        return float(values.mean()), None
    variance = values.var(ddof=1) * (size / (count - size) + 1 / subsets)
    return float(values.mean()), float(np.sqrt(variance))


def subset_values(
    x: "Tensor", y: "Tensor", subsets: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
) -> npt.NDArray[np.float64]:
    """Return the unbiased MMD^2 of pairs of subsets, given as indices into ``x`` and ``y``; errors as kid."""
    import torch

    check_features(x, y)

    def pick(features: "Tensor", index: npt.NDArray[np.int64]) -> "Tensor":
        if len(index) < 2:
            raise ValueError(f"a subset needs two samples, not {len(index)}")
        return features[torch.from_numpy(index).to(features.device)].double()

    return np.array([float(_mmd(pick(x, a), pick(y, b))) for a, b in subsets])


def _mmd(x: "Tensor", y: "Tensor") -> "Tensor":
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * _cubic(x @ y.T / x.shape[1]).mean()


def _mean_of_pairs(x: "Tensor") -> "Tensor":
    """Return the mean of k over pairs of different samples."""
    among = _cubic(x @ x.T / x.shape[1])
    return (among.sum() - among.diagonal().sum()) / (len(x) * (len(x) - 1))


def _cubic(products: "Tensor") -> "Tensor":
    shifted = products + 1
    return shifted * shifted * shifted  # a general power takes ten times as long
