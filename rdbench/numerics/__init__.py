"""Statistics of feature matrices: two sets of features in, a number out.

Nothing here knows a model or a feature network: rows are samples, columns are features, whatever they come
from. :mod:`~rdbench.numerics.frechet` compares means and covariances, :mod:`~rdbench.numerics.kid`
averages of a kernel, :mod:`~rdbench.numerics.prdc` nearest neighbours. All of them compute in float64: the
features are float32, but the small differences of large sums that are asked of them are not.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def check_features(x: "Tensor", y: "Tensor") -> None:
    """Refuse two sets that are not (samples, features) with as many features each, or not finite.

    Raises:
        ValueError: they are not.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features of shapes {tuple(x.shape)} and {tuple(y.shape)} have no distance")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("features are not finite")
