"""An autoencoder: no noise, no prior, no rate. What the networks can reconstruct when it costs nothing.

A plain VAE samples its latents and pays for them; here z = mu(x) and the loss is the squared error alone. As
a deterministic map of continuous latents it conveys no finite number of nats, so it has no point on a
rate-distortion curve: rate and ELBO are null wherever they are stored. It shows about the least error that
these networks reach, the limit beta -> 0 of ``beta_vae``.
"""

import torch
from torch import Tensor

from rdbench.registry.variants import variant
from rdbench.vae.models import Model, Terms


@variant("autoencoder", paper="Rumelhart, Hinton & Williams, 1986")
class Autoencoder(Model):
    """sse, with z = mu(x): deterministic, the rate-free limit. Beta has no effect: train it at one.

    It has no prior either, so nothing is sampled from it and no metric of samples is defined.
    """

    gaussian = False
    rate_free = True

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the latents, (batch, latent), alone."""
        return self.network.encode(images)[:1]

    def sample(self, posterior: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Return the latents as they are; ``noise`` is not used."""
        return posterior[0]

    def rate(self, posterior: tuple[Tensor, ...], latents: Tensor) -> Tensor:
        """Return zeros, (batch,): there is no rate to be counted, and none is stored."""
        return torch.zeros(len(latents), device=latents.device)

    def loss(self, images: Tensor, terms: Terms, beta: float) -> Tensor:
        """Return the squared error, (batch,)."""
        return terms.sse
