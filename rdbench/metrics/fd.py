"""The Fréchet distance in the features of any network: FD-DINOv2 with DINOv2, say.

Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion
models", NeurIPS 2023, found that in DINOv2's features it agrees with people better than in Inception's. Which
network it is, is part of the value: figures compare only at equal ``features`` and weights.

Samples of the prior, decoded, against all images of a split; lower is better. The distance falls with the
number of samples, so compare only at equal ones, or take ``fd_infinity``; the standard error says how far
chance moves it.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from rdbench.metrics.base import InceptionWeights, Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.metrics.features import comparison
from rdbench.metrics.features.comparison import SplitName
from rdbench.metrics.features.own import AnyFeatures

if TYPE_CHECKING:
    from rdbench.datasets import Dataset


class FdOptions(MetricOptions):
    """Options of ``fd``.

    Attributes:
        features: the network: ``classifier``, ``inception``, or one of your own, such as
            ``my_features.py:embed``, or a file of TorchScript.
        samples: from the prior. Their features are kept in memory.
        split: the images to compare with.
        weights: a local file of Inception's weights, in place of the published ones.
    """

    name: str = "fd"
    features: AnyFeatures = "classifier"
    samples: int = Field(default=10_000, ge=2, le=1_000_000)
    split: SplitName = "train"
    weights: InceptionWeights = None


def compute(options: FdOptions, model: TrainedModel) -> list[Value]:
    """Return the distance.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite.
    """
    features = comparison.network(options.features, model, options.weights)
    return [comparison.distance_of_samples(model, features, options.samples, options.split)]


def missing(options: FdOptions, data: "Dataset", protocol: str) -> str | None:
    """Return what is missing for the features that are asked for; None if nothing is."""
    return comparison.missing(options.features, options, data, protocol)


METRIC = Metric(
    "fd",
    "Fréchet distance of prior samples to the dataset's images, in the features of any network",
    FdOptions,
    compute,
    (Quantity("fd", "lower"),),
    missing=missing,
    needs=("prior",),
)
