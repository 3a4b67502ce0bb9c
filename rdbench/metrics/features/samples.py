"""Streams of uint8 images, in batches: what a model makes, and what a dataset holds.

Latents are drawn and decoded in blocks of a fixed size, so neither the size of batches nor how many images
follow changes a pixel. Values are rounded to 256 levels, as clean-fid does by way of files.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from rdbench.numerics.seeding import generator

if TYPE_CHECKING:
    from torch import Tensor

    from rdbench.metrics.base import TrainedModel

BLOCK = 500  # as many as evaluation passes through the network: no more memory than that took


def prior_samples(model: "TrainedModel", count: int, batch: int, stretch: bool) -> "Iterator[Tensor]":
    """Yield decoded latents z ~ p(z), uint8 (<= ``batch``, channels, height, width) on the model's device.

    The noise depends on the trial alone, and fewer samples are the first of more. ``stretch`` is as for
    :func:`to_uint8`, and so is the error.
    """
    for decoded in decoded_prior(model, count):
        yield from torch.split(to_uint8(decoded, stretch), batch)


def decoded_prior(model: "TrainedModel", count: int) -> "Iterator[Tensor]":
    """Yield the same as the decoder gives them, float32 (at most ``BLOCK``, channels, height, width)."""
    noise = generator(model.seed, "metric/samples", model.device)
    for start in range(0, count, BLOCK):
        with torch.no_grad():
            if model.prior is not None:
                z = model.prior(BLOCK, noise)
            else:
                z = torch.randn(BLOCK, model.latent, generator=noise, device=model.device)
            decoded = model.decode(z)
        yield decoded[: count - start]


def posterior_samples(model: "TrainedModel", count: int) -> "Iterator[Tensor]":
    """Yield the latents that :func:`reconstructed` decodes, (at most ``BLOCK``, latent)."""
    for images, epsilon in _with_noise(model, count):
        with torch.no_grad():
            if model.sample is not None:
                yield model.sample(images, epsilon)
            else:
                mean, log_var = model.encode(images)
                yield mean + epsilon * (log_var / 2).exp()


def _with_noise(model: "TrainedModel", count: int) -> "Iterator[tuple[Tensor, Tensor]]":
    noise = generator(model.seed, "metric/reconstructions", model.device)
    for index in torch.split(torch.arange(count), BLOCK):
        drawn = torch.randn(BLOCK, model.latent, generator=noise, device=model.device)
        yield model.test_images(index), drawn[: len(index)]


def reconstructed(
    model: "TrainedModel", count: int, at_mean: bool = False
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Yield the first ``count`` test images, and the decoder's mean at one sample of q(z|x) of each.

    A sample, as for the distortion, whose noise depends on the trial alone; or, ``at_mean``, noise of zeros,
    which gives the mean of a Gaussian. Both are (at most ``BLOCK``, channels, height, width).
    """
    for images, drawn in _with_noise(model, count):
        epsilon = torch.zeros_like(drawn) if at_mean else drawn
        with torch.no_grad():
            if model.reconstruct is not None:
                decoded = model.reconstruct(images, epsilon)
            else:
                mean, log_var = model.encode(images)
                decoded = model.decode(mean + epsilon * (log_var / 2).exp())
        yield images, decoded


def reconstructions(model: "TrainedModel", batch: int, count: int | None = None) -> "Iterator[Tensor]":
    """Yield what :func:`reconstructed` does, all of it if ``count`` is None, by :func:`to_uint8`."""
    for _, decoded in reconstructed(model, model.n_test if count is None else count):
        yield from torch.split(to_uint8(decoded, stretch=False), batch)


def stored_images(images: npt.NDArray[np.uint8], batch: int, device: torch.device) -> "Iterator[Tensor]":
    """Yield a dataset's images, uint8 (n, channels, height, width), in order, at most ``batch`` at once.

    Raises ValueError: they are not images of 256 levels.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"a feature network takes uint8 images, but these are {images.dtype} of shape {images.shape}"
        )
    for start in range(0, len(images), batch):
        yield torch.from_numpy(np.array(images[start : start + batch])).to(device)


def to_uint8(images: "Tensor", stretch: bool) -> "Tensor":
    """Round images, float (batch, channels, height, width) of 0 (black) to 1 (white), to 256 levels.

    With ``stretch``, as under protocol paper, each is first stretched to span [0, 1] over all its channels
    (one of a single value turns black); else they are clipped. Raises ValueError: a value is not finite.
    """
    if not bool(images.isfinite().all()):
        raise ValueError("the decoder gave a value that is not finite")
    if stretch:
        low, high = (extreme(images, (1, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
        span = high - low
        images = (images - low) / torch.where(span > 0, span, 1)
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)
