"""The importance-weighted bound: a log-likelihood that is tighter than the ELBO.

    L_K(x) = E ln 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x),    z_1 .. z_K ~ q(z|x)

L_1 is the ELBO; L_K rises with K and tends to ln p(x) (Burda, Grosse & Salakhutdinov, "Importance weighted
autoencoders", ICLR 2016), more slowly under readings whose variance q was not trained for.

Beside it stands L_1 of the same images under the same likelihood, the quantity ``elbo``: the mean of ln w_k
over the same K draws. A bound of some images is not to be compared with the ELBO of all: which images are
scored moves both by more than the one is above the other. They are a random subset of the test images, the
same for every trial; the first images of a data set may be no sample of it.

The reading ``optimal`` is refused: it fits sigma^2 to the very image it scores, so it is no likelihood.
``optimal_train`` is one, its sigma^2 being mean(sse)/n of the training images; ``optimal_shared``, of the
test images, is its bound from above; both as the trial measured them. ``own`` is the likelihood that a model
computes itself, and is left out for a model without one.

Each image is decoded K times: 200 images at K = 5000 are a million decodings.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rdbench.metrics.base import (
    ImageCount,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
    check_rates,
    distinct,
    mean_value,
    undefined_value,
)
from rdbench.numerics.likelihood import OWN, gaussian_nll, kl_standard_normal, variance

if TYPE_CHECKING:
    from torch import Tensor

DECODED_AT_ONCE = 500  # as many as evaluation passes through both halves: no more memory than that took


def _likelihood(value: object) -> object:
    if value == "optimal":
        raise ValueError(
            "'optimal' fits sigma^2 to the very image it scores, so it is no likelihood; use 'optimal_train'"
        )
    return value


Reading = Annotated[
    Literal["half", "beta_half", "optimal_train", "optimal_shared", "own"], BeforeValidator(_likelihood)
]
READINGS: tuple[Reading, ...] = ("half", "beta_half", "optimal_train", "optimal_shared", "own")


class IwaeOptions(MetricOptions):
    """Options of ``iwae``.

    Attributes:
        samples: K, latents drawn for each image.
        images: how many test images to score; ``all`` or null for every one.
        choice: which these are: ``random``, the same for every trial, fewer being among more; or the
            ``first``, as rdbench took them before there was a choice.
        readings: the readings of sigma^2 to take the bound under; all are read from the same decodings.
    """

    before: ClassVar[Mapping[str, Any]] = {"choice": "first"}

    name: str = "iwae"
    samples: int = Field(default=5000, ge=1, le=1_000_000)
    images: ImageCount = 200
    choice: Literal["random", "first"] = "random"
    readings: Annotated[tuple[Reading, ...], Field(min_length=1), AfterValidator(distinct)] = READINGS

    def settings(self) -> dict[str, Any]:
        """Return the options; of all images there is no choice."""
        return {
            name: value
            for name, value in super().settings().items()
            if name != "choice" or self.images is not None
        }


def compute(options: IwaeOptions, model: TrainedModel) -> list[Value]:
    """Return the mean bound over images, and that of one sample, in nats per image, under each reading.

    The noise depends on the trial alone, one draw an image: neither chunks nor later images change a value
    beyond rounding.

    Raises ValueError: as :func:`check_rates`, or the training images' error is asked for and not known.
    """
    import torch

    from rdbench.numerics.seeding import generator

    readings = [reading for reading in options.readings if reading != OWN or model.own is not None]
    if not readings:
        return [undefined_value("it has no likelihood of its own")]
    n = model.test_images(torch.arange(1)).numel()
    variances = [_variance(reading, model, n) for reading in readings]
    noise = generator(model.seed, "metric/iwae", model.device)
    shape = (options.samples, model.latent)
    chosen = scored(options, model.n_test)
    bounds, rates = [], []
    with torch.no_grad():
        for index in torch.split(chosen, max(1, DECODED_AT_ONCE // options.samples)):
            draws = [torch.randn(shape, generator=noise, device=model.device) for _ in index]
            images = model.test_images(index)
            posterior = model.encode(images)
            rates.append(kl_standard_normal(*(part.double() for part in posterior)))
            bounds.append(_bounds(model, images, posterior, torch.stack(draws), variances))
    check_rates(model, torch.cat(rates), chosen)
    values = []
    for reading, s, many, one in zip(readings, variances, *torch.cat(bounds, 2).cpu(), strict=True):
        settings = {"reading": reading} | ({} if s is None else {"variance": s})
        values += [mean_value(many, **settings), mean_value(one, quantity="elbo", **settings)]
    return values


def scored(options: IwaeOptions, n_test: int) -> "Tensor":
    """Return the indices of the test images that are scored, (images,)."""
    import torch

    from rdbench.numerics.seeding import generator

    count = min(options.images or n_test, n_test)
    if count == n_test or options.choice == "first":
        return torch.arange(count)
    return torch.randperm(n_test, generator=generator(0, "metric/iwae/images"))[:count]


def _variance(reading: str, model: TrainedModel, n: int) -> float | None:
    """Return the decoder variance of a reading; None for the model's own likelihood."""
    if reading == OWN:
        return None
    if reading != "optimal_train":
        return float(variance(reading, model.test_sse, model.beta, n))
    if model.train_sse is None:
        raise ValueError("optimal_train: the squared error of the training images was not measured")
    return model.train_sse / n


def _bounds(
    model: TrainedModel,
    images: "Tensor",
    posterior: "tuple[Tensor, Tensor]",
    noise: "Tensor",
    variances: list[float | None],
) -> "Tensor":
    """Return ln 1/K sum_k w_k, then 1/K sum_k ln w_k, under each variance, of noise (images, K, latent).

    The result is (2, variances, images), float64; variance None is for the model's own likelihood.
    """
    import torch

    n = images[0].numel()
    mean, log_var = (part.unsqueeze(1) for part in posterior)
    shape = (len(variances), len(images))
    total = torch.full(shape, -math.inf, dtype=torch.float64, device=images.device)
    logs = torch.zeros_like(total)
    for epsilon in torch.split(noise, max(1, DECODED_AT_ONCE // len(images)), dim=1):
        z = mean + epsilon * (log_var / 2).exp()
        sse, own = _errors(model, images, posterior, z, None in variances)
        # ln p(z) - ln q(z|x): the constants of the two normal densities cancel
        ratio = (epsilon.double().square() + log_var.double() - z.double().square()).sum(2) / 2
        nlls = [own if s is None else gaussian_nll(sse, s, n) for s in variances]
        log_weights = torch.stack([ratio - nll for nll in nlls])
        total = torch.logaddexp(total, log_weights.logsumexp(2))
        logs += log_weights.sum(2)
    return torch.stack([total - math.log(noise.shape[1]), logs / noise.shape[1]])


def _errors(
    model: TrainedModel, images: "Tensor", posterior: "tuple[Tensor, Tensor]", z: "Tensor", own: bool
) -> "tuple[Tensor, Tensor]":
    """Return squared errors, and -ln p(x|z) of the model's own likelihood (zeros where it is not asked for).

    Both are (images, K), float64, of latents (images, K, latent).
    """
    import torch

    shape, flat = z.shape[:2], z.flatten(0, 1)
    if own:
        assert model.own is not None
        repeated = [part.repeat_interleave(shape[1], 0) for part in (images, *posterior)]
        decoded, nll = model.own(repeated[0], tuple(repeated[1:]), flat)
    else:
        decoded, nll = model.decode(flat), torch.zeros(len(flat), device=z.device)
    decoded = decoded.reshape(*shape, *images.shape[1:])
    sse = (images.unsqueeze(1) - decoded).double().square().flatten(2).sum(2)
    return sse, nll.double().reshape(shape)


METRIC = Metric(
    "iwae",
    "importance-weighted bound on ln p(x), and the ELBO of the same images, nats per image",
    IwaeOptions,
    compute,
    (
        Quantity("iwae", "higher", "nats per image", has_zero=False, positive=False),
        Quantity("elbo", "higher", "nats per image", has_zero=False, positive=False),
    ),
    protocols=("clean",),
    needs=("encoder", "gaussian"),
)
