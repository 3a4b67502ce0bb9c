"""Beta-Sigma VAE: the decoder variance is the optimal one of each image."""

import math

from torch import Tensor

import rdbench

EPS = 1e-5  # inside the logarithm: keeps the gradient finite where an image is reconstructed exactly


@rdbench.variant("bs_vae", native="optimal", beta_rate=True, paper="Kim & Lee, ICPR 2024, Eq. 6")
def bs_vae(sse: Tensor, rate: Tensor, beta: Tensor | float, n: int) -> Tensor:
    """n/2 (ln(2 pi sse/n + eps) + 1) + beta rate: sigma^2 = sse/n, the optimum of each image."""
    return n / 2 * ((2 * math.pi * sse / n + EPS).log() + 1) + beta * rate
