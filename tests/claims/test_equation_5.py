"""Eq. 5 of Kim & Lee: sigma^2 = 1/2 and sigma^2 = beta/2 are two readings of one trained model."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from rdbench.numerics.likelihood import gaussian_nll, kl_standard_normal
from rdbench.numerics.seeding import generator
from rdbench.registry import variants
from rdbench.spec.sweep import ModelSpec, VariantSpec
from rdbench.vae import models, networks
from rdbench.vae.evaluation import measure
from rdbench.vae.training import train

CPU = torch.device("cpu")


@pytest.mark.parametrize(("beta", "variance"), [(0.01, 0.5), (4.0, 0.5), (100.0, 2.0)])
def test_gradients_of_beta_vae_at_c_are_beta_times_those_of_the_elbo_at_beta_c(beta, variance):
    network = networks.build(
        ModelSpec(latent=6, channels=(8, 12)), (1, 12, 12), generator(0, "init")
    ).double()
    random = torch.Generator().manual_seed(0)
    images = torch.rand(16, 1, 12, 12, generator=random, dtype=torch.float64)
    noise = torch.randn(16, 6, generator=random, dtype=torch.float64)
    n = math.prod(images.shape[1:])

    def gradients(decoder_variance, beta):
        network.zero_grad()
        reconstruction, mean, log_var = network(images, noise)
        distortion = gaussian_nll((images - reconstruction).square().flatten(1).sum(1), decoder_variance, n)
        (distortion + beta * kl_standard_normal(mean, log_var)).mean().backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])

    beta_vae, elbo = gradients(variance, beta), gradients(beta * variance, 1.0)
    # The gradient of a bias before BatchNorm is zero, and rounding is all there is of it: compare the whole.
    assert ((beta_vae - beta * elbo).norm() / beta_vae.norm()).item() < 1e-10
    assert beta_vae.norm().item() > 1e-3
    assert ((beta_vae - elbo).norm() / beta_vae.norm()).item() > 0.5


def test_both_losses_train_the_same_curve_point_within_seed_noise(trial, data, monkeypatch):
    beta_vae = variants.get("beta_vae")

    def read_at_beta_half(sse, rate, beta, n):
        return gaussian_nll(sse, beta / 2, n) + rate  # (sse + beta rate) / beta and a constant

    beta = 0.05
    settings = trial.train.model_copy(update={"epochs": 25})
    update = {"variant": VariantSpec(name="beta_vae"), "beta": beta, "train": settings}

    def points(objective):
        variant = dataclasses.replace(beta_vae, target=objective)
        monkeypatch.setattr(variants, "get", lambda name: variant)
        found = []
        for seed in range(3):
            one = trial.model_copy(update={**update, "seed": seed})
            model = models.build(one, data.shape, len(data.train.images))
            train([model], [one], data, CPU)
            measured = measure(model, one, data, "test", CPU)
            found.append([measured.rate.mean(), measured.sse.mean()])
        return np.array(found)

    half, beta_half = points(beta_vae.objective), points(read_at_beta_half)
    noise = half.std(axis=0, ddof=1)
    assert half[:, 0].min() > 0.5, "nothing to compare: the posterior has collapsed"
    assert (np.abs(half.mean(axis=0) - beta_half.mean(axis=0)) < 2 * noise).all()
    assert (np.abs(half - beta_half).mean(axis=0) < noise).all(), (
        "a seed's two runs are closer than two seeds"
    )
