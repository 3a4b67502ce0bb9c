"""The Fréchet distance at infinitely many samples, extrapolated: compares whatever number was drawn.

Chong & Forsyth, "Effectively unbiased FID and Inception score and where to find them", CVPR 2020: the bias of
the distance is linear in 1/N to first order, so that

    FD_N = FD_infinity + slope / N

is fitted to the distances of random subsets of N samples, evenly spaced from a tenth of them to all, each to
the same images. What the finite number of these images adds is not removed. There is no standard error:
subsets share samples. Samples of the prior, decoded, against all images of a split; lower is better.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from rdbench.metrics.base import Metric, Quantity, TrainedModel, Value
from rdbench.metrics.fd import FdOptions, missing
from rdbench.metrics.features import comparison

if TYPE_CHECKING:
    from torch import Tensor

    from rdbench.numerics.frechet import Moments


class FdInfinityOptions(FdOptions):
    """Options of ``fd_infinity``.

    Attributes:
        features: the network: ``classifier``, ``inception``, or one of your own, such as
            ``my_features.py:embed``, or a file of TorchScript.
        samples: from the prior, of which the largest subset are all. Their features are kept in memory.
        split: the images to compare with.
        weights: a local file of Inception's weights, in place of the published ones.
        subsets: how many distances the line is fitted to.
    """

    name: str = "fd_infinity"
    samples: int = Field(default=10_000, ge=20, le=1_000_000)
    subsets: int = Field(default=15, ge=2, le=1000)


def compute(options: FdInfinityOptions, model: TrainedModel) -> list[Value]:
    """Return the extrapolated distance.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite.
    """
    import numpy as np

    from rdbench.numerics.seeding import generator

    features = comparison.network(options.features, model, options.weights)
    reference = comparison.reference_moments(model, features, options.split)
    samples = comparison.sample_features(model, features, options.samples)
    draw = np.random.default_rng(generator(model.seed, "metric/fd_infinity").initial_seed())
    counts = np.unique(np.linspace(len(samples) / 10, len(samples), options.subsets).astype(int))
    distances = [
        _distance(samples, draw.choice(len(samples), count, replace=False), reference) for count in counts
    ]
    _, at_infinity = np.polyfit(1 / counts, distances, 1)
    few = int(counts[0]) <= features.size
    warning = f"{counts[0]:,} samples for {features.size:,} dimensions: there the bias is not linear in 1/N"
    settings = comparison.about(
        features, warning if few else None, n_samples=len(samples), reference_images=reference.count
    )
    return [Value(float(at_infinity), None, settings, features.hash)]


def _distance(samples: "Tensor", index: "object", reference: "Moments") -> float:
    import torch

    from rdbench.numerics.frechet import MomentSum, frechet_distance

    total = MomentSum()
    total.add(samples[torch.as_tensor(index, device=samples.device)])
    return frechet_distance(total.moments(), reference)


METRIC = Metric(
    "fd_infinity",
    "Fréchet distance extrapolated to infinitely many samples, in the features of any network",
    FdInfinityOptions,
    compute,
    (Quantity("fd_infinity", "lower", positive=False),),
    missing=missing,
    needs=("prior",),
)
