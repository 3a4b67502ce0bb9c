"""Trials trained side by side are the trials trained alone, bit for bit."""

import dataclasses
import logging
import math
import os
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from rdbench import datasets
from rdbench.errors import DatasetError
from rdbench.registry import variants
from rdbench.registry.source import shipped
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import ModelSpec, Sweep, VariantSpec
from rdbench.trial import by_kind
from rdbench.trial.job import Job, Outputs
from rdbench.trial.run import Hooks, run_pack, run_trial
from rdbench.trial.worker import work
from rdbench.vae import models
from rdbench.vae.checkpoints import Checkpointer, Keeping, Stopped
from rdbench.vae.training import learning_rate, train

CPU = torch.device("cpu")
PACKING = sorted(name for name in shipped() if variants.declared(name).packs)
TIMES = {"seconds", "images_per_second", "started", "peak_memory_bytes", "pack"}
DIVERGES = 3e38
"""A beta whose loss overflows at once."""


def members(trial, **train_settings):
    """Four trials: two variants, three betas, two seeds."""
    recipe = trial.train.model_copy(update=train_settings)
    settings = [("bs_vae", 1.0, 0), ("beta_vae", 0.1, 1), ("bs_vae", 10.0, 1), ("beta_vae", 1.0, 0)]
    return [
        trial.model_copy(
            update={"variant": VariantSpec(name=name), "beta": beta, "seed": seed, "train": recipe}
        )
        for name, beta, seed in settings
    ]


def built(trials, data):
    return [models.build(one, data.shape, len(data.train.images)) for one in trials]


def without_times(tables):
    return {
        name: [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
        for name, rows in tables.items()
    }


def results(pack, data):
    """The tables of each trial and the bytes of each network, by its id."""
    weights = {}
    hooks = Hooks(on_network=lambda trial, model: weights.update({trial.id: models.to_bytes(model)}))
    tables = run_pack(pack, data, CPU, Outputs(per_image=True), hooks)
    return [
        (without_times(of_trial), weights.get(one.id)) for one, of_trial in zip(pack, tables, strict=True)
    ]


def assert_as_alone(pack, data, alone=None):
    """Hold a pack against its trials alone, of which some are known; return the trials' statuses."""
    together, alone = results(pack, data), {} if alone is None else alone
    for one, ours in zip(pack, together, strict=True):
        expected = alone.get(one.id) or results([one], data)
        assert [ours] == expected, (one.variant.name, one.beta, one.seed)
        alone[one.id] = expected
    return [tables["trials"][0]["status"] for tables, _ in together]


def test_all_that_train_by_the_reference_recipe_pack():
    alone = sorted(shipped().keys() - set(PACKING))
    # Solved, not trained; a codec; and the two whose trial function does more than one training.
    assert alone == ["codec", "linear_coder", "multi_rate", "two_stage"]


@pytest.fixture(scope="module")
def alone():
    """What trials were alone, by augmentation and id: two of each pack below are the same in all."""
    return defaultdict(dict)


@pytest.mark.parametrize("augmentation", ["none", "flip", "rotate_crop"])
@pytest.mark.parametrize("name", PACKING)
def test_a_member_is_bit_for_bit_what_it_is_alone(trial, data, alone, name, augmentation):
    """Of every variant that ships, beside another variant, another seed and a member that diverges."""
    protocol = "clean" if augmentation == "none" else "paper"
    data = dataclasses.replace(data, augmentation=augmentation)
    settings = [(name, 0.5, 0), ("bs_vae", 2.0, 1), (name, 3.0, 1), (name, DIVERGES, 0), ("beta_vae", 0.5, 0)]
    pack = [
        trial.model_copy(
            update={"variant": VariantSpec(name=one), "beta": beta, "seed": seed, "protocol": protocol}
        )
        for one, beta, seed in settings
    ]
    statuses = assert_as_alone(pack, data, alone[augmentation])
    assert statuses[:3] + statuses[4:] == ["done"] * 4
    assert statuses[3] == ("done" if name == "autoencoder" else "diverged")  # it has no rate to weigh


@pytest.mark.skipif("RDBENCH_DATA" not in os.environ, reason="set RDBENCH_DATA to MNIST's folder")
@pytest.mark.parametrize("name", ["bs_vae", "student_t"])
def test_a_member_is_what_it_is_alone_on_mnist(name):
    sweep = Sweep.model_validate(
        {
            "name": "mnist",
            "dataset": {"name": "mnist", "train_images": 300, "test_images": 50},
            "variants": [name],
            "beta": [0.1, 1.0],
            "seeds": 2,
            "train": {"epochs": 1, "batch_size": 128},
        }
    )
    trials = plan(sweep).trials
    try:
        data = datasets.load(sweep.dataset, Path(os.environ["RDBENCH_DATA"]))
    except DatasetError as error:
        pytest.skip(str(error))
    assert data.augmentation == "rotate_crop"
    assert assert_as_alone(trials, data) == ["done"] * 4


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_an_affine_network_packs_as_well_and_so_does_bf16(trial, data, precision):
    update = {"model": ModelSpec(name="linear", latent=4)}
    pack = [one.model_copy(update=update) for one in members(trial, precision=precision)]
    assert assert_as_alone(pack, data) == ["done"] * 4


def test_a_pack_that_was_interrupted_ends_as_its_trials_alone(trial, data, tmp_path):
    pack = [
        trial.model_copy(update={"variant": VariantSpec(name=name), "seed": seed})
        for name, seed in (("geco", 0), ("sigma_vae", 1), ("bs_vae", 1))
    ]
    with pytest.raises(Stopped):
        run_pack(pack, data, CPU, checkpointer=Checkpointer(Keeping(tmp_path, stop=lambda: True), pack, CPU))
    tables = run_pack(pack, data, CPU, checkpointer=Checkpointer(Keeping(tmp_path), pack, CPU))
    for one, ours in zip(pack, tables, strict=True):
        assert len(ours["history"]) == 2
        assert without_times(ours) == without_times(run_trial(one, data, CPU))


def test_the_checkpoint_of_an_older_pack_is_not_taken_for_one_of_today(trial, data, tmp_path, caplog):
    pack = members(trial)
    kept = Checkpointer(Keeping(tmp_path, stop=lambda: True), pack, CPU)
    del kept._of["pack"]  # as it was when the members of a pack were one network
    with pytest.raises(Stopped):
        run_pack(pack, data, CPU, checkpointer=kept)
    with caplog.at_level(logging.WARNING):
        found = Checkpointer(Keeping(tmp_path), pack, CPU)
    assert found.history == [[], [], [], []]
    (line,) = caplog.messages
    assert line.endswith("it is of an earlier rdbench's packs, so these trials begin again")


def test_on_a_cpu_a_pack_runs_trial_by_trial(trial, data, tmp_path):
    trials, shares = members(trial, epochs=2), []
    work(trials, Job(tmp_path / "together", tmp_path), "cpu", shares.append)
    assert shares == [pytest.approx(eighths / 8) for eighths in range(1, 9)]
    for one in trials:
        ResultsFolder(tmp_path / "alone").commit(one.id, run_trial(one, data, CPU))
        ours, alone = (
            ResultsFolder(tmp_path / place).trial_tables(one.id) for place in ("together", "alone")
        )
        assert without_times(ours) == without_times(alone)
        assert ours["trials"][0]["pack"] == 1


def test_the_shares_of_the_time_add_up_to_the_time_of_the_pack(trial, data):
    trials = members(trial, epochs=1)
    rows = [tables["trials"][0] for tables in run_pack(trials, data, CPU)]
    assert {row["pack"] for row in rows} == {4}
    assert len({row["seconds"] for row in rows}) == 1
    images = 4 * 64  # 4 steps of 64
    history_seconds = images / rows[0]["images_per_second"]
    assert history_seconds < rows[0]["seconds"]


def test_a_member_that_diverges_has_its_history_up_to_there(trial, data, monkeypatch):
    def broken(sse, rate, beta, n):
        return sse * math.nan

    trials = members(trial, epochs=2)
    calm = run_pack(trials, data, CPU)
    get = variants.get

    def half_broken(which):
        found = get(which)
        return dataclasses.replace(found, target=broken) if found.declaration.name == "beta_vae" else found

    monkeypatch.setattr(variants, "get", half_broken)
    mixed = run_pack(trials, data, CPU)
    for one, before, after in zip(trials, calm, mixed, strict=True):
        if one.variant.name == "beta_vae":
            assert after["trials"][0]["status"] == "diverged"
            assert after["trials"][0]["error"] == "the loss became nan in epoch 1 of 2"
            assert "points" not in after
            assert after["history"] == []
        else:
            assert after["points"] == before["points"]


def test_a_pack_whose_members_all_diverged_stops(trial, data):
    seen = []
    trials = members(trial, epochs=5, lr=1e30)
    reasons = train(built(trials, data), trials, data, CPU, lambda k, epoch: seen.append(epoch.epoch))
    assert all("in epoch" in reason for reason in reasons)
    assert max(seen, default=0) < 5


def test_trials_that_differ_in_more_than_variant_beta_and_seed_are_no_pack(trial, data):
    pack = [trial, trial.model_copy(update={"protocol": "paper"})]
    with pytest.raises(ValueError, match="nothing but variant, beta and seed"):
        train(built(pack, data), pack, data, CPU)


def test_a_variant_that_does_not_pack_is_refused_among_several(trial, data):
    other = trial.model_copy(update={"variant": VariantSpec(name="linear_coder")})
    with pytest.raises(ValueError, match="linear_coder does not pack; run each of its trials by itself"):
        by_kind.train_and_measure([trial, other], data, CPU, lambda member, epoch: None)


def test_the_learning_rate_is_torchs_cosine_with_restarts():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 23 // 2 + 1)
    theirs = []
    for _ in range(23):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [learning_rate(3e-4, step, 23) for step in range(23)] == pytest.approx(theirs, rel=1e-12)
