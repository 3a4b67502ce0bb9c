"""The Fréchet distance in features of a small classifier, trained on the dataset's own labels.

Inception sees digits poorly. This works offline and for any labelled dataset, but is no FID: figures compare
only at equal classifier weights (``feature_hash``), of which a sweep has one set, stored with its results;
``test_accuracy`` says how good the classifier is.

Samples of the prior, decoded, against all images of a split; lower is better. The distance falls with the
number of samples, so compare only at equal ones; the standard error says how far chance moves it.
"""

from functools import partial

from pydantic import Field

from rdbench.metrics.base import Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.metrics.features import comparison
from rdbench.metrics.features.comparison import SplitName


class FdClassifierOptions(MetricOptions):
    """Options of ``fd_classifier``.

    Attributes:
        samples: from the prior. Their features are kept in memory, 0.5 kB a sample.
        split: the images to compare with. The classifier was trained on ``train``, which it may tell apart
            better than what it has not seen.
    """

    name: str = "fd_classifier"
    samples: int = Field(default=10_000, ge=2, le=1_000_000)
    split: SplitName = "train"


def compute(options: FdClassifierOptions, model: TrainedModel) -> list[Value]:
    """Return the distance.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite.
    """
    features = comparison.network("classifier", model)
    return [comparison.distance_of_samples(model, features, options.samples, options.split)]


METRIC = Metric(
    "fd_classifier",
    "Fréchet distance of prior samples to the dataset's images, in features of its own classifier",
    FdClassifierOptions,
    compute,
    (Quantity("fd_classifier", "lower"),),
    missing=partial(comparison.missing, "classifier"),
    needs=("prior",),
)
