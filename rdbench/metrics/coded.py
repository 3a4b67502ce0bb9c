"""What a coder of the latents needs: real bits an image, and the error of the image that comes out.

The rate KL(q(z|x) || p(z)) is what a channel simulation would need. A codec sends numbers: here the posterior
means, rounded to a grid, entropy coded, decoded again, and passed through the decoder. The grid of a latent
has steps of some times its mean posterior deviation, so that what the model does not tell apart is not coded.
Each size of step is a point: bits and squared error.

The entropy coder's probabilities are fitted to the latents of training images (``bits``), or are the prior's
(``prior_bits``). ``bits`` is the length of one stream of all images coded, of which each has its share; the
network itself, and the table of probabilities, are not counted, as they serve any number of images.

On a Gaussian source a uniform grid costs 1/2 log2(2 pi e / 12) = 0.254 bits for each active latent over
Shannon's rate at fine steps (Gish & Pierce, IEEE Trans. Inf. Theory 14, 1968).
"""

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from rdbench.metrics.base import (
    ImageCount,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
    check_rates,
    decibels,
)
from rdbench.numerics.likelihood import kl_standard_normal, psnr

if TYPE_CHECKING:
    from rdbench.numerics.coding import Floats, Integers

AT_ONCE = 500  # images passed through the network


def _ascending(steps: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(set(steps)))


Step = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class CodedOptions(MetricOptions):
    """Options of ``coded``.

    Attributes:
        images: the first so many test images; ``all`` or null for every one.
        steps: sizes of the grid's steps, in mean posterior deviations; a point each.
        fit: training images, drawn by seed, that the coder's probabilities are fitted to.
    """

    name: str = "coded"
    images: ImageCount = None
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=20), AfterValidator(_ascending)] = (
        0.5, 1.0, 2.0, 4.0,
    )  # fmt: skip
    fit: int = Field(default=5000, ge=2)


def compute(options: CodedOptions, model: TrainedModel) -> list[Value]:
    """Return bits, squared error, PSNR and bits over the KL for each size of step, means over test images.

    Raises:
        ValueError: a posterior is not finite; a latent spans more steps than a coder tells apart;
            :func:`check_rates`; or the stream decodes to other indices, which no input should cause.
    """
    import torch

    count = min(options.images or model.n_test, model.n_test)
    index = torch.arange(count)
    train_means, train_deviations = _posteriors(model, training_images(model, options.fit))
    means, deviations = _posteriors(model, [model.test_images(part) for part in torch.split(index, AT_ONCE)])
    kl = kl_standard_normal(torch.from_numpy(means), 2 * torch.from_numpy(deviations).log())
    check_rates(model, kl, index)
    rate = float(kl.mean())
    values = []
    for step in options.steps:
        sizes = step * train_deviations.mean(0)
        bits, prior_bits, decoded = _code(train_means, means, sizes)
        values += _point(model, step, decoded * sizes, bits / count, prior_bits / count, rate / math.log(2))
    return values


def training_images(model: TrainedModel, fit: int) -> "list[Any]":
    """Return batches of training images, drawn by seed, as the network takes them."""
    import torch

    from rdbench.numerics.seeding import generator

    stored = model.data.train.images
    chosen = torch.randperm(len(stored), generator=generator(0, "metric/coded/fit"))[:fit].sort().values
    batches = []
    for part in torch.split(chosen, AT_ONCE):
        images = torch.from_numpy(np.ascontiguousarray(stored[part.numpy()])).to(model.device)
        batches.append(images.float() / 255 if images.dtype == torch.uint8 else images)
    return batches


def _posteriors(model: TrainedModel, batches: "list[Any]") -> "tuple[Floats, Floats]":
    """Return means and standard deviations of posteriors, float64 (images, latent)."""
    import torch

    with torch.no_grad():
        encoded = [model.encode(images) for images in batches]
    encoded = [(mean.detach(), log_var.detach()) for mean, log_var in encoded]
    means, log_vars = (torch.cat([pair[part] for pair in encoded]).double().cpu() for part in (0, 1))
    deviations = (log_vars / 2).exp()
    if not (means.isfinite().all() and deviations.isfinite().all() and (deviations > 0).all()):
        raise ValueError("a posterior is not finite, or has no width")
    return means.numpy(), deviations.numpy()


def _code(train: "Floats", means: "Floats", sizes: "Floats") -> "tuple[int, int, Integers]":
    """Code the means; return the bits of the stream, those under the prior, and the decoded indices."""
    from rdbench.numerics import coding

    models = [coding.fit(coding.rounded(train[:, one], size)) for one, size in enumerate(sizes)]
    columns = [model.held(coding.rounded(means[:, one], size))
               for one, (model, size) in enumerate(zip(models, sizes, strict=True))]  # fmt: skip
    priors = [coding.of_prior(model, size) for model, size in zip(models, sizes, strict=True)]
    streams = []
    for own in (models, priors):
        words = coding.encode_latents(columns, own)
        if not all(map(np.array_equal, coding.decode_latents(words, len(means), own), columns)):
            raise ValueError("the coded stream decodes to other indices than it was made of")
        streams.append(len(words) * coding.WORD)
    return streams[0], streams[1], np.stack(columns, 1)


def _point(
    model: TrainedModel, step: float, latents: "Floats", bits: float, prior_bits: float, kl: float
) -> list[Value]:
    """Return the values of one size of step; rates are bits an image."""
    import torch

    errors = []
    with torch.no_grad():
        for index in torch.split(torch.arange(len(latents)), AT_ONCE):
            decoded = model.decode(torch.from_numpy(latents[index.numpy()]).float().to(model.device))
            images = model.test_images(index)
            errors.append((images - decoded.reshape(images.shape)).double().square().flatten(1).sum(1).cpu())
    sse = torch.cat(errors)
    settings = {"step": step, "n_images": len(latents)}
    error = float(sse.std() / math.sqrt(len(sse))) if len(sse) > 1 else None
    values = [
        Value(bits, None, {"quantity": "bits", **settings}),
        Value(prior_bits, None, {"quantity": "prior_bits", **settings}),
        Value(bits - kl, None, {"quantity": "bits_over_kl", **settings}),
        Value(float(sse.mean()), error, {"quantity": "sse", **settings}),
    ]
    if model.data.train.images.dtype == np.uint8:
        n = images[0].numel()
        values.append(Value(float(psnr(sse.mean() / n)), None, {"quantity": "psnr", **settings}))
    return values


METRIC = Metric(
    "coded",
    "real bits of quantised, range-coded latents and the error they decode to; seconds",
    CodedOptions,
    compute,
    (
        Quantity("bits", None, "bits per image"),
        Quantity("prior_bits", None, "bits per image"),
        Quantity("bits_over_kl", "lower", "bits per image", positive=False),
        Quantity("sse", "lower"),
        decibels("psnr", "PSNR of the mean squared error"),
    ),
    protocols=("clean",),
    needs=("encoder", "gaussian"),
)
