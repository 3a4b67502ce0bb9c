"""The likelihood of 8-bit images: a density integrated over the bin of each of the 256 levels.

A density of pixels is no probability of them: on a fine enough grid it is as high as one likes. What compares
with bits of a file is the probability of the level, which for a decoder N(mu, variance) is

    P(k) = Phi((k + 1/2 - 255 mu) / (255 sigma)) - Phi((k - 1/2 - 255 mu) / (255 sigma)),  k = 0 .. 255,

the first and the last bin open towards -inf and +inf, so that the 256 sum to one.
"""

import math

import torch
from torch import Tensor

LEVELS = 256
_NARROW = 1e-5  # in standard deviations; below, the midpoint rule is right to 1e-11 and a difference is not


def binned_nll(images: Tensor, mean: Tensor, variance: Tensor | float) -> Tensor:
    """Return -ln P(level) of each value, in nats; float64, in the shape that the arguments broadcast to.

    Args:
        images: multiples of 1/255 in [0, 1]; values between are taken for the nearest.
        mean: the decoder's.
        variance: the decoder's, > 0, in units of images in [0, 1].
    """
    level = (images.double() * (LEVELS - 1)).round()
    sigma = torch.as_tensor(variance, dtype=torch.float64, device=images.device).sqrt()
    middle = (level / (LEVELS - 1) - mean.double()) / sigma
    half = 0.5 / (LEVELS - 1) / sigma
    # By symmetry to the side where Phi is small, and its logarithm exact.
    away = middle.abs()
    first, last = level == 0, level == LEVELS - 1
    upper = torch.where(first, half + middle, torch.where(last, half - middle, half - away))
    lower = torch.where(first | last, -math.inf, -half - away)
    near, far = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    integral = near + (-torch.expm1(far - near)).log()
    density = -0.5 * away.square() - 0.5 * math.log(2 * math.pi) + (2 * half).log()
    return -torch.where((2 * half < _NARROW) & ~(first | last), density, integral)
