"""GECO: the least rate at a given squared error.

    minimise  mean of rate   subject to   mean of sse / n <= target

by the Lagrangian  rate + lambda (sse - n target), with lambda > 0 raised while the error is above the target
and lowered while it is below (Algorithm 1). *Beta does not multiply the rate here*: it sets the target,
beta / 2, so that the reading ``beta_half`` has the variance of the errors.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

import rdbench

RANGE = 1e6  # of lambda about its start


@rdbench.variant("geco", paper="Rezende & Viola, Taming VAEs, 2018, Algorithm 1")
class Geco(rdbench.Model):
    """rate + lambda (sse - n target); each step lambda *= (m / target)^step, m the running mse.

    The paper has lambda *= exp(step (m - target)), whose step is in inverse units of the error; here it has
    no unit, and to first order the two are the same. m / target is clamped to [1/2, 2]: the first batches
    are far off, and lambda would take long to recover. lambda starts at 1 / (2 target), the weight that a
    Gaussian of that variance has, and stays within a million times that. Where the target cannot be met it
    rises to that bound (an autoencoder); where it is met at no rate (above the data's variance) it falls to
    the lower bound, the rate to zero. It settles in a few thousand steps, later than the weights. Its loss
    is no likelihood, so no reading is native.

    Args:
        mse: the target, mean squared error of a value, in squared units of the data; 0 for beta / 2.
        step: how fast lambda follows, as the exponent above.
        memory: how much of the running mse stays at each step. The paper's 0.99 needs a smaller ``step``:
            lambda overshoots if it moves faster than the running mean.
    """

    capturable = True
    multiplier: Tensor
    running: Tensor

    def __init__(
        self,
        about: rdbench.About,
        *,
        mse: Annotated[float, Field(ge=0)] = 0.0,
        step: Annotated[float, Field(gt=0)] = 0.02,
        memory: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    ) -> None:
        super().__init__(about)
        self.target = mse or about.beta / 2
        self.step, self.memory = step, memory
        self.start = 1 / (2 * self.target)
        self.register_buffer("multiplier", torch.tensor(self.start))
        self.register_buffer("running", torch.tensor(-1.0))  # negative: no batch has been seen

    def loss(self, images: Tensor, terms: rdbench.Terms, beta: float) -> Tensor:
        """Return rate + lambda (sse - n target), (batch,); while training, let lambda follow the error."""
        if self.training:
            with torch.no_grad():
                mse = terms.sse.mean() / self.about.n
                mean = self.memory * self.running + (1 - self.memory) * mse
                self.running.copy_(torch.where(self.running < 0, mse, mean))
                ratio = (self.running / self.target).clamp(0.5, 2)
                multiplier = self.multiplier * ratio**self.step
                self.multiplier.copy_(multiplier.clamp(self.start / RANGE, self.start * RANGE))
        return terms.rate + self.multiplier.clone() * (terms.sse - self.about.n * self.target)
