"""Precision, recall, density and coverage: do samples look real, and is all that is real sampled?

Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019;
Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML 2020. Samples of the
prior, decoded, against as many images of a split; higher is better. Compare only at equal numbers: both sets
have the same size, smaller than asked for where the split is. Precision and density have a standard error
over the samples, the images held fixed.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from rdbench.metrics.base import InceptionWeights, Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.metrics.features import comparison
from rdbench.metrics.features.comparison import SplitName
from rdbench.metrics.features.own import AnyFeatures

if TYPE_CHECKING:
    from rdbench.datasets import Dataset


def _has_neighbours(k: int, info: ValidationInfo) -> int:
    samples = info.data.get("samples")
    if samples is not None and k >= samples:
        raise ValueError(f"{samples} samples have no neighbour number {k}; use a smaller k, or more samples")
    return k


class PrdcOptions(MetricOptions):
    """Options of ``prdc``.

    Attributes:
        features: the network: ``classifier``, ``inception``, or one of your own, such as
            ``my_features.py:embed``, or a file of TorchScript.
        samples: from the prior, and images of the split, the same random ones each time. Time grows with the
            square.
        k: which nearest neighbour a ball reaches to.
        split: the images to compare with.
        weights: a local file of Inception's weights, in place of the published ones.
    """

    name: str = "prdc"
    features: AnyFeatures = "classifier"
    samples: int = Field(default=10_000, ge=2, le=100_000)
    k: Annotated[int, AfterValidator(_has_neighbours)] = Field(default=5, ge=1, validate_default=True)
    split: SplitName = "train"
    weights: InceptionWeights = None


def compute(options: PrdcOptions, model: TrainedModel) -> list[Value]:
    """Return the four numbers, told apart by ``quantity``.

    Raises as :func:`comparison.network`; ValueError: a sample is not finite, or the split has too few images
    for ``k``.
    """
    from rdbench.numerics.prdc import prdc

    features = comparison.network(options.features, model, options.weights)
    reference = comparison.reference_features(model, features, options.split, options.samples)
    count = len(reference)
    figures = prdc(reference, comparison.sample_features(model, features, count), options.k)

    def value(quantity: str, error: float | None = None) -> Value:
        settings = comparison.about(features, quantity=quantity, n_samples=count, reference_images=count)
        return Value(getattr(figures, quantity), error, settings, features.hash)

    return [
        value("precision", figures.precision_error),
        value("recall"),
        value("density", figures.density_error),
        value("coverage"),
    ]


def _missing(options: PrdcOptions, data: "Dataset", protocol: str) -> str | None:
    split, k = options.split, options.k
    if reason := comparison.missing(options.features, options, data, protocol):
        return reason
    count = min(options.samples, len(comparison.split_of(data, split).images))
    if k < count:
        return None
    return (
        f"the {count} images of the {split} split have no neighbour number {k}; use k: {count - 1} at most,"
        f" or more images (dataset.{split}_images)"
    )


METRIC = Metric(
    "prdc",
    "precision, recall, density and coverage of prior samples",
    PrdcOptions,
    compute,
    tuple(
        Quantity(name, "higher", positive=False) for name in ("precision", "recall", "density", "coverage")
    ),
    missing=_missing,
    needs=("prior",),
)
