"""The kernel inception distance: the squared maximum mean discrepancy of Inception's features, or others.

Binkowski, Sutherland, Arbel & Gretton, "Demystifying MMD GANs", ICLR 2018. Samples of the prior, decoded,
against images of a split; lower is better. It is unbiased: its mean does not depend on how many there are,
and it may fall below zero. How samples become images, and how those are resized, is as ``fid`` has it under
each protocol.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from rdbench.metrics.base import InceptionWeights, Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.metrics.features import comparison
from rdbench.metrics.features.comparison import SplitName
from rdbench.metrics.features.own import AnyFeatures


class KidOptions(MetricOptions):
    """Options of ``kid``.

    Attributes:
        features: the network: ``inception``, ``classifier``, or one of your own, such as
            ``my_features.py:embed``, or a file of TorchScript.
        samples: from the prior, and images of the split, the same random ones each time; all of them, where
            it has no more. All features are kept in memory, 8 kB a sample and 8 kB an image.
        subsets: how many random subsets the distance is averaged over.
        subset_size: samples, and images, in each.
        split: the images to compare with.
        weights: a local file of Inception's weights, in place of the published ones.
    """

    # For rows of kid from when it looked through Inception alone.
    before: ClassVar[Mapping[str, Any]] = {"features": "inception"}
    omitted: ClassVar[frozenset[str]] = frozenset({"features"})

    name: str = "kid"
    features: AnyFeatures = "inception"
    samples: int = Field(default=10_000, ge=2, le=100_000)
    subsets: int = Field(default=100, ge=1, le=10_000)
    subset_size: int = Field(default=1000, ge=2, le=100_000)
    split: SplitName = "train"
    weights: InceptionWeights = None


def compute(options: KidOptions, model: TrainedModel) -> list[Value]:
    """Return the distance; subsets are no larger than the smaller of the two sets, and then say so.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite.
    """
    import numpy as np

    from rdbench.numerics.kid import kid
    from rdbench.numerics.seeding import generator

    features = comparison.network(options.features, model, options.weights)
    reference = comparison.reference_features(model, features, options.split, options.samples)
    sampled = comparison.sample_features(model, features, options.samples)
    draw = np.random.default_rng(generator(model.seed, "metric/kid").initial_seed())
    value, error = kid(sampled, reference, options.subsets, options.subset_size, generator=draw)
    smaller = min(len(sampled), len(reference))
    warning = f"subsets of {smaller:,}: there are no more" if smaller < options.subset_size else None
    settings = comparison.about(features, warning, n_samples=len(sampled), reference_images=len(reference))
    return [Value(value, error, settings, features.hash)]


METRIC = Metric(
    "kid",
    "kernel inception distance of prior samples to the dataset's images",
    KidOptions,
    compute,
    (Quantity("kid", "lower", has_zero=False, positive=False),),  # its values scatter about zero
    missing=lambda options, data, protocol: comparison.missing(options.features, options, data, protocol),
    needs=("prior",),
)
