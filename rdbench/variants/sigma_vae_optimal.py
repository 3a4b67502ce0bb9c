"""sigma-VAE with the optimal variance, found analytically: one for all images of a batch.

A plain VAE fixes the decoder's variance; here it is, at every step, the one of highest likelihood,

    sigma^2 = argmin over s of mean of [sse / (2 s) + n/2 ln(2 pi s)] = mean of sse / n

which put back leaves n/2 (ln(2 pi sigma^2) + 1). The mean is over the images of the batch, so this objective
couples them (and never the members of a pack): as the batch grows it is the loss of one variance for the
whole data, whose optimum on a Gaussian source is the water level beta D / n, at beta = 1 probabilistic PCA.
A batch of one makes it ``bs_vae`` without its epsilon. Where images can be reconstructed exactly and beta is
small the variance runs to zero and the loss to -inf; nothing here hides that.
"""

import math

from torch import Tensor

from rdbench.registry.variants import variant


@variant(
    "sigma_vae_optimal",
    native="optimal_shared",
    paper="Rybkin, Daniilidis & Levine, ICML 2021, optimal sigma",
)
def sigma_vae_optimal(sse: Tensor, rate: Tensor, beta: Tensor | float, n: int) -> Tensor:
    """n/2 (ln(2 pi sigma^2) + 1) + beta rate, with sigma^2 = the batch's mean of sse / n."""
    variance = sse.mean(0, keepdim=True) / n  # images are dimension 0; members, where there are any, 1
    return n / 2 * ((2 * math.pi * variance).log() + 1) + beta * rate
