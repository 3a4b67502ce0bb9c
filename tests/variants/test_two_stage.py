"""two_stage: the second stage's loss against torch.distributions, and where its samples lie on digits."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from rdbench import datasets
from rdbench.registry import variants
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.api import Run
from rdbench.trial.by_kind import train_and_measure
from rdbench.vae.batches import Images
from rdbench.vae.models import seeded
from rdbench.variants.two_stage import SecondStage

CPU = torch.device("cpu")


def _trial(variant="two_stage", beta: float = 0.1, epochs: int = 1, **options) -> Trial:
    sweep = Sweep.model_validate(
        {
            "name": "test",
            "dataset": {"name": "digits"},
            "variants": [{"name": variant, **options}],
            "beta": [beta],
            "train": {"epochs": epochs, "batch_size": 64, "lr": 0.01},
            "model": {"latent": 8, "channels": [16]},
        }
    )
    return plan(sweep).trials[0]


def _fitted(trial: Trial, data):
    with seeded(trial, CPU):
        function = variants.get(trial.variant).target
        return function(Run(trial, CPU, (trial.beta,)), data, **trial.variant.options)


@pytest.fixture
def digits(tmp_path):
    return datasets.load(_trial().dataset, tmp_path)


def _second() -> SecondStage:
    torch.manual_seed(0)
    stage = SecondStage(3, 16).double()
    torch.nn.init.constant_(stage.log_variance, -1.0)
    return stage


def test_the_second_loss_is_minus_the_evidence_bound_of_the_latents():
    stage = _second()
    z, noise = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mean, log_var = stage.posterior(torch.cat([z, stage.encoder(z)], 1)).chunk(2, 1)
    posterior = Independent(Normal(mean, (log_var / 2).exp()), 1)
    u = mean + noise * (log_var / 2).exp()
    likelihood = Independent(Normal(stage.decode(u), torch.tensor(-0.5).double().exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    truth = -likelihood.log_prob(z) + kl_divergence(posterior, prior)
    torch.testing.assert_close(stage.loss(z, noise), truth, rtol=1e-12, atol=1e-12)


def test_the_second_decoder_sees_u_past_its_hidden_layers_too():
    stage = _second()
    torch.nn.init.zeros_(stage.output.weight[:, 3:])  # what follows the hidden layers
    u = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(stage.decode(u), u @ stage.output.weight[:, :3].T + stage.output.bias)


@torch.no_grad()
def test_samples_of_the_second_stage_have_its_decoders_noise():
    stage = _second().float()
    torch.nn.init.zeros_(stage.output.weight)
    samples = stage.sample(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples.mean(0), stage.output.bias, rtol=0, atol=0.02)
    torch.testing.assert_close(samples.var(0), torch.full((3,), -1.0).exp(), rtol=0.05, atol=0)


def test_the_first_stage_is_sigma_vae_and_the_second_leaves_it_alone(digits):
    first = _fitted(_trial(second_epochs=1, width=8), digits).model
    both = _fitted(_trial(second_epochs=2, width=8), digits).model
    (plain,) = train_and_measure([_trial("sigma_vae")], digits, CPU, lambda member, epoch: None)
    ours, theirs = both.state_dict(), plain.model.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    before, after = first.second.state_dict(), both.second.state_dict()
    assert not torch.equal(before["output.weight"], after["output.weight"])
    assert all(value.requires_grad for value in both.parameters())


def test_a_second_stage_that_diverges_is_reported(digits):
    trial = _trial(second_epochs=3, width=8)
    run = Run(trial, CPU, (trial.beta,))
    with seeded(trial, CPU), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecondStage, "loss", lambda stage, z, noise: stage.decode(z).sum(1) * float("nan"))
        result = variants.get(trial.variant).target(run, digits, **trial.variant.options)
    assert result.diverged == "the second stage's loss became nan in epoch 1 of 3"


def _energy(a: torch.Tensor, b: torch.Tensor) -> float:
    """Energy distance of two samples: 2 E|a - b| - E|a - a'| - E|b - b'|."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


@torch.no_grad()
def test_on_digits_samples_start_nearer_to_the_latents_of_test_images_than_from_a_standard_normal(digits):
    with torch.enable_grad():
        model = _fitted(_trial(epochs=12, second_epochs=30, width=64), digits).model
    generator = torch.Generator().manual_seed(0)
    posterior = model.encode(Images(digits.test, CPU).batch(torch.arange(360)))
    latents = model.sample(posterior, torch.randn(360, 8, generator=generator))
    second = _energy(model.prior(2000, generator), latents)
    standard = _energy(torch.randn(2000, 8, generator=generator), latents)
    assert second < 0.5 * standard  # 0.030 and 0.175: 0.17 of it
