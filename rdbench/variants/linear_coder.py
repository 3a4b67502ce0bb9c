"""The linear coder: the best linear VAE, in closed form from the images' mean and covariance.

With the training images' mean m and the eigenpairs (l_i, u_i) of their covariance, largest first, k latents
and the water level t = beta / 2, over the latents with l_i > t

    q(z_i|x) = N(sqrt(l_i - t) / l_i u_i'(x - m), t / l_i)       decoder mean = m + sum sqrt(l_i - t) z_i u_i

are the optimum of sse + beta rate over all linear encoders and decoders (Lucas et al. 2019; with beta =
2 sigma^2, probabilistic PCA). The other latents are N(0, 1) whatever x is: they cost no rate and decode to
nothing. On the training images

    rate = sum over l_i > t, i <= k of 1/2 ln(l_i / t)      sse = sum of all l_i - sum over those of (l_i - t)

which depend on second moments alone: on a Gaussian source this is Shannon's rate-distortion function, and on
any other of the same covariance R(D) lies at or below it, as k grows (Cover & Thomas, theorem 10.3.3 and
problem 10.8). So it is a curve without training, and a network that lies above it codes these images worse
than a linear one could.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

import rdbench
from rdbench.errors import SpecError
from rdbench.numerics.principal import principal_components


@rdbench.variant(
    "linear_coder",
    native="half",
    closed_form=True,
    beta_rate=True,
    paper="Lucas et al., NeurIPS 2019; Cover & Thomas 2006, theorem 10.3.3",
)
class LinearCoder(rdbench.Model):
    """sse + beta rate at its least over all linear VAEs, from the images' covariance: nothing is trained.

    Its network is rdbench's ``linear``, whatever the sweep's is. Up to 2,048 values an image the eigenpairs
    are exact; above, they span a subspace that misses a few millionths of the variance
    (:mod:`rdbench.numerics.principal`). Epochs, learning rate and weight decay mean nothing to it, and its
    history has no rows.

    The moments are those of the training images as the protocol measures them. ``clean``: as they are, so
    seeds differ by the noise of the evaluation alone. ``paper``: augmented, one draw an image by the trial's
    seed, since test images are augmented there too. Where beta / 2 is above the largest eigenvalue the rate
    is 0, and every reconstruction is the mean image.

    Args:
        components: how many latents carry anything, at most the sweep's ``model.latent``; 0 for as many.
    """

    def __init__(self, about: rdbench.About, *, components: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__(replace(about, spec=about.spec.model_copy(update={"name": "linear"})))
        if components > about.latent:
            raise SpecError(
                f"option components is {components}, but the sweep's model.latent is {about.latent};"
                f" set model.latent to {components} or more"
            )
        self.coded = components or about.latent

    @torch.no_grad()
    def solve(self, images: Callable[[], Iterable[Tensor]]) -> str | None:
        """Set the weights; return why there are none where an image is not finite."""
        found = principal_components(images, self.coded)
        if not math.isfinite(found.trace):
            return "the covariance of the training images is not finite: values of them are not, or too large"
        level = self.about.beta / 2
        active = int((found.variances > level).sum())
        variances, vectors = found.variances[:active], found.vectors[:, :active]
        gain = (variances - level).sqrt()
        encoder = vectors * (gain / variances)
        weights = {name: torch.zeros_like(value) for name, value in self.network.state_dict().items()}
        weights["encoder.weight"][:active] = encoder.T.float()
        weights["encoder.bias"][:active] = -(found.mean @ encoder).float()
        weights["log_var"][:active] = (level / variances).log().float()
        weights["decoder.weight"][:, :active] = (vectors * gain).float()
        weights["decoder.bias"][:] = found.mean.float()
        self.network.load_state_dict(weights)
        return None
