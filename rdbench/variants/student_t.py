"""A Student-t decoder: heavy tails, so that outliers pull less on the rest.

Each value has a Student-t distribution, of location mu, scale s and nu degrees of freedom (a Gaussian whose
precision has a gamma prior, marginalised):

    -ln p(x|z) = sum over values j of  (nu+1)/2 ln(1 + (x_j - mu_j)^2 / (nu s^2))
                 + ln Gamma(nu/2) - ln Gamma((nu+1)/2) + 1/2 ln(pi nu) + ln s

The gradient by an error e is (nu+1) e / (nu s^2 + e^2): bounded, where a Gaussian's is e / s^2. As nu grows
it becomes that Gaussian, of variance s^2.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import rdbench

SPEED = 10.0  # learning rate of the shared ln s and ln nu relative to the weights': Adam's steps are small


@rdbench.variant("student_t", native="own", beta_rate=True, paper="Takahashi et al., IJCAI 2018")
class StudentT(rdbench.Model):
    """The Student-t negative log-likelihood + beta rate; scale and degrees of freedom are learned.

    In the paper the decoder gives scale and degrees of freedom of every value (option ``per_value``). By
    default they are one number each for all values of all images: simpler, and more stable where pixels are
    constant.

    Args:
        dof: degrees of freedom nu, > 0; 0 to learn them, above 2, so that mean and variance exist: below, a
            peak at constant pixels would pay for any error elsewhere.
        initial_scale: the shared scale s before training, in units of the data.
        per_value: scale (and nu, where learned) of each value from the decoder, as in the paper.
    """

    capturable = True

    def __init__(
        self,
        about: rdbench.About,
        *,
        dof: Annotated[float, Field(ge=0)] = 0.0,
        initial_scale: Annotated[float, Field(gt=0)] = 1.0,
        per_value: bool = False,
    ) -> None:
        super().__init__(about)
        self.dof = dof
        if per_value:
            self.network = about.network(outputs=3 if dof == 0 else 2)
        else:
            self.slow_log_scale = nn.Parameter(torch.tensor(math.log(initial_scale) / SPEED))
            if dof == 0:
                self.slow_log_excess = nn.Parameter(torch.tensor(math.log(8.0) / SPEED))

    def mean(self, output: Tensor) -> Tensor:
        """Return the location: the first channels of what the decoder gives."""
        return output[:, : self.about.shape[0]]

    def scale_and_dof(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and degrees of freedom, float64: one number each, or shaped as the images."""
        logs = list(output.split(self.about.shape[0], dim=1))[1:]
        if not logs:
            shared = (self.slow_log_scale, getattr(self, "slow_log_excess", None))
            logs = [SPEED * value for value in shared if value is not None]
        scale, *excess = (log.double().exp() for log in logs)
        return scale, 2 + excess[0] if excess else torch.full_like(scale, self.dof)

    def distortion(self, images: Tensor, terms: rdbench.Terms) -> Tensor:
        """Return the Student-t negative log-likelihood, in nats, (batch,)."""
        scale, dof = self.scale_and_dof(terms.output)
        # In float64: ln Gamma(nu/2) - ln Gamma((nu+1)/2) cancels, and nu grows where tails are light.
        constant = (
            torch.lgamma(dof / 2) - torch.lgamma((dof + 1) / 2) + (math.pi * dof).log() / 2 + scale.log()
        )
        error = images - terms.reconstruction
        nll = (dof + 1) / 2 * torch.log1p((error / scale).square() / dof) + constant
        return nll.flatten(1).sum(1).to(images.dtype)
