"""Rate and distortion of a trained network: measured once an image, then read in every way."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from rdbench.datasets import Dataset, Split
from rdbench.numerics.likelihood import OWN, STORED_READINGS, bits_per_dim, distortion, psnr
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import Trial
from rdbench.vae import augment
from rdbench.vae.batches import Images, channels_last
from rdbench.vae.models import Model, Standard
from rdbench.vae.networks import GaussianNetwork
from rdbench.vae.packs import together

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
    """

    sse: Float64
    rate: Float64 | None
    distortion: Float64 | None = None


def _batches(
    pack: Sequence[Trial], data: Dataset, split: Split, name: str, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, noise) for a pack under its protocol, member by member along the second dimension.

    ``clean``: every image, unchanged. ``paper``: as the released code, with the training augmentation and
    without the last partial batch.
    """
    trial = pack[0]
    images = Images(split, device)
    paper = trial.protocol == "paper"
    kind = data.augmentation if paper and trial.train.augment else "none"
    size = trial.train.batch_size if paper else EVALUATION_BATCH
    count = len(images) // size * size if paper else len(images)
    generators = {
        one.seed: [generator(one.seed, f"evaluate/{what}/{name}", device) for what in ("noise", "augment")]
        for one in pack
    }
    for start in range(0, count, size):
        index = torch.arange(start, min(start + size, count))
        stored = images.batch(index)
        batch, noise = {}, {}
        for seed, (for_noise, for_augmentation) in generators.items():
            noise[seed] = torch.randn(len(index), trial.model.latent, generator=for_noise, device=device)
            parameters = augment.draw(kind, len(index), *data.shape[1:], for_augmentation)
            batch[seed] = augment.apply(kind, stored, parameters)
        members = torch.cat([batch[trial.seed] for trial in pack], 1)
        yield channels_last(members), torch.cat([noise[trial.seed] for trial in pack], 1)


@torch.no_grad()
def measure(
    network: GaussianNetwork | Model, pack: Sequence[Trial], data: Dataset, name: str, device: torch.device
) -> list[Measurement]:
    """Return squared error and rate of every image of a split for each trial, by one latent sample an image.

    Args:
        network: in evaluation mode on ``device``; with a member for each trial, or the model of a single one.
        pack: gives protocol, seeds and batch size; ``paper`` leaves out the last partial batch.
        data: the dataset.
        name: "train" or "test".
        device: where to compute, in float32, summed in float64.
    """
    network = network.network if isinstance(network, Standard) else network
    measured = together(network, pack, math.prod(data.shape))
    batches = _batches(pack, data, getattr(data, name), name, device)
    parts = [measured.measure(images, noise) for images, noise in batches]  # no waiting for the device inside
    values = {what: torch.cat([part[what] for part in parts]) for what in parts[0]}
    measurements: list[dict[str, Any]] = [
        {what: images[:, member].contiguous().cpu().numpy() for what, images in values.items()}
        for member in range(len(pack))
    ]
    return [Measurement(**{"rate": None} | measurement) for measurement in measurements]


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

    Args:
        measured: of one split.
        split: its name.
        beta: the trial's.
        n: values in one image.
        native: the reading whose distortion the variant's loss minimises, if there is one.
        pixels: values are in [0, 1], so PSNR and bits per dimension have a meaning.
    """
    rate, rate_se = _mean_and_error(measured.rate)
    sse = float(measured.sse.mean())
    distortions: dict[str, Float64] = {
        reading: distortion(reading, measured.sse, beta, n) for reading in STORED_READINGS
    }
    if measured.distortion is not None:
        distortions[OWN] = measured.distortion
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
                "psnr": float(psnr(sse / n)) if pixels else None,
                "bits_per_dim": float(bits_per_dim(elbo, n)) if pixels and elbo is not None else None,
            }
        )
    return rows


def _png(image: Tensor) -> bytes:
    """Encode one image (channels, height, width); values are clipped to [0, 1], never stretched."""
    pixels = image.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
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
    if not model.rate_free:  # else there is no prior to sample from
        kinds["sample"] = model.mean(model.decode(model.prior(count, noise)))
    return [
        {"kind": kind, "index": index, "png": _png(image)}
        for kind, images in kinds.items()
        for index, image in enumerate(images)
    ]
