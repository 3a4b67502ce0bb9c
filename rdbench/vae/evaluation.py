"""Rate and distortion of a trained network: measured once an image, then read in every way."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from rdbench.datasets import Dataset
from rdbench.numerics.binned import binned_nll
from rdbench.numerics.likelihood import (
    OWN,
    STORED_READINGS,
    bits_per_dim,
    distortion,
    kl_standard_normal,
    psnr,
)
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import Trial
from rdbench.vae import augment
from rdbench.vae.batches import Images, channels_last, on_host
from rdbench.vae.models import Model, Standard

EVALUATION_BATCH = 500  # fixed: the result must not depend on the training's batch size
PICTURES = 16  # of each kind that are kept

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """The sufficient statistics of the images of one split, each (images,).

    Attributes:
        sse: squared error, summed over the image's values.
        rate: in nats; None of a deterministic model, which has none.
        distortion: in nats, under a likelihood of the model's own; None where it has none.
        binned: -ln P of the 8-bit image under the Gaussian of sigma^2 fitted on the training split, in nats
            (:mod:`rdbench.numerics.binned`); None of the training split, and of other than 8-bit images.
    """

    sse: Float64
    rate: Float64 | None
    distortion: Float64 | None = None
    binned: Float64 | None = None


def _batches(trial: Trial, data: Dataset, name: str, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, noise) for a trial under its protocol.

    ``clean``: every image, unchanged. ``paper``: as the released code, with the training augmentation and
    without the last partial batch.
    """
    images = Images(getattr(data, name), device)
    paper = trial.protocol == "paper"
    kind = data.augmentation if paper and trial.train.augment else "none"
    size = trial.train.batch_size if paper else EVALUATION_BATCH
    count = len(images) // size * size if paper else len(images)
    for_noise, for_augmentation = (
        generator(trial.seed, f"evaluate/{what}/{name}", device) for what in ("noise", "augment")
    )
    for start in range(0, count, size):
        index = torch.arange(start, min(start + size, count))
        noise = torch.randn(len(index), trial.model.latent, generator=for_noise, device=device)
        parameters = augment.draw(kind, len(index), *data.shape[1:], for_augmentation)
        yield channels_last(augment.apply(kind, images.batch(index), parameters)), noise


def training_images(trial: Trial, data: Dataset, device: torch.device) -> Iterator[Tensor]:
    """Yield the training images that a trial is measured on, in batches; protocol ``paper`` augments them."""
    return (images for images, _ in _batches(trial, data, "train", device))


def _values(model: Model, images: Tensor, noise: Tensor, variance: Tensor | None) -> dict[str, Tensor]:
    """Return what a :class:`Measurement` of a batch holds, as far as the model has it, each (batch,)."""
    terms = model(images, noise)
    rate = terms.rate
    if isinstance(model, Standard):  # whose rate is known in closed form, so to all digits
        mean, log_var = terms.posterior
        rate = kl_standard_normal(mean.double(), log_var.double())
    values = {
        "sse": (images - terms.reconstruction).double().square().flatten(1).sum(1),
        "rate": None if model.rate_free else rate,
        "distortion": model.distortion(images, terms),
    }
    if variance is not None:
        values["binned"] = binned_nll(images, terms.reconstruction, variance).flatten(1).sum(1)
    return {what: numbers.double() for what, numbers in values.items() if numbers is not None}


@torch.no_grad()
def measure(
    model: Model,
    trial: Trial,
    data: Dataset,
    name: str,
    device: torch.device,
    variance: float | None = None,
) -> Measurement:
    """Return squared error and rate of every image of a split, by one latent sample an image.

    The ``model`` is in evaluation mode on ``device``; it computes in float32, summed in float64. The trial
    gives protocol, seed and batch size; ``paper`` leaves out the last partial batch. ``name`` is one of
    ``data.splits``. ``variance`` is the decoder's, for the binned likelihood, which else is not measured.
    """
    sigma2 = None if variance is None else torch.tensor(variance, dtype=torch.float64, device=device)
    # No waiting for the device inside.
    parts = [_values(model, *batch, sigma2) for batch in _batches(trial, data, name, device)]
    values = {what: on_host(torch.cat([part[what] for part in parts])).numpy() for what in parts[0]}
    measured: dict[str, Any] = {"rate": None} | values
    return Measurement(**measured)


def measure_splits(model: Model, trial: Trial, data: Dataset, device: torch.device) -> dict[str, Measurement]:
    """Return what :func:`measure` returns, by split; the binned likelihood of all but the training split."""
    measured = {"train": measure(model, trial, data, "train", device)}
    variance = float(measured["train"].sse.mean()) / math.prod(data.shape)
    # Of images as they are stored: an augmented one has values between the 256 levels. And without any error
    # in training there is no density to integrate.
    binned = data.train.images.dtype == np.uint8 and trial.protocol == "clean" and variance > 0
    for split in [name for name in data.splits if name != "train"]:
        measured[split] = measure(model, trial, data, split, device, variance if binned else None)
    return measured


def _mean_and_error(values: Float64 | None) -> tuple[float | None, float | None]:
    """Return mean and standard error over images; None of what was not measured.

    One image has no standard error, nor has an infinite mean: an image reconstructed exactly has a
    distortion of -inf where the variance follows the error.
    """
    if values is None:
        return None, None
    mean = float(values.mean())
    if len(values) == 1 or not math.isfinite(mean):
        return mean, None
    return mean, float(values.std(ddof=1) / math.sqrt(len(values)))


def point_rows(
    measured: Measurement, split: str, beta: float, n: int, native: str | None, pixels: bool
) -> list[dict[str, Any]]:
    """Return a row of ``points`` for each stored reading of sigma^2, and for its own likelihood if any.

    An image has ``n`` values. ``native``: the reading whose distortion the variant's loss minimises, if there
    is one. ``pixels``: values are in [0, 1], so PSNR and bits per dimension have a meaning.
    """
    rate, rate_se = _mean_and_error(measured.rate)
    sse = float(measured.sse.mean())
    distortions: dict[str, Float64] = {
        reading: distortion(reading, measured.sse, beta, n) for reading in STORED_READINGS
    }
    if measured.distortion is not None:
        distortions[OWN] = measured.distortion
    binned = None if measured.binned is None or measured.rate is None else measured.binned + measured.rate
    rows = []
    for reading, per_image in distortions.items():
        mean, mean_se = _mean_and_error(per_image)
        elbo, elbo_se = _mean_and_error(None if measured.rate is None else -(per_image + measured.rate))
        rows.append(
            {
                "split": split,
                "reading": reading,
                "native": reading == native,
                "n_images": len(measured.sse),
                "rate": rate,
                "rate_se": rate_se,
                "distortion": mean,
                "distortion_se": mean_se,
                "elbo": elbo,
                "elbo_se": elbo_se,
                "sse": sse,
                "mse": sse / n,
                "psnr_of_mse": float(psnr(sse / n)) if pixels else None,
                "density_bits_per_dim": float(bits_per_dim(elbo, n)) if pixels and elbo is not None else None,
                "binned_bits_per_dim": None if binned is None else float(binned.mean()) / (n * math.log(2)),
            }
        )
    return rows


def _png(image: Tensor) -> bytes:
    """Encode one image (channels, height, width); values are clipped to [0, 1], never stretched."""
    pixels = image.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@torch.no_grad()
def picture_rows(model: Model, trial: Trial, data: Dataset, device: torch.device) -> list[dict[str, Any]]:
    """Return rows of ``images``: the first test images, their reconstructions, and prior samples."""
    count = min(PICTURES, len(data.test.images))
    originals = Images(data.test, device).batch(torch.arange(count))
    noise = generator(trial.seed, "evaluate/pictures", device)
    epsilon = torch.randn(count, trial.model.latent, generator=noise, device=device)
    terms = model(channels_last(originals), epsilon)
    kinds = {"original": originals, "reconstruction": terms.reconstruction}
    if model.decodes and not model.rate_free:  # else there is no prior to sample from
        kinds["sample"] = model.mean(model.decode(model.prior(count, noise)))
    return [
        {"kind": kind, "index": index, "png": _png(image)}
        for kind, images in kinds.items()
        for index, image in enumerate(on_host(images))
    ]
