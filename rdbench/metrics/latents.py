"""How the latents are used: active units, and the rate split into mutual information and marginal KL.

    rate = E_x KL(q(z|x) || p(z)) = I_q(x; z) + KL(q(z) || p(z)),    q(z) = E_x q(z|x)

(Hoffman & Johnson, "ELBO surgery", NIPS 2016 workshop on approximate inference.) The second part is zero only
where the decoder was trained on what the prior draws.

q(z) at a sample of each image is estimated by the weighted sum of Chen et al. ("Isolating sources of
disentanglement", NeurIPS 2018, appendix C) with all N images as its one batch, and weights 1/N:

    q(z) ~ 1/N sum_j q(z|x_j)

That is exact for these N images, but biased for the distribution that they come from. As an image's own
posterior is in the sum, the mutual information is too small, at most ln N, and the marginal KL too large by
the same amount. Without it the bias has the other sign (Poole et al., "On variational bounds of mutual
information", ICML 2019), so both sums enclose the truth up to sampling error: ``lower`` and ``upper`` in the
settings. Where they lie farther apart than chance explains, or the mutual information has come near ln N, it
is a lower bound, and the marginal KL an upper one: ``bound`` says which, and a ``warning`` why.

The two parts are estimated separately, from the same samples: how far their sum is from the exact rate shows
the sampling error. A latent is an active unit if the variance over images of its posterior mean exceeds 0.01
(Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", ICLR 2016).

As posterior and prior are products over the latents, the rate is a sum over them: its terms, largest first,
stand in the settings of ``rate`` as ``kl_by_latent``. Latent i is (epsilon, delta)-collapsed if

    P_x[ KL(q(z_i|x) || p(z_i)) < epsilon ] >= 1 - delta

(Lucas, Tucker, Grosse & Norouzi, "Don't blame the ELBO! A linear VAE perspective on posterior collapse",
NeurIPS 2019, definition 1), the probability being the share of images; ``collapsed`` is the share of latents.

A model whose posterior is no diagonal Gaussian, or whose prior is not standard normal, has no such terms:
nothing is measured, and its row says so. One that declares both and has a rate of its own is refused.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from rdbench.metrics.base import (
    ImageCount,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
    check_rates,
    mean_value,
)
from rdbench.numerics.likelihood import kl_standard_normal

if TYPE_CHECKING:
    from torch import Tensor

ACTIVE = 0.01  # variance of a posterior mean, Burda et al.
ENCODED_AT_ONCE = 500  # as many as evaluation passes through both halves: no more memory than that took
PAIRS_AT_ONCE = 2**20  # densities q(z_i|x_j) held at once, float64: 8 MiB
ROUNDING = 1e-4  # nats that rounding may add to a log density
SEVERAL = 3.0  # standard errors that chance explains
NEGLIGIBLE = 0.01  # nats between bounds that are one number


class LatentsOptions(MetricOptions):
    """Options of ``latents``.

    Attributes:
        images: the first so many test images; ``all`` or null for every one. The work grows with its square.
        samples: latents drawn for each image.
        epsilon: nats; a latent whose KL is below it tells nothing of an image.
        delta: the share of images that a collapsed latent may tell more of.
    """

    before: ClassVar[Mapping[str, Any]] = {"epsilon": 0.01, "delta": 0.01}  # for the names of searches

    name: str = "latents"
    images: ImageCount = None
    samples: int = Field(default=1, ge=1, le=1000)
    epsilon: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    delta: float = Field(default=0.01, ge=0, lt=1)


def compute(options: LatentsOptions, model: TrainedModel) -> list[Value]:
    """Return rate, mutual information and marginal KL in nats per image, active units, collapsed share.

    A standard error is over images. Those of the two estimates take q(z) as known: to first order the images'
    part in it adds nothing, as the mean of q(z|x)/q(z) over q(z) is 1 for every image.

    Raises ValueError: a posterior is not finite, or too narrow for float64; :func:`check_rates`.
    """
    import torch

    from rdbench.numerics.seeding import generator

    count = min(options.images or model.n_test, model.n_test)
    draw = generator(model.seed, "metric/latents", model.device)
    shape = (options.samples, model.latent)
    with torch.no_grad():
        mean, log_var = _posteriors(model, count)
        parts = []
        for index in torch.split(torch.arange(count), max(1, PAIRS_AT_ONCE // (count * options.samples))):
            # One draw an image: its value depends on neither the chunk nor how many images follow.
            noise = torch.stack([torch.randn(shape, generator=draw, device=model.device) for _ in index])
            parts.append(_log_ratios(index.to(model.device), noise.double(), mean, log_var))
        by_latent = kl_standard_normal(mean.unsqueeze(2), log_var.unsqueeze(2))
        rates = by_latent.sum(1)
        check_rates(model, rates, torch.arange(count))
        information, marginal, information_upper, marginal_lower = torch.cat(parts, 1).cpu()
    values = [
        mean_value(rates.cpu(), quantity="rate", kl_by_latent=_sorted(by_latent.mean(0))),
        *_parts(float(rates.mean()), information, information_upper, marginal, marginal_lower),
    ]
    if count > 1:  # one image has no variance
        active = float((mean.var(0) > ACTIVE).sum())
        settings = {"quantity": "active_units", "threshold": ACTIVE, "latent": model.latent}
        values.append(Value(active, None, {**settings, "n_images": count}))
    share = collapsed_share(by_latent, options.epsilon, options.delta)
    settings = {"quantity": "collapsed", "latent": model.latent, "n_images": count}
    return [*values, Value(share, None, settings)]


def _sorted(by_latent: "Tensor") -> list[float]:
    """Return the mean KL of each latent, the largest first, to the digits that are worth storing."""
    return [float(f"{kl:.7g}") for kl in sorted(by_latent.tolist(), reverse=True)]


def collapsed_share(kl: "Tensor", epsilon: float, delta: float) -> float:
    """Return the share of latents that are (epsilon, delta)-collapsed, from their KLs, (images, latent)."""
    telling = (kl >= epsilon).sum(0)
    # Counted, with room for a rounding: 1 - delta, and a share, are not exact in binary.
    return float((telling <= delta * len(kl) * (1 + 1e-12)).double().mean())


def _posteriors(model: TrainedModel, count: int) -> "tuple[Tensor, Tensor]":
    """Return mean and log variance of the first images' posteriors, float64 (images, latent)."""
    import torch

    batches = torch.split(torch.arange(count), ENCODED_AT_ONCE)
    encoded = [model.encode(model.test_images(index)) for index in batches]
    mean, log_var = (torch.cat(part).double() for part in zip(*encoded, strict=True))
    if not bool((mean.isfinite() & log_var.isfinite()).all()):
        raise ValueError("the posterior of some image is not finite")
    return mean, log_var


def _log_ratios(index: "Tensor", noise: "Tensor", mean: "Tensor", log_var: "Tensor") -> "Tensor":
    """Return ln q(z|x)/q(z) and ln q(z)/p(z) with an image's own posterior in q(z), then both without.

    Means over samples, (4, chunk), of the images ``index`` (chunk,), under noise (chunk, samples, latent).
    """
    import torch

    count = len(mean)
    z = mean[index].unsqueeze(1) + noise * (log_var[index] / 2).exp().unsqueeze(1)
    # The constant (latent / 2) ln 2 pi of the normal densities cancels in each ratio.
    posterior = -(noise.square() + log_var[index].unsqueeze(1)).sum(2) / 2
    prior = -z.square().sum(2) / 2
    pairs = _log_densities(z.flatten(0, 1), mean, log_var).reshape(*noise.shape[:2], count)
    pairs[torch.arange(len(index)), :, index] = -math.inf
    others = pairs.logsumexp(2)
    inside = torch.logaddexp(others, posterior) - math.log(count)
    outside = others - math.log(max(1, count - 1))
    return torch.stack([posterior - inside, inside - prior, posterior - outside, outside - prior]).mean(2)


def _log_densities(z: "Tensor", mean: "Tensor", log_var: "Tensor") -> "Tensor":
    """Return ln q(z_i|x_j) less its constant, (samples, images), of z (samples, latent): one matrix product.

    ln q = -1/2 sum z^2/s^2 + sum z mean/s^2 - 1/2 sum (mean^2/s^2 + ln s^2)
    """
    import torch

    middle = mean.mean(0)
    z, mean, precision = z - middle, mean - middle, (-log_var).exp()
    largest = torch.maximum(z.abs().amax(0), mean.abs().amax(0)).square()
    lost = float((precision * largest).sum(1).max()) * torch.finfo(torch.float64).eps
    if not lost < ROUNDING:
        raise ValueError("some posterior is too narrow for its density to be computed in float64")
    constant = (mean.square() * precision + log_var).sum(1, keepdim=True) / -2
    powers = torch.cat([z.square(), z, torch.ones_like(z[:, :1])], 1)
    return powers @ torch.cat([precision / -2, mean * precision, constant], 1).T


def _parts(
    rate: float, information: "Tensor", information_upper: "Tensor", marginal: "Tensor", lower: "Tensor"
) -> tuple[Value, Value]:
    """Return mutual information and marginal KL, with what their settings say about their bias.

    As neither part is negative, the rate bounds the mutual information as well, and zero the marginal KL.
    """
    count = len(information)
    most = min(rate, float(information_upper.mean()))
    first = mean_value(
        information,
        quantity="mutual_information",
        ln_images=math.log(count),
        lower=float(information.mean()),
        upper=most,
    )
    second = mean_value(
        marginal,
        quantity="marginal_kl",
        lower=max(0.0, float(lower.mean())),
        upper=float(marginal.mean()),
    )
    if saturated(first.settings, first.standard_error):
        warning = (
            f"{count:,} images are too few to split this rate: of the mutual information no more than "
            f"ln {count:,} = {math.log(count):.1f} nats show, and what is missing counts as marginal KL"
        )
        first.settings.update(bound="lower", warning=warning)
        second.settings.update(bound="upper", warning=warning)
    return first, second


def saturated(settings: Mapping[str, Any], error: float | None) -> bool:
    """Tell whether a part of the rate is known as a bound only, by its settings and its standard error.

    It is where ``lower`` and ``upper`` lie apart by more than three standard errors and 0.01 nats, or the
    mutual information is within three of ln N.
    """
    chance = SEVERAL * (error or 0.0)
    near = settings.get("ln_images", math.inf) - settings["lower"] <= chance
    return bool(near or settings["upper"] - settings["lower"] > max(NEGLIGIBLE, chance))


def bound(settings: Mapping[str, Any], error: float | None) -> str:
    """Return whether a stored value is a bound, "lower" or "upper"; "" where it is the number itself.

    Rows from before the flag was stored are judged by what they hold.
    """
    kind = {"mutual_information": "lower", "marginal_kl": "upper"}.get(settings.get("quantity", ""), "")
    if "bound" in settings or not kind or not {"lower", "upper"} <= settings.keys():
        return str(settings.get("bound", ""))
    return kind if "warning" in settings or saturated(settings, error) else ""


METRIC = Metric(
    "latents",
    "active and collapsed latents; the rate as mutual information and KL(q(z)||p(z)), nats per image",
    LatentsOptions,
    compute,
    (
        Quantity("rate", None, "nats per image"),
        Quantity("mutual_information", None, "nats per image", positive=False),
        Quantity("marginal_kl", None, "nats per image", has_zero=False, positive=False),
        Quantity("active_units", None, "latents", positive=False),
        Quantity("collapsed", None, "share of latents", positive=False, options=("epsilon", "delta")),
    ),
    protocols=("clean",),
    needs=("encoder", "gaussian"),
)
