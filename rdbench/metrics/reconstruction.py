"""How near reconstructions are to the images: PSNR, SSIM and MS-SSIM, means over test images; rFID.

A reconstruction is the decoder's mean at one sample of q(z|x), as the distortion is measured, clipped to
[0, 1] and not rounded to 256 levels. Higher is better.

- ``psnr``: -10 log10 of an image's mean squared error, in decibels. The mean is over images; ``psnr_of_mse``
  of the results' points is that of the mean error, which is lower by Jensen's inequality, and unclipped.
- ``psnr_at_mean``: the same of the decoder's mean at the mean of q(z|x) in place of a sample, which is what
  most papers on autoencoders print. A model whose posterior is no Gaussian is given noise of zeros.
- ``ssim``: Wang, Bovik, Sheikh & Simoncelli, "Image quality assessment: from error visibility to structural
  similarity", IEEE TIP 2004: Gaussian windows of 11x11, sigma 1.5; the mean over windows and channels.
- ``ms_ssim``: Wang, Simoncelli & Bovik, "Multiscale structural similarity for image quality assessment",
  Asilomar 2003: five scales, each half the size of the one before; negative terms count as 0.

The windows are torchmetrics', the means are not: it counts windows that reach over the border into a mirrored
image, unlike the papers, scikit-image and TensorFlow; on 28x28 images more than half of all windows. Here
they are over the windows within the image, of which every scale must have one: SSIM needs 11x11 pixels,
MS-SSIM 176x176. No library scales MS-SSIM down: with fewer scales, or other windows, its weights are no
longer those that were fitted to people's judgements, and the number is another. So on smaller images it is
left out; a sweep that names it in ``measures``, or whose search rests on it, is refused before it trains.

If a feature network is named, the reconstructions, rounded, are also compared with the test images as a set,
by the Fréchet distance: ``rfid`` in Inception's features, ``rfd_classifier`` in those of the dataset's
classifier, as in ``fid`` and ``fd_classifier``. Lower is better.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from rdbench.metrics.base import (
    ImageCount,
    InceptionWeights,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
    decibels,
    distinct,
    mean_value,
)
from rdbench.metrics.features import comparison
from rdbench.numerics.likelihood import psnr

if TYPE_CHECKING:
    from torch import Tensor

    from rdbench.datasets import Dataset
    from rdbench.metrics.features import FeatureName

WINDOW = 11  # of SSIM, in both directions
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli & Bovik 2003
LEAST = {"psnr": 1, "psnr_at_mean": 1, "ssim": WINDOW, "ms_ssim": WINDOW << len(SCALE_WEIGHTS) - 1}
"""Pixels a side that a measure takes."""
VALUES_AT_ONCE = 2**20  # pixels compared at once: the windows' statistics take about 100 bytes each


MeasureName = Literal["psnr", "psnr_at_mean", "ssim", "ms_ssim"]


class ReconstructionOptions(MetricOptions):
    """Options of ``reconstruction``.

    Attributes:
        images: the first so many test images; ``all`` or null for every one.
        measures: what to take the mean of; null for all that the images' size allows.
        features: the network of the Fréchet distance; ``none`` leaves that out.
        weights: a local file of Inception's weights, in place of the published ones.
    """

    name: str = "reconstruction"
    images: ImageCount = None
    measures: Annotated[tuple[MeasureName, ...], Field(min_length=1), AfterValidator(distinct)] | None = None
    features: Literal["none", "classifier", "inception"] = "none"
    weights: InceptionWeights = None

    def settings(self) -> dict[str, Any]:
        """Return the options; measures only if some are chosen, so that rows without a choice answer."""
        return {name: value for name, value in super().settings().items() if name != "measures" or value}

    def offers(self, quantity: str) -> bool:
        """Tell whether a quantity is asked for."""
        if quantity in LEAST:
            return quantity in (self.measures or LEAST)
        return quantity == {"inception": "rfid", "classifier": "rfd_classifier"}.get(self.features)


def compute(options: ReconstructionOptions, model: TrainedModel) -> list[Value]:
    """Return the means over images of the measures asked for, by default those that the images' size allows.

    An image without any error has an infinite PSNR: it is left out of that mean, and counted in its settings
    as ``without_error``; ``n_images`` counts it too.

    Raises ValueError: images are no pixels in [0, 1], a reconstruction is not finite, or none has an error.
    """
    import torch

    side = min(model.test_images(torch.arange(1)).shape[2:])
    measures = [name for name, least in LEAST.items() if options.offers(name) and side >= least]
    measured: dict[str, list[Tensor]] = {name: [] for name in measures}
    count = min(options.images or model.n_test, model.n_test)
    for at_mean in (False, True):
        wanted = [name for name in measures if (name == "psnr_at_mean") == at_mean]
        with torch.no_grad():
            for images, reconstructions in _pairs(model, count, at_mean) if wanted else ():
                for name in wanted:
                    measured[name].append(_MEASURES[name](images, reconstructions))
    values = []
    for name, parts in measured.items():
        per_image = torch.cat(parts).double().cpu()
        finite = per_image[per_image.isfinite()] if _MEASURES[name] is _psnr else per_image
        if not len(finite):
            raise ValueError("no reconstruction has any error: the PSNR of each is infinite")
        left_out = {"without_error": count - len(finite)} if len(finite) < count else {}
        # Of all images: a number that one perfect image changed would make another column of the same metric.
        values.append(mean_value(finite, quantity=name, n_images=count, **left_out))
    if options.features != "none":
        values.append(_distance(options, options.features, model, count))
    return values


def _distance(options: ReconstructionOptions, name: "FeatureName", model: TrainedModel, count: int) -> Value:
    """Return the Fréchet distance of the first ``count`` reconstructions to the images they are of."""
    from rdbench.metrics.features.reference import moments, reference_moments
    from rdbench.metrics.features.samples import reconstructions
    from rdbench.numerics.frechet import few_samples_warning, frechet_distance

    features = comparison.network(name, model, options.weights)
    data = model.data
    reference = reference_moments(
        features,
        data.test.images[:count],
        model.device,
        dataset=data.checksum,
        # The first images are others than those that a count would choose from the split.
        split="test" if count == len(data.test.images) else f"first {count} of test",
    )
    decoded = moments(features, reconstructions(model, features.batch, count))
    warning = few_samples_warning(count, features.size)
    quantity = {"inception": "rfid", "classifier": "rfd_classifier"}[name]
    settings = comparison.about(features, warning, quantity=quantity, n_images=count)
    return Value(frechet_distance(decoded, reference), None, settings, features.hash)


def _pairs(model: TrainedModel, count: int, at_mean: bool = False) -> "Iterator[tuple[Tensor, Tensor]]":
    """Yield images and clipped reconstructions, at the posteriors' means or at samples of them."""
    import torch

    from rdbench.metrics.features.samples import reconstructed

    for images, decoded in reconstructed(model, count, at_mean):
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise ValueError(
                "the images are not pixels in [0, 1], so there is no peak to compare an error to"
            )
        if not bool(decoded.isfinite().all()):
            raise ValueError("some reconstruction is not finite")
        at_once = max(1, VALUES_AT_ONCE // images[0].numel())
        yield from zip(torch.split(images, at_once), torch.split(decoded.clamp(0, 1), at_once), strict=True)


def ssim(images: "Tensor", others: "Tensor") -> "Tensor":
    """Return the structural similarity of pairs of images, (batch,), over the windows within them.

    Values are in [0, 1], (batch, channels, height, width), 11x11 or larger.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    # Asked for the map as well, it returns one value a window, centred on each pixel.
    similarity = structural_similarity_index_measure(
        others, images, data_range=1.0, reduction="none", return_full_image=True
    )[1]
    edge = WINDOW // 2
    within: Tensor = similarity[..., edge:-edge, edge:-edge].flatten(1).mean(1)
    return within


def ms_ssim(images: "Tensor", others: "Tensor") -> "Tensor":
    """Return the multi-scale structural similarity of pairs of images, (batch,), as :func:`ssim` does.

    The structure (and contrast) of all scales but the last, and the similarity of the last, each to the power
    of its scale's weight. Images are 176x176 or larger; a side of odd length loses its last row when halved.
    """
    import torch
    from torch.nn.functional import avg_pool2d
    from torchmetrics.functional.image import structural_similarity_index_measure

    *finer, coarsest = SCALE_WEIGHTS
    product = torch.ones(len(images), device=images.device)
    for weight in finer:
        structure = structural_similarity_index_measure(
            others, images, data_range=1.0, reduction="none", return_contrast_sensitivity=True
        )[1]  # over the windows within the image
        product = product * structure.relu() ** weight
        images, others = avg_pool2d(images, 2), avg_pool2d(others, 2)
    similarity: Tensor = product * ssim(images, others).relu() ** coarsest
    return similarity


def _psnr(images: "Tensor", others: "Tensor") -> "Tensor":
    return psnr((images - others).double().square().flatten(1).mean(1))


_MEASURES = {"psnr": _psnr, "psnr_at_mean": _psnr, "ssim": ssim, "ms_ssim": ms_ssim}


def _too_small(options: ReconstructionOptions, data: "Dataset") -> dict[str, str]:
    """Return the measures that a dataset's images are too small for, and why."""
    height, width = data.shape[1:]
    return {
        name: f"{name} takes images of {least}x{least} pixels or more, and those of {data.name} have"
        f" {height}x{width}"
        for name, least in LEAST.items()
        if min(height, width) < least
    }


def _missing(options: ReconstructionOptions, data: "Dataset", protocol: str) -> str | None:
    for name, reason in _too_small(options, data).items():
        if name in (options.measures or ()):
            return f"{reason}; leave it out of measures"
    images = data.test.images[: options.images]
    if images.dtype != "uint8" and (images.min() < 0 or images.max() > 1):
        return f"{data.name} holds values that are no pixels in [0, 1], so an error has no peak; leave it out"
    if options.features == "none":
        return None
    return comparison.missing(options.features, options, data, protocol)


METRIC = Metric(
    "reconstruction",
    "means over images of PSNR (at a sample, and at the posterior's mean), SSIM, MS-SSIM; rFID if asked for",
    ReconstructionOptions,
    compute,
    (
        decibels("psnr", "mean of the images' PSNR at a sample of q(z|x), clipped"),
        decibels("psnr_at_mean", "mean of the images' PSNR at the mean of q(z|x), clipped"),
        Quantity("ssim", "higher", positive=False),
        Quantity("ms_ssim", "higher", positive=False),
        Quantity("rfid", "lower"),
        Quantity("rfd_classifier", "lower"),
    ),
    protocols=("clean",),
    missing=_missing,
    left_out=_too_small,
    needs=("encoder",),
)
