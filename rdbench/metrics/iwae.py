"""The importance-weighted bound: a log-likelihood that is tighter than the ELBO.

    L_K(x) = E ln 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),    z_1 .. z_K ~ q(z|x)

L_1 is the ELBO; L_K rises with K and tends to ln p(x) (Burda, Grosse & Salakhutdinov, "Importance weighted
autoencoders", ICLR 2016), more slowly under readings whose variance q was not trained for.

The reading ``optimal`` is refused: it fits sigma^2 to the very image it scores, so it is no likelihood.
``optimal_shared`` is one: its sigma^2 is mean(sse)/n of the test split, as the trial measured it.

Each image is decoded K times: 200 images at K = 5000 are a million decodings.
"""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rdbench.metrics.base import ImageCount, Metric, MetricOptions, Quantity, TrainedModel, Value, mean_value
from rdbench.numerics.likelihood import gaussian_nll, variance

if TYPE_CHECKING:
    from torch import Tensor

DECODED_AT_ONCE = 500  # as many as evaluation passes through both halves: no more memory than that took


def _likelihood(value: object) -> object:
    if value == "optimal":
        raise ValueError(
            "'optimal' fits sigma^2 to the very image it scores, so it is no likelihood; use 'optimal_shared'"
        )
    return value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice; remove one of them")
    return values


Reading = Annotated[Literal["half", "beta_half", "optimal_shared"], BeforeValidator(_likelihood)]
READINGS: tuple[Reading, ...] = ("half", "beta_half", "optimal_shared")


class IwaeOptions(MetricOptions):
    """Options of ``iwae``.

    Attributes:
        samples: K, latents drawn for each image.
        images: the first so many test images; ``all`` or null for every one.
        readings: the readings of sigma^2 to take the bound under; all are read from the same decodings.
    """

    name: str = "iwae"
    samples: int = Field(default=5000, ge=1, le=1_000_000)
    images: ImageCount = 200
    readings: Annotated[tuple[Reading, ...], Field(min_length=1), AfterValidator(_distinct)] = READINGS


def compute(options: IwaeOptions, model: TrainedModel) -> list[Value]:
    """Return the mean bound over images, in nats per image, under each reading.

    The noise depends on the trial alone, one draw an image: neither chunks nor later images change a value
    beyond rounding.
    """
    import torch

    from rdbench.numerics.seeding import generator

    count = min(options.images or model.n_test, model.n_test)
    n = model.test_images(torch.arange(1)).numel()
    variances = [float(variance(reading, model.test_sse, model.beta, n)) for reading in options.readings]
    noise = generator(model.seed, "metric/iwae", model.device)
    shape = (options.samples, model.latent)
    bounds = []
    with torch.no_grad():
        for index in torch.split(torch.arange(count), max(1, DECODED_AT_ONCE // options.samples)):
            draws = [torch.randn(shape, generator=noise, device=model.device) for _ in index]
            bounds.append(_bounds(model, model.test_images(index), torch.stack(draws), variances))
    per_image = torch.cat(bounds, 1).cpu()
    return [
        mean_value(values, reading=reading, variance=s)
        for reading, s, values in zip(options.readings, variances, per_image, strict=True)
    ]


def _bounds(model: TrainedModel, images: "Tensor", noise: "Tensor", variances: list[float]) -> "Tensor":
    """Return ln 1/K sum_k w_k under each variance, (variances, images), of noise (images, K, latent)."""
    import torch

    n = images[0].numel()
    mean, log_var = (part.unsqueeze(1) for part in model.encode(images))
    total = torch.full((len(variances), len(images)), -math.inf, dtype=torch.float64, device=images.device)
    for epsilon in torch.split(noise, max(1, DECODED_AT_ONCE // len(images)), dim=1):
        z = mean + epsilon * (log_var / 2).exp()
        decoded = model.decode(z.flatten(0, 1)).reshape(*z.shape[:2], *images.shape[1:])
        sse = (images.unsqueeze(1) - decoded).double().square().flatten(2).sum(2)
        # ln p(z) - ln q(z|x): the constants of the two normal densities cancel
        ratio = (epsilon.double().square() + log_var.double() - z.double().square()).sum(2) / 2
        log_weights = torch.stack([ratio - gaussian_nll(sse, s, n) for s in variances])
        total = torch.logaddexp(total, log_weights.logsumexp(2))
    return total - math.log(noise.shape[1])


METRIC = Metric(
    "iwae",
    "importance-weighted bound on ln p(x), nats per image",
    IwaeOptions,
    compute,
    (Quantity("iwae", "higher", "nats per image", has_zero=False, positive=False),),
    protocols=("clean",),
    needs=("gaussian",),
)
