"""my_vae: in a line, how it differs from a plain VAE.

Here: the decoder has a Laplace distribution about its mean mu(z), of one learned scale b for all values:

    -ln p(x|z) = sum over values j of |x_j - mu_j(z)| / b  +  n ln(2 b)

    loss = -ln p(x|z) + beta rate
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import rdbench


# native: "own" for a likelihood of its own, as distortion below gives it; else the reading of sigma^2 whose
# distortion the loss minimises, up to constants, or None. beta_rate: the loss is that distortion + beta rate.
# paper: where it comes from.
@rdbench.variant("my_vae", native="own", beta_rate=True, paper="")
class MyVae(rdbench.Model):
    """sum |x - mu| / b + n ln(2 b) + beta rate, with ln b a learned parameter.

    Args:
        about: what it is built for: about.shape, about.latent, about.n, about.beta, about.seed ...
        initial_scale: b before training, in units of the data (pixels are in [0, 1]).
    """

    # A training step is the same work each time, without item() or random numbers from torch's global
    # generator: then a GPU trains several trials side by side. Leave it out where that is not so.
    capturable = True

    # Options such as initial_scale stand after the *, with a type (int, float, bool, str) and a default; a
    # sweep sets them by {name: ./my_vae.py:my_vae, initial_scale: 0.5}. Field: its range, by gt, ge, lt, le.
    def __init__(self, about: rdbench.About, *, initial_scale: Annotated[float, Field(gt=0)] = 0.2) -> None:
        super().__init__(about)  # builds self.network, the sweep's encoder and decoder
        # What training changes is a parameter or a buffer, so that it is kept with the weights.
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial_scale)))

    # A model may override any of these; what it leaves out is that of a plain VAE:
    #
    #   encode(images) -> (mean, log_var), each (batch, latent); or any other tuple of tensors
    #   sample(posterior, noise) -> latents (batch, latent), of standard normal noise of that shape
    #   decode(latents) -> the decoder's mean, shaped as the images; or more, then mean(output) gives it
    #   rate(posterior, latents) -> KL(q(z|x) || p(z)) in nats (batch,), or an unbiased estimate
    #   prior(count, generator) -> latents (count, latent) from p(z), such as self.mean + torch.randn(count,
    #       self.about.latent, generator=generator, device=generator.device)
    #   distortion(images, terms) -> -ln p(x|z) in nats (batch,), of a likelihood of its own
    #   loss(images, terms, beta) -> (batch,); by default (distortion, else sse) + beta rate
    #
    # A prior of its own takes two of them, rate and prior. Where the posterior is no diagonal Gaussian, or
    # the prior not N(0, I), write gaussian = False: the metrics iwae and latents are then left out. terms
    # holds reconstruction, posterior, latents, sse, rate and output (what decode returned).

    def distortion(self, images: Tensor, terms: rdbench.Terms) -> Tensor:
        """Return the Laplace negative log-likelihood in nats, (batch,)."""
        error = (images - terms.reconstruction).abs().flatten(1).sum(1)
        return error / self.log_scale.exp() + self.about.n * (math.log(2) + self.log_scale)
