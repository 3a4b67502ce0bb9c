"""sigma-VAE with a learned variance: one number for all values of all images, trained with the weights.

At its optimum

    d/d(sigma^2) mean of [sse / (2 sigma^2) + n/2 ln(2 pi sigma^2)] = 0   <=>   sigma^2 = mean of sse / n

so after convergence it agrees with the reading ``optimal_shared``; ``sigma_vae_optimal`` sets that variance
directly.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import rdbench
from rdbench.numerics.likelihood import gaussian_nll


@rdbench.variant("sigma_vae", native="own", beta_rate=True, paper="Rybkin, Daniilidis & Levine, ICML 2021")
class SigmaVae(rdbench.Model):
    """sse / (2 sigma^2) + n/2 ln(2 pi sigma^2) + beta rate, with ln sigma a learned parameter.

    Args:
        initial_variance: sigma^2 before training, in squared units of the data.
        speed: the learning rate of ln sigma, relative to that of the weights. Adam moves a parameter by about
            the learning rate a step whatever its gradient: at the paper's speed of 1 a short run ends before
            the variance has converged.
    """

    capturable = True

    def __init__(
        self,
        about: rdbench.About,
        *,
        initial_variance: Annotated[float, Field(gt=0)] = 1.0,
        speed: Annotated[float, Field(gt=0)] = 10.0,
    ) -> None:
        super().__init__(about)
        self.speed = speed
        self.slow_log_sigma = nn.Parameter(torch.tensor(math.log(initial_variance) / 2 / speed))

    @property
    def variance(self) -> Tensor:
        """The decoder's variance sigma^2, a single number."""
        return (2 * self.speed * self.slow_log_sigma).exp()

    def distortion(self, images: Tensor, terms: rdbench.Terms) -> Tensor:
        """Return the Gaussian negative log-likelihood under the learned variance, in nats, (batch,)."""
        return gaussian_nll(terms.sse, self.variance, self.about.n)
