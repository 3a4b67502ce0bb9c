"""A Gaussian decoder of mean and variance of every value: the textbook VAE, which is unstable.

    -ln p(x|z) = sum over values j of (x_j - mu_j(z))^2 / (2 sigma_j^2(z)) + 1/2 ln(2 pi sigma_j^2(z))

The likelihood has no upper bound: where a value can be predicted exactly, as a pixel that is black in every
image, its variance may go to zero and the loss to -inf (Mattei & Frellsen, NeurIPS 2018): then the trial ends
as diverged. Whether it does within a training hangs on data and length; on digits it did not in 20 epochs.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

import rdbench


@rdbench.variant(
    "learned_variance", native="own", beta_rate=True, paper="Kingma & Welling, ICLR 2014, appendix C.2"
)
class LearnedVariance(rdbench.Model):
    """sum_j (x_j - mu_j)^2 / (2 sigma_j^2) + 1/2 ln(2 pi sigma_j^2) + beta rate, sigma_j^2 by the decoder.

    Args:
        floor: a lower bound on sigma^2, in squared units of the data: sigma^2 = floor + exp(output). 0 for
            none, as in the paper. (1/255)^2 / 12 = 1.3e-6 is the variance of rounding to 8 bits.
    """

    capturable = True

    def __init__(self, about: rdbench.About, *, floor: Annotated[float, Field(ge=0)] = 0.0) -> None:
        super().__init__(about)
        self.network = about.network(outputs=2)
        self.floor = floor

    def mean(self, output: Tensor) -> Tensor:
        """Return the decoder's mean: the first half of its channels."""
        return output.chunk(2, dim=1)[0]

    def variance(self, output: Tensor) -> Tensor:
        """Return the decoder's variance of every value, shaped as the images."""
        return self.floor + output.chunk(2, dim=1)[1].exp()

    def distortion(self, images: Tensor, terms: rdbench.Terms) -> Tensor:
        """Return the Gaussian negative log-likelihood under the decoder's variances, in nats, (batch,)."""
        variance = self.variance(terms.output)
        twice = (images - terms.reconstruction).square() / variance + torch.log(2 * math.pi * variance)
        return twice.flatten(1).sum(1) / 2
