"""linear_coder: its weights against numpy's closed form, its curve against Shannon's and trained networks."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rdbench import datasets
from rdbench.datasets import Split
from rdbench.errors import SpecError
from rdbench.numerics import theory
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import Hooks, run_pack
from rdbench.vae import models

CPU = torch.device("cpu")
DATA = Path(os.environ.get("RDBENCH_DATA", "RDBENCH_DATA is not set"))
LATENT = 8


def trials_of(betas, variant="linear_coder", dataset="digits", latent=LATENT, network="conv", **settings):
    model = {"name": network, "latent": latent} | ({"channels": [8]} if network == "conv" else {})
    asked = {"name": "t", "dataset": dataset, "variants": [variant], "beta": betas, "model": model}
    return plan(Sweep.model_validate(asked | settings)).trials


def run(trials, data):
    """Run trials; return the tables and the model of each."""
    found = {}
    hooks = Hooks(on_network=lambda trial, model: found.__setitem__(trial.id, model))
    packs = [[trial] for trial in trials] if trials[0].variant.name == "linear_coder" else [trials]
    tables = [each for pack in packs for each in run_pack(pack, data, CPU, hooks=hooks)]
    return [(each, found.get(trial.id)) for trial, each in zip(trials, tables, strict=True)]


def measured(tables, split="test"):
    row = next(row for row in tables["points"] if row["split"] == split)
    return row["rate"], row["sse"]


def flat(images):
    scale = 255 if images.dtype == np.uint8 else 1
    return images.reshape(len(images), -1).astype(np.float64) / scale


def spectrum(images):
    values, vectors = np.linalg.eigh(np.cov(flat(images).T, bias=True))
    return values[::-1], vectors[:, ::-1]


def expected(network, images):
    """Return the mean rate and squared error of a linear network over images and all noise, by numpy."""
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    x, variance = flat(images), np.exp(state["log_var"])
    mean = x @ state["encoder.weight"].T + state["encoder.bias"]
    error = x - mean @ state["decoder.weight"].T - state["decoder.bias"]
    sse = (error**2).sum(1).mean() + (state["decoder.weight"] ** 2 * variance).sum()
    rate = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1).mean()
    return rate, sse


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.load(trials_of([1])[0].dataset, tmp_path_factory.mktemp("data"))


def test_rate_and_error_are_those_of_the_closed_form(digits):
    values, _ = spectrum(digits.train.images)
    betas = [1e-4, 0.02, 0.3, 1.0]
    for beta, (tables, model) in zip(betas, run(trials_of(betas), digits), strict=True):
        level = beta / 2
        coded = [value for value in values[:LATENT] if value > level]
        rate = sum(0.5 * math.log(value / level) for value in coded)
        sse = values.sum() - sum(value - level for value in coded)
        assert expected(model.network, digits.train.images) == pytest.approx((rate, sse), rel=1e-5)
        # One sample an image: the error's own standard error is under half a per cent here.
        assert measured(tables, "train") == pytest.approx((rate, sse), rel=0.015)
        assert tables["trials"][0]["status"] == "done"


def test_no_other_linear_network_has_a_smaller_loss(digits):
    (_, model), beta = run(trials_of([0.3]), digits)[0], 0.3
    generator = torch.Generator().manual_seed(0)
    rate, sse = expected(model.network, digits.train.images)
    for scale in (1e-3, 1e-2, 0.1):
        for parameter in model.network.parameters():
            before = parameter.data.clone()
            parameter.data += scale * torch.randn(parameter.shape, generator=generator)
            moved_rate, moved_sse = expected(model.network, digits.train.images)
            assert moved_sse + beta * moved_rate > sse + beta * rate
            parameter.data = before


def test_latents_below_the_water_level_are_standard_normal_and_decode_to_nothing(digits):
    values, _ = spectrum(digits.train.images)
    level = float(values[2:4].mean())  # three latents lie above
    model = run(trials_of([2 * level]), digits)[0][1]
    images = torch.tensor(flat(digits.test.images), dtype=torch.float32).reshape(-1, 1, 8, 8)
    mean, log_var = model.encode(images)
    assert (log_var[:, :3] < 0).all()
    assert not mean[:, 3:].any()
    assert not log_var[:, 3:].any()
    latents = torch.randn(5, LATENT)
    changed = latents.clone()
    changed[:, 3:] = 7.0
    assert torch.equal(model.decode(latents), model.decode(changed))


def test_above_every_eigenvalue_the_rate_is_zero_and_the_reconstruction_the_mean_image(digits):
    tables, model = run(trials_of([1e3]), digits)[0]
    assert tables["trials"][0]["status"] == "done"
    assert measured(tables)[0] == 0
    mean = flat(digits.train.images).mean(0)
    assert measured(tables)[1] == pytest.approx(
        ((flat(digits.test.images) - mean) ** 2).sum(1).mean(), rel=1e-5
    )
    np.testing.assert_allclose(model.decode(torch.randn(1, LATENT)).detach().flatten(), mean, rtol=1e-5)


@pytest.mark.parametrize(("dims", "decay", "latent"), [(16, 1.2, 16), (16, 1.2, 12), (256, 0.7, 32)])
def test_on_a_gaussian_source_it_lies_on_shannons_curve(dims, decay, latent, tmp_path):
    source = {"name": "gaussian", "eigenvalues": {"scale": 2.0, "decay": decay, "dims": dims}}
    trials = trials_of([0.02, 0.3, 1.0, 3.0], dataset=source, latent=latent, network="linear")
    data = datasets.load(trials[0].dataset, tmp_path)
    assert len(data.train.images) == 65_536
    eigenvalues = 2.0 * np.arange(1, dims + 1) ** -decay
    for tables, _ in run(trials, data):
        rate, sse = measured(tables)
        # Measured: 0.2 % off at most.
        assert sse == pytest.approx(theory.sse_at(eigenvalues, rate, latent), rel=0.01)


@pytest.mark.skipif(not (DATA / "MNIST" / "raw").is_dir(), reason=f"no MNIST in {DATA}")
def test_on_mnist_it_has_the_error_that_an_outside_program_measured():
    trial = trials_of([0.1847], dataset={"name": "mnist", "train_images": 10_000}, latent=32)[0]
    rate, sse = measured(run([trial], datasets.load(trial.dataset, DATA))[0][0])
    assert rate == pytest.approx(36.3, abs=0.05)
    assert sse == pytest.approx(16.2, rel=0.02)


def test_a_trained_linear_network_comes_near_from_above(digits):
    betas, recipe = [0.3, 1.0], {"epochs": 40, "batch_size": 64, "lr": 2e-2, "weight_decay": 0}
    nets = trials_of(betas, "beta_vae", network="linear", train=recipe)
    ours = run(trials_of(betas, network="linear"), digits)
    for beta, (_, net), (_, coder) in zip(betas, run(nets, digits), ours, strict=True):
        (rate, sse), (best_rate, best_sse) = (
            expected(model.network, digits.train.images) for model in (net, coder)
        )
        # Measured: 0.67 and 0.25 % above. At beta 0.1 200 epochs at 5e-3 come within 0.64 %; 2,000 at 1e-2
        # come within 0.03 % at each.
        assert 1 < (sse + beta * rate) / (best_sse + beta * best_rate) < 1.02


def test_the_option_latent_leaves_the_others_unused(digits):
    few = run(trials_of([0.1], {"name": "linear_coder", "components": 3}), digits)[0]
    same = run(trials_of([0.1], latent=3), digits)[0]
    for one, other in zip(
        *(expected(model.network, digits.test.images) for _, model in (few, same)), strict=True
    ):
        assert one == pytest.approx(other, rel=1e-6)
    with pytest.raises(
        SpecError, match=r"option components is 9, but the sweep's model.latent is 8; set"
    ) as told:
        models.build(trials_of([0.1], {"name": "linear_coder", "components": 9})[0], digits.shape, 1437)
    assert "\n" not in str(told.value)


def test_seeds_differ_by_noise_alone_unless_the_protocol_augments(digits):
    flipped = replace(digits, augmentation="flip")

    def weights(data, protocol):
        trials = trials_of([0.1], seeds=2, protocol=protocol, train={"batch_size": 64})
        return [model.network.decoder.weight for _, model in run(trials, data)]

    one, other = weights(flipped, "clean")
    assert torch.equal(one, other)
    one, other = weights(flipped, "paper")
    assert not torch.equal(one, other)
    one, other = weights(digits, "paper")  # nothing to augment
    assert torch.equal(one, other)


def test_it_has_no_history_and_is_the_same_when_its_weights_are_read_again(digits):
    trial = trials_of([0.1])[0]
    tables, model = run([trial], digits)[0]
    assert tables["history"] == []
    assert tables["trials"][0]["images_per_second"] is None
    again = models.from_bytes(trial, digits.shape, 1437, models.to_bytes(model), CPU)
    images, noise = torch.rand(4, 1, 8, 8), torch.randn(4, LATENT)
    assert torch.equal(model(images, noise).reconstruction, again(images, noise).reconstruction)
    assert [row["native"] for row in tables["points"] if row["reading"] == "half"] == [True, True]


def test_images_that_are_not_finite_are_told_in_a_line(digits):
    images = flat(digits.train.images).astype(np.float32).reshape(-1, 1, 8, 8)
    images[3] = np.nan
    tables = run(trials_of([0.1]), replace(digits, train=Split(images, None)))[0][0]
    (row,) = tables["trials"]
    assert row["status"] == "diverged"
    assert "covariance of the training images is not finite" in row["error"]
    assert "points" not in tables
