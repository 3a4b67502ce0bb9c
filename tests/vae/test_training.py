"""Training follows the recipe, repeats bit for bit, and says so when it diverges."""

import math

import pytest
import torch

from rdbench.errors import DatasetError
from rdbench.spec.plan import steps_per_epoch
from rdbench.spec.sweep import VariantSpec
from rdbench.vae import augment, models
from rdbench.vae.training import train

CPU = torch.device("cpu")


def fit(trial, data):
    network = models.build(trial, data.shape, len(data.train.images))
    history = []
    (diverged,) = train([network], [trial], data, CPU, lambda member, epoch: history.append(epoch))
    assert diverged is None
    return network, history


def altered(trial, **train_settings):
    return trial.model_copy(update={"train": trial.train.model_copy(update=train_settings)})


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def test_training_repeats_bit_for_bit_whatever_ran_before(trial, data):
    first, _ = fit(trial, data)
    torch.manual_seed(123)
    torch.rand(7)
    fit(trial.model_copy(update={"beta": 50.0}), data)
    assert same(first, fit(trial, data)[0])


def test_another_seed_gives_another_model(trial, data):
    assert not same(fit(trial, data)[0], fit(trial.model_copy(update={"seed": 1}), data)[0])


def test_training_lowers_the_loss(trial, data):
    _, history = fit(altered(trial, epochs=8), data)
    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert history[-1].loss < history[0].loss - 10
    assert history[-1].sse < history[0].sse


def test_the_learning_rate_anneals_and_restarts_once(trial, data):
    _, history = fit(altered(trial, epochs=8), data)  # 4 steps an epoch: 32, first period 17
    # The last step of epoch e is step 4 e - 1 of a cosine over 17 steps that begins again at step 17.
    expected = [1e-3 * (1 + math.cos(math.pi * ((4 * e - 1) % 17) / 17)) / 2 for e in range(1, 9)]
    assert [epoch.lr for epoch in history] == pytest.approx(expected, rel=1e-9)


def test_history_holds_the_mean_rate_and_squared_error_of_the_objective(trial, data):
    beta_vae = trial.model_copy(update={"variant": VariantSpec(name="beta_vae"), "beta": 3.0})
    _, history = fit(beta_vae, data)
    for epoch in history:
        assert epoch.loss == pytest.approx(epoch.sse + 3 * epoch.rate, rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_trial(trial, data):
    network = models.build(trial, data.shape, len(data.train.images))
    (reason,) = train([network], [altered(trial, lr=1e30)], data, CPU)
    assert "in epoch 1 of 2" in reason


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(DatasetError, match=r"batch_size is 512 but there are only 100 .* to 100 or less"):
        steps_per_epoch(100, 512)
    assert steps_per_epoch(1023, 512) == 1


def test_augmentation_is_applied_to_training_images_unless_switched_off(trial, data, monkeypatch):
    kinds = []
    apply = augment.apply
    monkeypatch.setattr(
        augment,
        "apply",
        lambda kind, images, parameters: kinds.append(kind) or apply(kind, images, parameters),
    )
    flipped = data.__class__(**{**vars(data), "augmentation": "flip"})
    fit(trial, flipped)
    fit(altered(trial, augment=False), flipped)
    assert set(kinds[:8]) == {"flip"}
    assert set(kinds[8:]) == {"none"}
