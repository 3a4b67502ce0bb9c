"""sigma-VAE with the batch's optimal variance: the likelihood's maximum and probabilistic PCA."""

import math

import numpy as np
import pytest
import torch
from gaussian_oracle import log_likelihood

from rdbench import datasets
from rdbench.datasets.gaussian import spectrum
from rdbench.numerics import theory
from rdbench.numerics.likelihood import gaussian_nll
from rdbench.registry import variants
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import run_trial

CPU = torch.device("cpu")
GAUSSIAN = {
    "name": "t",
    "dataset": {
        "name": "gaussian",
        "eigenvalues": [2.0, 1.0, 0.5],
        "train_images": 8192,
        "test_images": 8192,
    },
    "variants": ["sigma_vae_optimal"],
    "model": {"name": "linear", "latent": 2},
    "train": {"epochs": 16, "batch_size": 128, "lr": 2e-2, "weight_decay": 0},
}
DIGITS = {
    "name": "t",
    "dataset": {"name": "digits", "train_images": 256},
    "model": {"latent": 4, "channels": [8, 16]},
    "train": {"epochs": 2, "batch_size": 64},
}


def objective(sse, rate, beta, n):
    return variants.get("sigma_vae_optimal").objective(sse, rate, beta, n)


def random(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1


def test_its_mean_is_the_least_gaussian_loss_over_one_variance_for_the_batch():
    sse, rate, n = random(12) * 40, random(12), 64
    loss = objective(sse, rate, 0.5, n).mean()
    best = sse.mean() / n
    at = [
        (gaussian_nll(sse, best.item() * factor, n) + 0.5 * rate).mean().item() for factor in (0.99, 1, 1.01)
    ]
    assert loss.item() == pytest.approx(at[1], rel=1e-12)
    assert at[0] > at[1] < at[2]


def test_its_gradient_is_that_of_a_gaussian_whose_variance_is_held_at_the_optimum():
    sse, rate, n = random(12) * 40, random(12), 64
    free = sse.clone().requires_grad_()
    objective(free, rate, 0.5, n).mean().backward()
    held = sse.clone().requires_grad_()
    gaussian_nll(held, sse.mean().item() / n, n).mean().backward()
    torch.testing.assert_close(free.grad, held.grad, rtol=1e-12, atol=0)


def test_a_batch_of_one_image_makes_it_bs_vae_but_for_the_epsilon():
    sse, rate = random(1) * 40, random(1)
    bs_vae = variants.get("bs_vae").objective(sse, rate, 3.0, 64)
    torch.testing.assert_close(
        objective(sse, rate, 3.0, 64), bs_vae, rtol=0, atol=32 * 1e-5 / sse.item() * 20
    )


def test_the_images_of_a_batch_share_a_variance():
    sse, rate = random(7).requires_grad_(), random(7)
    loss = objective(sse, rate, 0.1, 10)
    assert loss.shape == (7,)
    gradients = torch.stack([torch.autograd.grad(one, sse, retain_graph=True)[0] for one in loss])
    assert (gradients > 0).all()  # each image's error weighs on the loss of every other


def test_a_batch_without_any_error_has_no_optimum_and_nothing_hides_it():
    assert objective(torch.zeros(3), torch.zeros(3), 1.0, 64).tolist() == [-math.inf] * 3


def trained(beta):
    (trial,) = plan(Sweep.model_validate(GAUSSIAN | {"beta": [beta]})).trials
    tables = run_trial(trial, datasets.load(trial.dataset, None), CPU)
    (native,) = (row for row in tables["points"] if row["split"] == "test" and row["native"])
    assert native["reading"] == "optimal_shared"
    return native, spectrum(trial.dataset)


def test_at_beta_one_its_elbo_is_the_likelihood_of_probabilistic_pca():
    native, eigenvalues = trained(1.0)
    # The maximum over the variance: the mean of the eigenvalues that the latents leave out.
    exact = max(log_likelihood(eigenvalues, s, 2) for s in np.linspace(0.3, 0.7, 401))
    assert exact == pytest.approx(log_likelihood(eigenvalues, 0.5, 2), abs=1e-9)
    # Measured: -4.245 for -4.257; the standard error of 8,192 images is 0.017 nats.
    assert native["elbo"] == pytest.approx(exact, abs=0.04)


@pytest.mark.parametrize("beta", [0.5, 1.5])
def test_on_a_gaussian_source_it_stops_at_the_fixed_point_of_a_shared_variance(beta):
    native, eigenvalues = trained(beta)
    predicted = theory.predict("optimal_shared", eigenvalues, 2, beta)
    # Measured, rate and sse: +0.1% and +0.2% at 0.5, +3.5% (0.02 nats) and -1.5% at 1.5. The fixed point of
    # bs_vae, which is this loss with batches of one image, has a rate 44% above and 100% below.
    assert native["rate"] == pytest.approx(predicted.rate, rel=0.02, abs=0.04)
    assert native["sse"] == pytest.approx(predicted.sse, rel=0.03)
