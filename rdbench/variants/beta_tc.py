"""beta-TCVAE: of the rate, only the total correlation between latents is penalised by beta."""

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

import rdbench


class Parts(NamedTuple):
    """The rate of each image taken apart, by one sample, in nats, each (batch,)."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise: Tensor


def decompose(latents: Tensor, mean: Tensor, log_var: Tensor, images: int, stratified: bool) -> Parts:
    """Return ln q(z|x)/q(z), ln q(z)/prod_d q(z_d) and ln prod_d q(z_d)/p(z_d), q(z) estimated on a batch.

    Args:
        latents: a sample z_i of each image's posterior, (batch, latent), like ``mean`` and ``log_var``.
        mean: of the posteriors.
        log_var: of the posteriors.
        images: N, of the training split.
        stratified: which estimate, see :class:`BetaTc`.
    """
    batch = len(latents)
    centred = latents.unsqueeze(1) - mean
    densities = -0.5 * (math.log(2 * math.pi) + log_var + centred.square() * (-log_var).exp())  # i, j, d
    weights = latents.new_full((batch, batch), -math.log(batch * images))
    if stratified:
        others = (images - 1) / (images * max(batch - 1, 1))
        weights.fill_(math.log(others) if others else -math.inf).fill_diagonal_(-math.log(images))
    joint = (weights + densities.sum(2)).logsumexp(1)
    marginals = (weights.unsqueeze(2) + densities).logsumexp(1).sum(1)
    conditional = densities.sum(2).diagonal()
    prior = -0.5 * (math.log(2 * math.pi) + latents.square()).sum(1)
    return Parts(conditional - joint, joint - marginals, marginals - prior)


@rdbench.variant("beta_tc", native="half", paper="Chen, Li, Grosse & Duvenaud, NeurIPS 2018")
class BetaTc(rdbench.Model):
    """sse + alpha MI + beta TC + gamma sum_d KL(q(z_d) || p(z_d)), which is sse + KL where all three are 1.

    MI = E ln q(z|x) / q(z), TC = E ln q(z) / prod_d q(z_d). Here q(z) = 1/N sum_n q(z|x_n) over the N
    training images is estimated on a batch of M by ln q(z_i) ~ ln 1/(N M) sum_j q(z_i|x_j), the paper's
    minibatch-weighted sampling, and q(z_d) alike.

    Unlike elsewhere in rdbench, beta multiplies the total correlation alone. The measured rate is the whole
    KL, in closed form. The weighted estimate of ln q(z) is too low, by ln M where only an image's own
    posterior counts at z, by ln N where all do. Its factor 1/(N M) leaves the gradient unchanged, but shifts
    the loss in the history where alpha, beta and gamma differ.

    Args:
        alpha: weight of the mutual information between image and latents.
        gamma: weight of the dimension-wise KL.
        stratified: take the paper's stratified estimate instead, which is unbiased for q(z_i):
            1/N q(z_i|x_i) + (N - 1) / (N (M - 1)) sum over j != i of q(z_i|x_j). (The paper gives one other
            image another weight; this is the mean over which one.)
    """

    capturable = True

    def __init__(
        self,
        about: rdbench.About,
        *,
        alpha: float = 1.0,
        gamma: Annotated[float, Field(ge=0)] = 1.0,
        stratified: bool = False,
    ) -> None:
        super().__init__(about)
        self.alpha, self.gamma, self.stratified = alpha, gamma, stratified

    def loss(self, images: Tensor, terms: rdbench.Terms, beta: float) -> Tensor:
        """Return sse + alpha MI + beta TC + gamma (dimension-wise KL), (batch,)."""
        mean, log_var = terms.posterior
        parts = decompose(terms.latents, mean, log_var, self.about.train_images, self.stratified)
        weights = [terms.sse.new_full((1,), weight) for weight in (self.alpha, beta, self.gamma)]
        with torch.autocast(images.device.type, enabled=False):  # bf16 would round the sum to 8 bits
            return terms.sse + torch.cat(weights) @ torch.stack(parts)
