"""Lossless coding of test images by bits back: the real length of a message beside the negative ELBO.

The 8-bit test images are put on one stack, one after the other, under the Gaussian of the variance that is
fitted on the training images, integrated over the 256 levels (:mod:`rdbench.numerics.coding`). Then all are
taken off again: they must be the same images, and what is left the very bits that the stack began with.

``bits_per_dim`` is the length of the message without those, over images and values; ``elbo_bits_per_dim``
what it should come to: the binned -ln p(x|z) at the latents that were coded, plus the KL. In both a level has
at least the probability 2^-24, which the coder needs; a model that is surer than that, and wrong, has a
negative ELBO above it. The bits that the stack had to begin with are ``start_up_bits``: a single image needs
them, and in a long message they vanish.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from rdbench.metrics.base import Metric, MetricOptions, Quantity, TrainedModel, Value
from rdbench.numerics.likelihood import kl_standard_normal

if TYPE_CHECKING:
    from rdbench.datasets import Dataset
    from rdbench.numerics.coding import BitsBack, Floats, Integers

MEASURED_ON = 500
"""Training images whose posteriors say how fine the grid of latents has to be."""


class BitsBackOptions(MetricOptions):
    """Options of ``bits_back``.

    Attributes:
        images: test images coded, drawn by seed.
    """

    name: str = "bits_back"
    images: int = Field(default=1000, ge=1)


def compute(options: BitsBackOptions, model: TrainedModel) -> list[Value]:
    """Return net bits a value of the message, the negative ELBO in the same unit, and the start-up bits.

    Raises:
        ValueError: the training images' error is not known, or zero; a posterior is not finite; or the
            message does not decode to the same images.
    """
    import torch

    from rdbench.numerics.coding import Stack
    from rdbench.numerics.seeding import generator

    draw = generator(0, "metric/bits_back/images")
    chosen = torch.randperm(model.n_test, generator=draw)[: options.images].sort().values.numpy()
    images: Integers = model.data.test.images[chosen].reshape(len(chosen), -1).astype(np.int32)
    coder = _coder(model)
    stack = Stack(model.latent, np.random.default_rng(model.seed))
    latents = [coder.push(stack, levels) for levels in images]
    values, net = images.size, stack.net_bits
    for levels in images[::-1]:
        if not np.array_equal(coder.pop(stack), levels):
            raise ValueError("the message decodes to other images than it was made of")
    if not stack.is_as_it_began:
        raise ValueError("the message decodes, but not to the bits that it began with")
    expected = sum(_negative_elbo(coder, *pair) for pair in zip(images, latents, strict=True))
    settings = {"n_images": len(images), "variance": (coder.sigma / 255) ** 2}
    return [
        Value(net / values, None, {"quantity": "bits_per_dim", **settings}),
        Value(expected / math.log(2) / values, None, {"quantity": "elbo_bits_per_dim", **settings}),
        Value(float(stack.start_up_bits), None, {"quantity": "start_up_bits", **settings}),
    ]


def _coder(model: TrainedModel) -> "BitsBack":
    """Return the model as bits back uses it; one image at a time, as a batch would round differently."""
    import torch

    from rdbench.numerics.coding import BitsBack, fine_steps

    data = model.data
    if model.train_sse is None or not model.train_sse > 0:
        raise ValueError("the training images' squared error is not known, or zero: no variance follows")

    @torch.no_grad()
    def encode(levels: "Integers") -> "tuple[Floats, Floats]":
        pixels = torch.from_numpy(levels.astype(np.float32)).reshape(1, *data.shape) / 255
        mean, log_var = (part[0].double().cpu() for part in model.encode(pixels.to(model.device)))
        deviation = (log_var / 2).exp()
        if not (mean.isfinite().all() and deviation.isfinite().all() and (deviation > 0).all()):
            raise ValueError("a posterior is not finite, or has no width")
        return mean.numpy(), deviation.numpy()

    @torch.no_grad()
    def decode(latents: "Floats") -> "Floats":
        mean = model.decode(torch.from_numpy(latents[None]).float().to(model.device))
        levels: Floats = 255 * mean.double().flatten().cpu().numpy()
        return levels

    train = data.train.images[:MEASURED_ON].reshape(-1, math.prod(data.shape)).astype(np.int32)
    posteriors = [encode(levels) for levels in train]
    steps = fine_steps(*(np.stack(parts) for parts in zip(*posteriors, strict=True)))
    sigma = 255 * math.sqrt(model.train_sse / math.prod(data.shape))
    return BitsBack(encode, decode, sigma, steps)


def _negative_elbo(coder: "BitsBack", levels: "Integers", latents: "Floats") -> float:
    """Return the binned -ln p(x|z) at some latents plus KL(q(z|x) || p(z)), nats."""
    import torch

    from rdbench.numerics.binned import binned_nll
    from rdbench.numerics.coding import PRECISION

    mean, deviation = map(torch.from_numpy, coder.encode(levels))
    decoded = torch.from_numpy(coder.decode(latents) / 255)
    nll = binned_nll(torch.from_numpy(levels / 255), decoded, (coder.sigma / 255) ** 2)
    most = PRECISION * math.log(2)
    return float(nll.clamp(max=most).sum() + kl_standard_normal(mean[None], 2 * deviation.log()[None])[0])


def _missing(options: BitsBackOptions, data: "Dataset", protocol: str) -> str | None:
    if data.test.images.dtype != "uint8":
        kind = data.test.images.dtype
        return f"{data.name} holds {kind} values, and bits back codes 8-bit images; leave it out"
    return None


METRIC = Metric(
    "bits_back",
    "bits of a lossless message of test images by bits back, beside the negative ELBO; seconds",
    BitsBackOptions,
    compute,
    (
        Quantity("bits_per_dim", "lower", "bits per value"),
        Quantity("elbo_bits_per_dim", "lower", "bits per value"),
        Quantity("start_up_bits", "lower", "bits"),
    ),
    protocols=("clean",),
    needs=("encoder", "gaussian"),
    missing=_missing,
)
