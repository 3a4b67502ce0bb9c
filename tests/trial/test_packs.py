"""Trials trained side by side are the trials trained alone."""

import dataclasses
import math

import pytest
import torch

from rdbench.numerics.seeding import generator
from rdbench.registry import variants
from rdbench.results.store import ResultsFolder
from rdbench.spec.sweep import ModelSpec, VariantSpec
from rdbench.trial.job import Job, Outputs
from rdbench.trial.run import run_pack, run_trial
from rdbench.trial.worker import work
from rdbench.vae import batches, networks
from rdbench.vae.models import about
from rdbench.vae.packs import joined, objectives, separate
from rdbench.vae.training import learning_rate, train

CPU = torch.device("cpu")
MODELS = {
    "conv": ModelSpec(latent=4, channels=(8, 16)),
    "linear": ModelSpec(name="linear", latent=4),
}


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


def built(trial, shape):
    return networks.build(trial.model, shape, generator(trial.seed, "init"))


def packed(trials, shape):
    return joined([about(trial, shape, 0) for trial in trials])


def states(network, trials, shape):
    of = [about(trial, shape, 0) for trial in trials]
    return [member.state_dict() for member in separate(network, of)]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12)])
def test_members_begin_with_exactly_the_weights_they_have_alone(trial, model, shape):
    trials = [one.model_copy(update={"model": model}) for one in members(trial)]
    for one, state in zip(trials, states(packed(trials, shape), trials, shape), strict=True):
        alone = built(one, shape).state_dict()
        assert alone.keys() == state.keys()
        assert all(torch.equal(alone[name], state[name]) for name in alone)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_members_map_images_and_latents_as_alone(trial, model):
    shape = (3, 9, 12)
    trials = [one.model_copy(update={"model": model}) for one in members(trial)]
    images, noise = torch.rand(5, 4, *shape), torch.randn(5, 4, 4)
    together = packed(trials, shape).train()(images.flatten(1, 2), noise.flatten(1))
    for member, one in enumerate(trials):
        alone = built(one, shape).train()(images[:, member], noise[:, member])
        for ours, theirs in zip(together, alone, strict=True):
            part = ours.unflatten(1, (4, -1))[:, member]
            torch.testing.assert_close(part, theirs, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["none", "flip", "rotate_crop"])
def test_fused_losses_agree_with_single_runs_after_fifty_steps(trial, data, kind, monkeypatch):
    # In float64, as AdamW's first steps are lr times the gradient's sign: where a gradient is nothing but
    # rounding, float32 flips a few weights by 2 lr, as it does in a single run whose last bit is changed.
    monkeypatch.setattr(batches, "as_float", lambda pixels: pixels.double() / 255)
    augmented = dataclasses.replace(data, augmentation=kind)
    trials = members(trial, epochs=13)  # 4 steps an epoch: 52
    together = [[] for _ in trials]
    network = packed(trials, data.shape).double()
    train(network, trials, augmented, CPU, lambda k, epoch: together[k].append(epoch))
    for one, ours in zip(trials, together, strict=True):
        alone = []
        network = built(one, data.shape).double()
        train(network, [one], augmented, CPU, lambda k, epoch, to=alone: to.append(epoch))
        assert [epoch.loss for epoch in ours] == pytest.approx([epoch.loss for epoch in alone], rel=1e-9)
        assert [epoch.lr for epoch in ours] == [epoch.lr for epoch in alone]


def test_fused_affine_losses_agree_in_float32_too(trial, data):
    trials = [one.model_copy(update={"model": MODELS["linear"]}) for one in members(trial, epochs=13)]
    together = [[] for _ in trials]
    train(packed(trials, data.shape), trials, data, CPU, lambda k, epoch: together[k].append(epoch.loss))
    for one, ours in zip(trials, together, strict=True):
        alone = []
        train(built(one, data.shape), [one], data, CPU, lambda k, epoch, to=alone: to.append(epoch.loss))
        assert ours == pytest.approx(alone, rel=1e-4)


def without_times(tables):
    times = {"seconds", "images_per_second", "started", "peak_memory_bytes"}
    return {
        name: [{key: value for key, value in row.items() if key not in times} for row in rows]
        for name, rows in tables.items()
    }


def test_on_a_cpu_a_pack_runs_trial_by_trial_and_bit_for_bit_as_alone(trial, data, tmp_path):
    trials, shares = members(trial, epochs=2), []
    work(trials, Job(tmp_path / "together", tmp_path), "cpu", shares.append)
    assert shares == [pytest.approx(eighths / 8) for eighths in range(1, 9)]
    for one in trials:
        ResultsFolder(tmp_path / "alone").commit(one.id, run_trial(one, data, CPU))
        ours, alone = (
            ResultsFolder(tmp_path / place).trial_tables(one.id) for place in ("together", "alone")
        )
        assert without_times(ours) == without_times(alone)


@pytest.mark.parametrize("protocol", ["clean", "paper"])
def test_each_member_gets_the_tables_of_a_trial_of_its_own(trial, data, protocol):
    flipped = dataclasses.replace(data, augmentation="flip")
    trials = [one.model_copy(update={"protocol": protocol}) for one in members(trial, epochs=2)]
    for one, ours in zip(
        trials, run_pack(trials, flipped, CPU, outputs=Outputs(per_image=True)), strict=True
    ):
        alone = run_trial(one, flipped, CPU, outputs=Outputs(per_image=True))
        assert ours.keys() == alone.keys()
        assert ours["trials"][0]["spec"] == one.to_json()
        assert ours["trials"][0]["pack"] == 4
        assert ours["trials"][0]["parameters"] == alone["trials"][0]["parameters"]
        for table in ("points", "per_image", "history"):
            for our_row, row in zip(ours[table], alone[table], strict=True):
                for name, value in row.items():
                    if isinstance(value, float) and name not in ("seconds", "images_per_second"):
                        assert our_row[name] == pytest.approx(value, rel=2e-2, abs=0.2), name
        assert [row["kind"] for row in ours["images"]] == [row["kind"] for row in alone["images"]]


def test_the_shares_of_the_time_add_up_to_the_time_of_the_pack(trial, data):
    trials = members(trial, epochs=1)
    rows = [tables["trials"][0] for tables in run_pack(trials, data, CPU)]
    assert len({row["seconds"] for row in rows}) == 1
    images = 4 * 64  # 4 steps of 64
    history_seconds = images / rows[0]["images_per_second"]
    assert history_seconds < rows[0]["seconds"]


def test_a_member_that_diverges_does_not_disturb_the_others(trial, data, monkeypatch):
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
    reasons = train(packed(trials, data.shape), trials, data, CPU, lambda k, epoch: seen.append(epoch.epoch))
    assert all("in epoch" in reason for reason in reasons)
    assert max(seen, default=0) < 5


def test_trials_that_differ_in_more_than_variant_beta_and_seed_are_no_pack(trial, data):
    other = trial.model_copy(update={"protocol": "paper"})
    with pytest.raises(ValueError, match="nothing but variant, beta and seed"):
        train(packed([trial, other], data.shape), [trial, other], data, CPU)


def test_only_objectives_run_side_by_side(trial, data):
    other = trial.model_copy(update={"variant": VariantSpec(name="student_t")})
    with pytest.raises(ValueError, match="student_t is no objective; run each of its trials by itself"):
        run_pack([trial, other], data, CPU)


def test_objectives_keep_every_member_in_its_place(trial):
    trials = members(trial)
    sse, rate = torch.rand(7, 4) + 1, torch.rand(7, 4)
    loss = objectives(trials, 64, CPU)(sse, rate)
    for member, one in enumerate(trials):
        alone = variants.get(one.variant.name).objective(sse[:, member], rate[:, member], one.beta, 64)
        torch.testing.assert_close(loss[:, member], alone)


def test_the_learning_rate_is_torchs_cosine_with_restarts():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 23 // 2 + 1)
    theirs = []
    for _ in range(23):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [learning_rate(3e-4, step, 23) for step in range(23)] == pytest.approx(theirs, rel=1e-12)
