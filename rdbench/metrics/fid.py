"""The Fréchet inception distance: how far the means and covariances of Inception's features are apart.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS
2017. Samples of the prior, decoded, against all images of a split; lower is better.

    protocol clean   50,000 samples, clipped to [0, 1]                   clean-fid's resizing
    protocol paper   25,600 samples, each stretched to span [0, 1]       pytorch-fid's resizing

Samples are processed in batches, rounded to 256 levels as files would be, and only sums are kept, so memory
does not limit their number. The distance falls with it: figures compare only at equal ``n_samples`` and
``reference_images``. There is no standard error: the one that is cheap needs all features.
"""

from functools import partial
from typing import Annotated

from pydantic import Field

from rdbench.metrics.base import InceptionWeights, Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.metrics.features import comparison
from rdbench.metrics.features.comparison import SplitName

SAMPLES = {"clean": 50_000, "paper": 25_600}  # by protocol


class FidOptions(MetricOptions):
    """Options of ``fid``.

    Attributes:
        samples: from the prior; null is the protocol's own number.
        split: the images to compare with.
        weights: a local file of Inception's weights, in place of the published ones.
    """

    name: str = "fid"
    samples: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    split: SplitName = "train"
    weights: InceptionWeights = None


def compute(options: FidOptions, model: TrainedModel) -> list[Value]:
    """Return the distance.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite.
    """
    from rdbench.metrics.features.reference import moments

    features = comparison.network("inception", model, options.weights)
    reference = comparison.reference_moments(model, features, options.split)
    count = options.samples or SAMPLES[model.protocol]
    sampled = moments(features, comparison.prior_samples(model, features, count))
    return [comparison.distance(sampled, reference, features)]


METRIC = Metric(
    "fid",
    "Fréchet inception distance of prior samples to the dataset's images",
    FidOptions,
    compute,
    (Quantity("fid", "lower"),),
    missing=partial(comparison.missing, "inception"),
    needs=("prior",),
)
