"""An autoencoder: z = mu(x), with no noise and no prior; the loss is the squared error alone.

A deterministic map of continuous latents conveys no finite number of nats, so it has no point on a
rate-distortion curve: rate and ELBO are null. It shows about the least error that these networks reach, the
limit beta -> 0 of ``beta_vae``.
"""

import torch
from torch import Tensor

import rdbench


@rdbench.variant("autoencoder", paper="Rumelhart, Hinton & Williams, 1986")
class Autoencoder(rdbench.Model):
    """sse, with z = mu(x): deterministic, the rate-free limit. Beta has no effect: train it at one.

    Without a prior there are no samples, and no metrics of samples.
    """

    gaussian = False
    rate_free = True
    capturable = True

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the latents, (batch, latent), alone."""
        return self.network.encode(images)[:1]

    def sample(self, posterior: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Return the latents as they are; ``noise`` is not used."""
        return posterior[0]

    def rate(self, posterior: tuple[Tensor, ...], latents: Tensor) -> Tensor:
        """Return zeros, (batch,), which are not stored."""
        return torch.zeros(len(latents), device=latents.device)

    def loss(self, images: Tensor, terms: rdbench.Terms, beta: float) -> Tensor:
        """Return the squared error, (batch,)."""
        return terms.sse
