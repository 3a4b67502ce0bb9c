"""my_vae: in a line, how it differs from a plain VAE.

Here: the decoder's variance follows the error of each image, as in bs_vae, but never falls below a floor:

    loss = sse / (2 s) + n/2 ln(2 pi s) + beta rate,    s = sse / n + floor

With floor = 0 that is bs_vae.
"""

import math

from torch import Tensor

import rdbench


# native: the reading of sigma^2 whose distortion this loss minimises, up to constants ("half", "beta_half",
# "optimal", "optimal_shared"), None if there is none; with one, beta_rate=True says that the loss is that
# distortion + beta rate. paper: where it comes from.
@rdbench.variant("my_vae", native=None, paper="")
def my_vae(sse: Tensor, rate: Tensor, beta: Tensor, n: int, *, floor: float = 1e-3) -> Tensor:
    """sse / (2 s) + n/2 ln(2 pi s) + beta rate, with s = sse / n + floor.

    Args:
        sse: squared error of each image, summed over its n values, (batch,).
        rate: KL(q(z|x) || p(z)) of each image in nats, (batch,).
        beta: the weight of the rate, a tensor of one number.
        n: values in an image.
        floor: of the variance, in squared units of the data (pixels are in [0, 1]).
    """
    # Options such as floor stand after the *, with a type (int, float, bool, str) and a default; a sweep sets
    # them by {name: ./my_vae.py:my_vae, floor: 0.01}.
    variance = sse / n + floor
    return sse / (2 * variance) + n / 2 * (2 * math.pi * variance).log() + beta * rate
