"""beta_tc: the rate taken apart, the estimates of the aggregate posterior, and what beta does on digits."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from rdbench import datasets
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.by_kind import train_and_measure
from rdbench.vae import models
from rdbench.vae.batches import Images
from rdbench.vae.models import Terms
from rdbench.variants.beta_tc import decompose

CPU = torch.device("cpu")


def _trial(beta: float = 1.0, **options) -> Trial:
    sweep = Sweep.model_validate(
        {
            "name": "test",
            "dataset": {"name": "digits"},
            "variants": [{"name": "beta_tc", **options}],
            "beta": [beta],
            "train": {"epochs": 12, "batch_size": 64, "lr": 0.01},
            "model": {"latent": 8, "channels": [16]},
        }
    )
    return plan(sweep).trials[0]


def _posteriors(count: int, latent: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, means and log variances in float64; the aggregate's latents are correlated."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(count, latent, generator=generator, dtype=torch.float64)
    mean[:, 1] += mean[:, 0]
    log_var = torch.randn(count, latent, generator=generator, dtype=torch.float64) - 1
    noise = torch.randn(count, latent, generator=generator, dtype=torch.float64)
    return mean + noise * (log_var / 2).exp(), mean, log_var


def _rate(latents: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """ln q(z|x) - ln p(z) of each latent."""
    own = Normal(mean, (log_var / 2).exp()).log_prob(latents)
    return (own - Normal(0, 1).log_prob(latents)).sum(1)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_three_parts_add_up_to_the_one_sample_estimate_of_the_rate(stratified):
    drawn = _posteriors(7)
    parts = decompose(*drawn, 100, stratified)
    torch.testing.assert_close(sum(parts), _rate(*drawn), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("stratified", "shift"), [(True, 0.0), (False, math.log(50))])
def test_on_all_images_the_estimates_are_the_aggregate_posterior(stratified, shift):
    latents, mean, log_var = _posteriors(50)
    weights = Categorical(torch.ones(50, dtype=torch.float64))
    scale = (log_var / 2).exp()
    joint = MixtureSameFamily(weights, Independent(Normal(mean, scale), 1)).log_prob(latents)
    marginals = sum(
        MixtureSameFamily(weights, Normal(mean[:, d], scale[:, d])).log_prob(latents[:, d]) for d in range(3)
    )
    conditional = Normal(mean, scale).log_prob(latents).sum(1)
    prior = Normal(0, 1).log_prob(latents).sum(1)
    # The weighted estimate is lower by ln N, and that of three marginals by three times as much.
    expected = (conditional - joint + shift, joint - marginals + 2 * shift, marginals - prior - 3 * shift)
    for part, truth in zip(decompose(latents, mean, log_var, 50, stratified), expected, strict=True):
        torch.testing.assert_close(part, truth, rtol=1e-10, atol=1e-10)


def test_the_stratified_estimate_of_the_density_is_unbiased_over_batches():
    latents, mean, log_var = _posteriors(6)
    q = Independent(Normal(mean, (log_var / 2).exp()), 1).log_prob(latents[0]).exp()
    estimates = []
    for first in range(1, 6):
        for second in range(first + 1, 6):  # every batch of three that image 0 is in
            index = [0, first, second]
            parts = decompose(latents[index], mean[index], log_var[index], 6, True)
            estimates.append(q[0].log() - parts.mutual_information[0])
    torch.testing.assert_close(torch.stack(estimates).exp().mean(), q.mean(), rtol=1e-12, atol=0)


def test_the_loss_weighs_each_part_by_its_own_weight():
    images = torch.zeros(5, 1, 8, 8)
    latents, mean, log_var = (part.float() for part in _posteriors(5, 8))
    terms = Terms(images, (mean, log_var), latents, torch.arange(5.0), torch.zeros(5), images)
    parts = decompose(latents, mean, log_var, 100, False)

    def loss(beta: float, **options: float) -> torch.Tensor:
        return models.build(_trial(beta, **options), (1, 8, 8), 100).loss(images, terms, beta)

    weighted = 2 * parts.mutual_information + 3 * parts.total_correlation + 5 * parts.dimension_wise
    torch.testing.assert_close(loss(3, alpha=2, gamma=5), terms.sse + weighted)
    torch.testing.assert_close(loss(1), terms.sse + _rate(latents, mean, log_var), rtol=1e-5, atol=1e-4)


def test_the_parts_are_summed_in_float32_where_a_training_is_in_bf16():
    images = torch.zeros(5, 1, 8, 8)
    latents, mean, log_var = (part.float() for part in _posteriors(5, 8))
    terms = Terms(images, (mean, log_var), latents, torch.arange(5.0), torch.zeros(5), images)
    model = models.build(_trial(3.0, alpha=2.0, gamma=5.0), (1, 8, 8), 100)
    exact = model.loss(images, terms, 3.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.loss(images, terms, 3.0), exact)


@torch.no_grad()
def test_a_larger_beta_decorrelates_the_latents_of_digits(tmp_path):
    correlation = {}
    data = datasets.load(_trial().dataset, tmp_path)
    for beta in (0.1, 1.0):
        with torch.enable_grad():
            (outcome,) = train_and_measure(
                [_trial(beta, alpha=0.1, gamma=0.1)], data, CPU, lambda member, epoch: None
            )
        mean, log_var = outcome.model.encode(Images(data.test, CPU).batch(torch.arange(360)))
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
        latents = outcome.model.sample((mean, log_var), noise)
        parts = decompose(latents, mean, log_var, 360, True)  # of all test images: no estimate
        correlation[beta] = parts.total_correlation.mean().item()
    assert correlation[0.1] > 1  # 1.89 nats
    assert correlation[1.0] < 0.3 * correlation[0.1]  # 0.12 nats: 0.065 of it
