"""VampPrior: the prior is a mixture of the posteriors of learned pseudo-inputs."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

import rdbench


def log_normal(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return ln N(z; mean, diag exp(log_var)), summed over the last axis; the arguments broadcast."""
    squares = (latents - mean).square() * (-log_var).exp()
    return -0.5 * (math.log(2 * math.pi) + log_var + squares).sum(-1)


@rdbench.variant("vamp_prior", native="half", beta_rate=True, paper="Tomczak & Welling, AISTATS 2018")
class VampPrior(rdbench.Model):
    """sse + beta (ln q(z|x) - ln p(z)), with p(z) = 1/K sum_k q(z|u_k) and pseudo-inputs u_k learned.

    The rate is the one-sample estimate of KL(q(z|x) || p(z)); it may be negative for an image.

    As in the authors' code a pseudo-input is an image clamped to [0, 1], and starts as Gaussian noise about a
    grey (their other start, from training images, is not offered). Unlike the paper's, these networks have
    BatchNorm: pseudo-inputs are encoded by its running statistics, also in training, and do not change them.
    So the trained prior is the one that is measured and sampled; no posterior depends on pseudo-inputs.

    Args:
        components: number K of pseudo-inputs.
        initial_mean: of the pixels of the pseudo-inputs before training, in units of the image's values.
        initial_std: standard deviation of these pixels, in the same units.
        bounded: keep pseudo-inputs within [0, 1]; false for data that are no pixels.
    """

    gaussian = False
    capturable = True

    def __init__(
        self,
        about: rdbench.About,
        *,
        components: Annotated[int, Field(ge=1, le=100_000)] = 100,
        initial_mean: float = 0.4,
        initial_std: Annotated[float, Field(gt=0)] = 0.05,
        bounded: bool = True,
    ) -> None:
        super().__init__(about)
        noise = torch.randn(components, *about.shape)
        self.pseudo_inputs = nn.Parameter(initial_mean + initial_std * noise)
        self.bounded = bounded

    def components(self) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the mixture's components, each (K, latent)."""
        images = self.pseudo_inputs.clamp(0, 1) if self.bounded else self.pseudo_inputs
        was_training = self.network.training
        self.network.eval()  # BatchNorm: by its running statistics, which stay as they are
        mean, log_var = self.network.encode(images)
        self.network.train(was_training)
        return mean, log_var

    def log_prior(self, latents: Tensor) -> Tensor:
        """Return ln p(z) in nats, (batch,)."""
        densities = log_normal(latents.unsqueeze(1), *self.components())
        return densities.logsumexp(1) - math.log(densities.shape[1])

    def rate(self, posterior: tuple[Tensor, ...], latents: Tensor) -> Tensor:
        """Return ln q(z|x) - ln p(z) of the sampled latents in nats, (batch,)."""
        return log_normal(latents, *posterior) - self.log_prior(latents)

    def prior(self, count: int, generator: Generator) -> Tensor:
        """Return latents of p(z), (count, latent): a component, then its Gaussian."""
        mean, log_var = self.components()
        chosen = torch.randint(len(mean), (count,), generator=generator, device=generator.device)
        noise = torch.randn(count, mean.shape[1], generator=generator, device=generator.device)
        return self.sample((mean[chosen], log_var[chosen]), noise)
