"""sigma-VAE with the optimal variance, found analytically: one for all images of a batch.

At every step the variance is the one of highest likelihood,

    sigma^2 = argmin over s of mean of [sse / (2 s) + n/2 ln(2 pi s)] = mean of sse / n

which leaves n/2 (ln(2 pi sigma^2) + 1). The mean couples the images of a batch: for large
batches it is the loss of one variance for all data, whose optimum on a Gaussian source is the water level
beta D / n, at beta = 1 probabilistic PCA; for batches of one, ``bs_vae`` without its epsilon.
Where images can be reconstructed exactly and beta is small, variance goes to zero and loss to -inf.
"""

import math

from torch import Tensor

import rdbench


@rdbench.variant(
    "sigma_vae_optimal",
    native="optimal_shared",
    beta_rate=True,
    paper="Rybkin, Daniilidis & Levine, ICML 2021, optimal sigma",
)
def sigma_vae_optimal(sse: Tensor, rate: Tensor, beta: Tensor | float, n: int) -> Tensor:
    """n/2 (ln(2 pi sigma^2) + 1) + beta rate, with sigma^2 = the batch's mean of sse / n."""
    variance = sse.mean() / n
    return n / 2 * ((2 * math.pi * variance).log() + 1) + beta * rate
