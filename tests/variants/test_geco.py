"""GECO: the error is the one asked for, and the multiplier is what follows."""

import pytest
import torch

from rdbench import datasets
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import run_trial
from rdbench.vae import models
from rdbench.vae.evaluation import measure
from rdbench.vae.training import train

CPU = torch.device("cpu")
RANGE = 1e6


def trial_of(beta, epochs=60, **options):
    recipe = {"epochs": epochs, "batch_size": 32, "lr": 2e-2}
    asked = {"name": "t", "dataset": "digits", "variants": [{"name": "geco", **options}], "beta": [beta]}
    model = {"name": "linear", "latent": 16}
    return plan(Sweep.model_validate(asked | {"train": recipe, "model": model})).trials[0]


def built(beta=0.1, **options):
    return models.build(trial_of(beta, **options), (1, 8, 8), 1437)


def terms(mse, rate=1.0, images=4):
    """Terms of images with a given error, under which the loss is to be taken."""
    sse = torch.full((images,), 64 * mse, requires_grad=True)
    return models.Terms(torch.zeros(images, 1, 8, 8), (), torch.zeros(images, 16), sse,
                        torch.full((images,), rate, requires_grad=True), None)  # fmt: skip


def trained(tmp_path, beta, **settings):
    """Return the trained model, its multiplier after each epoch, and what was measured in training images."""
    trial = trial_of(beta, **settings)
    data = datasets.load(trial.dataset, tmp_path)
    model, multipliers = models.build(trial, data.shape, len(data.train.images)), []
    (reason,) = train(
        [model], [trial], data, CPU, lambda _, epoch: multipliers.append(model.multiplier.item())
    )
    assert reason is None
    return model, multipliers, measure(model, trial, data, "train", CPU)


def test_the_target_is_half_of_beta_unless_it_is_given():
    assert built(0.1).target == 0.05
    assert built(0.1, mse=0.02).target == 0.02
    assert built(0.1).multiplier.item() == pytest.approx(10)  # 1 / (2 target)
    with pytest.raises(ValueError, match=r"-1\.0 is out of range; use at least 0"):
        built(0.1, mse=-1.0)


def test_its_loss_is_the_lagrangian_and_its_gradient_leaves_the_multiplier_out():
    model = built(0.1).eval()
    passed = terms(0.07, rate=3.0)
    loss = model.loss(torch.zeros(4, 1, 8, 8), passed, 0.1)
    torch.testing.assert_close(loss, torch.full((4,), 3 + 10 * 64 * 0.02))
    model.train()
    model.loss(torch.zeros(4, 1, 8, 8), passed, 0.1).sum().backward()
    torch.testing.assert_close(passed.rate.grad, torch.ones(4))
    torch.testing.assert_close(passed.sse.grad, model.multiplier.expand(4))


def test_a_multiplier_that_starts_as_a_gaussians_weight_gives_beta_vaes_gradient():
    # lambda = 1 / (2 target) = 1 / beta: rate + sse / beta, which is sse + beta rate over beta.
    model = built(0.25).eval()
    low, high = (model.loss(torch.zeros(4, 1, 8, 8), terms(mse), 0.25)[0].item() for mse in (0.1, 0.2))
    assert high - low == pytest.approx(64 * 0.1 / 0.25)


def test_the_multiplier_follows_the_running_error_by_its_formula_and_only_in_training():
    model = built(0.1, step=0.5, memory=0.75)
    running, multiplier = None, 10.0
    for mse in (0.06, 0.04, 0.045, 0.5, 0.001):
        model.loss(torch.zeros(4, 1, 8, 8), terms(mse), 0.1)
        running = mse if running is None else 0.75 * running + 0.25 * mse
        multiplier *= min(max(running / 0.05, 0.5), 2) ** 0.5
        assert model.running.item() == pytest.approx(running, rel=1e-5)
        assert model.multiplier.item() == pytest.approx(multiplier, rel=1e-5)
    model.eval()
    model.loss(torch.zeros(4, 1, 8, 8), terms(0.5), 0.1)
    assert model.multiplier.item() == pytest.approx(multiplier, rel=1e-5)


def test_to_first_order_the_step_is_the_papers_exponential():
    model = built(0.1, step=0.3)
    model.loss(torch.zeros(4, 1, 8, 8), terms(0.05 * 1.001), 0.1)
    papers = torch.tensor(0.3 * (0.05 * 1.001 - 0.05) / 0.05).exp().item()
    assert model.multiplier.item() / 10 == pytest.approx(papers, abs=1e-6)


@pytest.mark.parametrize("target", [0.025, 0.035])
def test_on_digits_the_error_is_the_one_asked_for_and_the_multiplier_settles(tmp_path, target):
    _, multipliers, measured = trained(tmp_path, 2 * target, step=0.03)
    # Measured, over the target: 1.004 and 0.994; the multiplier within a factor of 1.04 and 1.12.
    assert measured.sse.mean() / 64 == pytest.approx(target, rel=0.03)
    assert measured.rate.mean() > 1
    last = multipliers[-10:]
    assert max(last) < 1.3 * min(last)
    assert multipliers[0] / RANGE < last[-1] < multipliers[0] * RANGE


def test_a_target_given_as_mse_is_met_whatever_beta_is_and_that_is_all_that_beta_does(tmp_path):
    given, by_beta = (trained(tmp_path, beta, epochs=3, **own)[2]
                      for beta, own in ((7.0, {"mse": 0.03}), (0.06, {})))  # fmt: skip
    assert given.sse.tolist() == by_beta.sse.tolist()


def test_a_target_above_the_datas_variance_ends_at_no_rate_and_an_error_below_it(tmp_path):
    model, multipliers, measured = trained(tmp_path, 10.0, epochs=25)
    assert measured.rate.mean() < 0.01  # measured: 3e-6
    assert measured.sse.mean() / 64 < model.target
    assert multipliers[-1] == pytest.approx(model.start / RANGE, rel=1e-3)


def test_a_target_out_of_reach_ends_at_the_greatest_multiplier_and_is_missed(tmp_path):
    model, multipliers, measured = trained(tmp_path, 1e-4, epochs=25)
    assert multipliers[-1] == pytest.approx(model.start * RANGE, rel=1e-3)
    assert measured.sse.mean() / 64 > 20 * model.target
    assert measured.sse.mean() / 64 < 0.0115  # measured: 0.01097; 16 principal components leave 0.01096


def test_no_reading_is_native_and_the_trial_is_done(tmp_path):
    trial = trial_of(0.06, epochs=1)
    tables = run_trial(trial, datasets.load(trial.dataset, tmp_path), CPU)
    assert tables["trials"][0]["status"] == "done"
    assert not any(row["native"] for row in tables["points"])
