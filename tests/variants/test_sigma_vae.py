"""sigma-VAE: the learned variance is that of the errors, and reads as the optimal shared one."""

import math

import pytest
import torch

from rdbench import datasets
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import run_trial
from rdbench.vae import models
from rdbench.vae.models import Terms

CPU = torch.device("cpu")


def trial_of(variant, beta=1.0, **train):
    recipe = {"epochs": 20, "batch_size": 64, "lr": 1e-2} | train
    asked = {"name": "t", "dataset": "digits", "variants": [variant], "beta": [beta], "train": recipe}
    return plan(Sweep.model_validate(asked | {"model": {"name": "linear", "latent": 8}})).trials[0]


def built(**options):
    return models.build(trial_of({"name": "sigma_vae", **options}), (1, 8, 8), 1437)


def terms(images):
    torch.manual_seed(0)
    reconstruction = torch.rand_like(images)
    sse = (images - reconstruction).square().flatten(1).sum(1)
    return Terms(
        reconstruction, (), torch.zeros(len(images), 8), sse, torch.rand(len(images)), reconstruction
    )


@pytest.mark.parametrize("variance", [0.02, 3.0])
def test_its_distortion_is_the_gaussian_log_density_whatever_the_speed(variance):
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    passed = terms(images)
    density = torch.distributions.Normal(passed.reconstruction, math.sqrt(variance)).log_prob(images)
    for speed in (1.0, 10.0):
        model = built(initial_variance=variance, speed=speed).double()
        torch.testing.assert_close(
            model.distortion(images, passed), -density.flatten(1).sum(1), rtol=1e-6, atol=0
        )  # the variance begins in float32
        expected = model.distortion(images, passed) + 0.3 * passed.rate
        torch.testing.assert_close(model.loss(images, passed, 0.3), expected)


def test_at_a_variance_of_one_half_its_loss_is_that_of_beta_vae_and_a_constant():
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    passed = terms(images)
    excess = built(initial_variance=0.5).double().loss(images, passed, 2.0) - (passed.sse + 2 * passed.rate)
    torch.testing.assert_close(excess, torch.full_like(excess, 32 * math.log(math.pi)), rtol=1e-6, atol=1e-5)


def test_the_gradient_of_the_variance_vanishes_where_it_is_the_mean_squared_error_of_a_value():
    images = torch.rand(9, 1, 8, 8, dtype=torch.float64)
    passed = terms(images)
    best = passed.sse.mean().item() / 64

    def slope(variance):
        model = built().double()
        model.slow_log_sigma.data.fill_(math.log(variance) / 2 / model.speed)
        model.distortion(images, passed).mean().backward()
        return model.slow_log_sigma.grad.item()

    assert abs(slope(best)) < 1e-9
    assert slope(best / 1.1) < -10
    assert slope(best * 1.1) > 10


def test_a_step_of_adam_moves_ln_sigma_by_speed_times_the_learning_rate():
    images = torch.rand(5, 1, 8, 8)
    for speed in (1.0, 10.0):
        model = built(speed=speed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
        model.distortion(images, terms(images)).mean().backward()
        optimizer.step()
        assert abs(model.variance.log().item() / 2) == pytest.approx(1e-3 * speed, rel=1e-3)


def test_on_digits_the_variance_arrives_at_the_training_error_and_reads_as_optimal_shared(tmp_path):
    trial, kept = trial_of("sigma_vae"), []
    data = datasets.load(trial.dataset, tmp_path)
    tables = run_trial(trial, data, CPU, on_network=lambda _, model: kept.append(model))
    assert tables["trials"][0]["status"] == "done"
    variance = kept[0].variance.item()
    rows = {(row["split"], row["reading"]): row for row in tables["points"]}
    error = rows["train", "own"]["mse"]
    assert variance == pytest.approx(error, rel=0.03)  # measured: 0.03151 for 0.03150
    for split, tolerance in (("train", 0.02), ("test", 0.1)):  # nats of 64 values; measured: 4e-6, 0.005
        own, shared = rows[split, "own"], rows[split, "optimal_shared"]
        assert own["native"]
        assert not shared["native"]
        assert 0 <= own["distortion"] - shared["distortion"] < tolerance
        # What a variance that is not the split's own costs, exactly.
        ratio = own["mse"] / variance
        excess = 32 * (ratio - 1 - math.log(ratio))
        assert own["distortion"] - shared["distortion"] == pytest.approx(excess, rel=1e-3, abs=1e-4)
