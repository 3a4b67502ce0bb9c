"""A model's images beside a dataset's own, in one feature network: what several metrics share.

The protocol says how samples become images, and how Inception has them resized: under clean, clipped to [0,
1] and ``clean``; under paper, each stretched to span [0, 1] and ``legacy_pytorch``. The dataset's images are
taken as they are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rdbench.errors import DatasetError
from rdbench.metrics.features import FeatureName, Features

if TYPE_CHECKING:
    from torch import Tensor

    from rdbench.datasets import Dataset, Split
    from rdbench.metrics.base import MetricOptions, TrainedModel, Value
    from rdbench.metrics.features.own import OwnFeatures
    from rdbench.metrics.features.weights import Mode
    from rdbench.numerics.frechet import Moments


SplitName = Literal["train", "test"]

LEAST = 2  # images of a split: one has neither a covariance nor pairs

_MODES: "dict[str, Mode]" = {"clean": "clean", "paper": "legacy_pytorch"}


def missing(
    name: "FeatureName | OwnFeatures", options: "MetricOptions", data: "Dataset", protocol: str
) -> str | None:
    """Return what a comparison needs and is not there, with the fix, in one line; None if all is.

    Imports no torch. Weights are compared with what was published; others are opened by :func:`unusable`.

    Args:
        name: the feature network.
        options: of the metric. Of them count ``split``, by default "test"; ``images``, how many of these to
            take at most; and ``weights``, a local file in place of Inception's published ones.
        data: the dataset.
        protocol: of the trials.
    """
    split: SplitName = getattr(options, "split", "test")
    images: int | None = getattr(options, "images", None)
    weights: Path | None = getattr(options, "weights", None)
    from rdbench.metrics.features.class_labels import find_classes
    from rdbench.metrics.features.weights import PUBLISHED, WeightsError, identify, is_there

    if data.train.images.dtype != "uint8":
        return (
            f"{data.name} holds {data.train.images.dtype} values, and a feature network takes uint8 images; "
            "leave out what needs one"
        )
    if min(images or LEAST, len(split_of(data, split).images)) < LEAST:
        more = "images: 2, or more" if images == 1 else f"more images (dataset.{split}_images)"
        return f"one image of the {split} split has no covariance; take {more}, or leave it out"
    if not isinstance(name, str):
        return name.missing
    file = _weights(protocol, weights)
    try:
        if name == "classifier":
            find_classes(data)
            return None
        if data.shape[0] not in (1, 3):
            channels = f"and {data.name} has {data.shape[0]}; leave it out"
            return f"Inception takes images of 1 or 3 channels, {channels}"
        if is_there(file):
            identify(_MODES[protocol], file)
            return None
    except (DatasetError, WeightsError) as error:
        return str(error)
    if weights is not None:
        return f"{file}, which was given as Inception's weights, is no file; correct it, or leave weights out"
    needed = PUBLISHED[_MODES[protocol]].file
    return f"Inception's weights {needed} are not in {file.parent}; run `rdbench weights`, or give a file"


def unusable(
    name: "FeatureName | OwnFeatures", data: "Dataset", protocol: str, weights: Path | None = None
) -> str | None:
    """Return why a feature network, whose file is there, cannot be opened; None if it can. Imports torch."""
    import torch

    from rdbench.errors import SpecError
    from rdbench.metrics.features import inception, opening
    from rdbench.metrics.features.weights import WeightsError

    try:
        if not isinstance(name, str):
            opening.load(name, data.shape, torch.device("cpu"))
        elif name == "inception":
            inception.load(_MODES[protocol], _weights(protocol, weights), torch.device("cpu"))
    except (SpecError, WeightsError, ValueError) as error:
        return str(error)
    return None


def network(
    name: "FeatureName | OwnFeatures", model: "TrainedModel", weights: Path | None = None
) -> Features:
    """Open a feature network on the model's device; the classifier is trained now unless there is one.

    Raises WeightsError: Inception's weights, or the file ``weights`` in their place, are missing or others;
    of one of the user's own as :func:`rdbench.metrics.features.opening.load`; else as
    :func:`rdbench.metrics.features.classifier.classifier`.
    """
    if not isinstance(name, str):
        from rdbench.metrics.features import opening

        return opening.load(name, model.data.shape, model.device)
    if name == "classifier":
        from rdbench.metrics.features.classifier import classifier

        return classifier(model.data, model.device, model.classifier)
    from rdbench.metrics.features import inception

    return inception.load(_MODES[model.protocol], _weights(model.protocol, weights), model.device)


def prior_samples(model: "TrainedModel", features: Features, count: int) -> "Iterator[Tensor]":
    """Yield ``count`` prior samples, as the model's protocol turns them into uint8 images, in batches."""
    from rdbench.metrics.features import samples

    return samples.prior_samples(model, count, features.batch, stretch=model.protocol == "paper")


def sample_features(model: "TrainedModel", features: Features, count: int) -> "Tensor":
    """Return the features of ``count`` prior samples, float32 (count, size) on the model's device."""
    import torch

    from rdbench.metrics.features.reference import stacked

    return torch.from_numpy(stacked(features, prior_samples(model, features, count))).to(model.device)


def reference_moments(model: "TrainedModel", features: Features, split: SplitName) -> "Moments":
    """Return mean and covariance of the features of all images of a split, from the cache."""
    from rdbench.metrics.features import reference

    images, checksum = split_of(model.data, split).images, model.data.checksum
    return reference.reference_moments(features, images, model.device, dataset=checksum, split=split)


def reference_features(model: "TrainedModel", features: Features, split: SplitName, count: int) -> "Tensor":
    """Return cached features of ``count`` images of a split, or all, float32 (images, size) on the device."""
    import torch

    from rdbench.metrics.features import reference

    images = split_of(model.data, split).images
    where = {"dataset": model.data.checksum, "split": split}
    size = min(count, len(images))
    arrays = reference.reference_features(features, images, model.device, **where, count=size)
    return torch.from_numpy(arrays).to(model.device)


def distance(
    sampled: "Moments", reference: "Moments", features: Features, error: float | None = None
) -> "Value":
    """Return the Fréchet distance of prior samples to a split's images, by their moments."""
    from rdbench.metrics.base import Value
    from rdbench.numerics.frechet import few_samples_warning, frechet_distance

    warning = few_samples_warning(min(sampled.count, reference.count), features.size)
    settings = about(features, warning, n_samples=sampled.count, reference_images=reference.count)
    return Value(frechet_distance(sampled, reference), error, settings, features.hash)


def distance_of_samples(model: "TrainedModel", features: Features, amount: int, split: SplitName) -> "Value":
    """Return the Fréchet distance of so many prior samples to a split's images, with its standard error.

    ValueError: a sample is not finite.
    """
    import torch

    from rdbench.numerics.frechet import MomentSum, frechet_standard_error

    reference = reference_moments(model, features, split)
    samples = sample_features(model, features, amount)
    total = MomentSum()
    for part in torch.split(samples, features.batch):
        total.add(part)
    sampled = total.moments()
    return distance(sampled, reference, features, frechet_standard_error(samples, sampled, reference))


def about(features: Features, warning: str | None = None, **more: Any) -> dict[str, Any]:
    """Return settings of a value: what is known of its feature network, ``more``, and a warning if any.

    ``weights`` is an option, so whether Inception's are the published ones is called ``network``.
    """
    known = {"network" if name == "weights" else name: value for name, value in features.settings.items()}
    return known | more | ({"warning": warning} if warning else {})


def _weights(protocol: str, weights: Path | None) -> Path:
    from rdbench.metrics.features.weights import target

    return weights or target(_MODES[protocol])


def split_of(data: "Dataset", split: SplitName) -> "Split":
    """Return a split of a dataset."""
    return data.train if split == "train" else data.test
