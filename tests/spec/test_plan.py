"""A plan trains what a sweep asks for once, and knows a trial by the settings that change its numbers."""

import hashlib
import json
import subprocess
import sys
import time

import pytest

from rdbench import datasets
from rdbench.registry.source import shipped
from rdbench.spec import plan as planning
from rdbench.spec.plan import Trial, canonical_json, changed_settings, plan, trained
from rdbench.spec.sweep import Resources, Sweep, TrainSpec, VariantSpec, dump_sweep, load_sweep


def sweep(**settings) -> Sweep:
    required = {"name": "try", "dataset": "mnist", "variants": ["beta_vae", "bs_vae"], "beta": [10, 0.1, 1]}
    return Sweep.model_validate(required | settings)


def trial(**settings) -> Trial:
    """The first trial of a sweep with one variant and beta."""
    return plan(sweep(**{"variants": ["bs_vae"], "beta": [1]} | settings)).trials[0]


def test_a_plan_holds_every_combination_once():
    trials = plan(sweep(seeds=3)).trials
    assert len(trials) == 3 * 2 * 3
    assert len({t.id for t in trials}) == len(trials)


def test_trials_come_seed_by_seed_then_by_beta_then_by_variant():
    order = [(t.seed, t.beta, t.variant.name) for t in plan(sweep(seeds=2)).trials]
    assert order[:3] == [(0, 0.1, "beta_vae"), (0, 0.1, "bs_vae"), (0, 1.0, "beta_vae")]
    assert order == sorted(order)


def test_what_is_done_is_not_left_to_do_and_other_sweeps_do_not_count():
    whole = plan(sweep())
    done = {whole.trials[1].id, whole.trials[4].id, "0123456789abcdef"}
    rest = plan(sweep(), done)
    assert rest.todo == [t for t in whole.trials if t.id not in done]
    assert len(rest.todo) == 4
    assert "; 2 done" in rest.summary()


def test_a_longer_sweep_keeps_the_trials_of_a_shorter_one():
    done = {t.id for t in plan(sweep()).trials}
    longer = plan(sweep(beta={"logspace": [1e-2, 1e2, 5]}, seeds=2), done)
    assert longer.done == done
    assert {(t.beta, t.seed) for t in longer.todo} == {
        (0.01, 0), (100.0, 0), (0.01, 1), (0.1, 1), (1.0, 1), (10.0, 1), (100.0, 1),
    }  # fmt: skip


# Identity


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": [2]},
        {"seeds": [1]},
        {"variants": ["beta_vae"]},
        {"protocol": "paper"},
        {"dataset": "fashion_mnist"},
        {"dataset": {"name": "mnist", "train_images": 100}},
        {"dataset": {"name": "mnist", "test_images": 100}},
        {"train": {"epochs": 49}},
        {"train": {"batch_size": 511}},
        {"train": {"lr": 2e-3}},
        {"train": {"weight_decay": 0}},
        {"train": {"augment": False}},
        {"train": {"precision": "bf16"}},
        {"model": {"latent": 31}},
        {"model": {"channels": [32, 64]}},
        {"model": {"name": "linear"}},
    ],
    ids=str,
)
def test_a_setting_that_can_change_a_number_makes_another_trial(settings):
    assert trial(**settings).id != trial().id


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "other"},
        {"readings": ["half"]},
        {"resources": {"cpus": 4, "gpus": 0.5}},
        {"keep_per_image": True},
        {"metrics": []},
    ],
    ids=str,
)
def test_a_setting_that_changes_no_number_leaves_the_trial_the_same(settings):
    assert trial(**settings).id == trial().id


def test_a_default_that_is_written_out_leaves_the_trial_the_same():
    written = {
        "dataset": {"name": "mnist", "train_images": None},
        "train": {"epochs": 50, "lr": 1e-3},
        "model": {"name": "conv", "latent": 32, "channels": [32, 64, 128]},
        "seeds": 1,
        "variants": [{"name": "bs_vae"}],
    }
    assert trial(**written).id == trial().id


def test_the_id_is_the_hash_of_the_settings_and_the_recipe(monkeypatch):
    settings = {
        "beta": 1,
        "dataset": {"name": "mnist", "test_images": None, "train_images": None},
        "model": {"channels": [32, 64, 128], "latent": 32, "name": "conv"},
        "protocol": "clean",
        "recipe": 1,
        "seed": 0,
        "train": {
            **{"augment": True, "batch_size": 512, "epochs": 50, "lr": 0.001},
            **{"precision": "float32", "weight_decay": 1e-05},
        },
        "variant": {"name": "bs_vae", "options": {}},
    }
    text = json.dumps(settings, separators=(",", ":"))
    assert trial().id == hashlib.sha256(text.encode()).hexdigest()[:16]
    monkeypatch.setattr(planning, "RECIPE", 2)
    assert trial().id != hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", sorted(shipped()))
def test_of_shipped_variants_only_those_that_now_sum_in_float32_are_other_trials_in_bf16(name, precision):
    """What earlier versions trained under the old id is not mixed with what is trained now."""
    one = trial(variants=[name], train={"precision": precision})
    before = {"recipe": 1, **one.model_dump(mode="json", exclude={"variant": {"source"}})}
    changed = precision == "bf16" and name in ("beta_tc", "multi_rate")
    assert (one.id != hashlib.sha256(canonical_json(before).encode()).hexdigest()[:16]) == changed


def test_a_variant_of_ones_own_that_has_the_name_of_a_shipped_one_keeps_its_identity_in_bf16():
    one = trial(train={"precision": "bf16"})
    one = one.model_copy(update={"variant": VariantSpec.model_construct(name="beta_tc", code="0" * 64)})
    before = {"recipe": 1, **one.model_dump(mode="json", exclude={"variant": {"source"}})}
    assert one.id == hashlib.sha256(canonical_json(before).encode()).hexdigest()[:16]


def test_equal_settings_are_equal_text_whatever_their_order_and_number_type():
    assert canonical_json({"b": 1.0, "a": [2, 0.1]}) == canonical_json({"a": [2.0, 0.1], "b": 1})
    assert canonical_json(True) != canonical_json(1)
    assert canonical_json(0.1) != canonical_json(0.1 + 1e-16 * 2)
    assert canonical_json("1") != canonical_json(1)


@pytest.mark.parametrize("name", datasets.names())
def test_a_trial_survives_json_with_its_id(name):
    options = {"name": name} | ({"path": "photos", "size": 16, "on_bad": "skip"} if name == "folder" else {})
    original = trial(dataset=options, seeds=[3], beta=[1e-4])
    copy = Trial.from_json(original.to_json())
    assert copy == original
    assert type(copy.dataset) is type(original.dataset)
    assert copy.id == original.id


# The account of a plan


def test_the_summary_counts_trainings_and_points():
    whole = plan(sweep(beta={"logspace": [1e-4, 1e3, 57]}))
    first, second = whole.summary().splitlines()
    assert first == "57 betas x 2 variants x 5 readings: 114 trainings, 570 points; 0 done"
    assert second == "sigma^2 = 1/2 and sigma^2 = beta/2 are two readings of one training: 57 trainings saved"


def test_the_summary_says_how_many_trials_take_no_training():
    whole = plan(sweep(beta=[1, 2], variants=["bs_vae", "linear_coder", "vamp_prior"], seeds=3))
    assert whole.summary().splitlines()[1] == "6 of these are solved in closed form, without training"
    assert [trial.variant.name for trial in trained(whole.trials)] == ["bs_vae", "vamp_prior"] * 6


def test_the_summary_mentions_several_seeds_and_single_things():
    assert (
        plan(sweep(seeds=5))
        .summary()
        .startswith("3 betas x 2 variants x 5 seeds x 5 readings: 30 trainings, 150 points; 0 done\n")
    )
    single = plan(sweep(beta=[1], variants=["bs_vae"], readings=["optimal"]))
    assert single.summary() == "1 beta x 1 variant x 1 reading: 1 training, 1 point; 0 done"


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({}, 3),
        ({"seeds": 5}, 15),
        ({"readings": ["half", "beta_half", "optimal"]}, 3),
        ({"readings": ["half", "optimal"]}, 0),
        ({"variants": ["bs_vae"]}, 0),
    ],
    ids=str,
)
def test_only_the_two_constant_variances_share_trainings(settings, saved):
    lines = plan(sweep(**settings)).summary().splitlines()
    assert [line.split(": ")[1] for line in lines[1:]] == ([f"{saved} trainings saved"] if saved else [])


# One folder, one setting


def test_a_growing_grid_changes_no_settings():
    grown = sweep(beta=[1, 2, 3], seeds=4, variants=["bs_vae"])
    assert changed_settings(sweep(), grown) == []


def test_what_changes_no_number_is_no_changed_setting():
    other = sweep(name="other", readings=["half"], resources={"gpus": 1}, keep_per_image=True)
    assert changed_settings(sweep(), other) == []


def test_changed_settings_are_named_with_both_values():
    other = sweep(
        dataset={"name": "mnist", "train_images": 100},
        protocol="paper",
        train={"epochs": 2},
        model={"channels": [8, 16]},
    )
    assert changed_settings(sweep(), other) == [
        "dataset.train_images: null -> 100",
        'protocol: "clean" -> "paper"',
        "train.epochs: 50 -> 2",
        "model.channels: [32, 64, 128] -> [8, 16]",
    ]


def test_an_option_only_one_dataset_has_is_a_changed_setting():
    lines = changed_settings(sweep(), sweep(dataset={"name": "folder", "path": "x", "size": 28}))
    assert 'dataset.name: "mnist" -> "folder"' in lines
    assert "dataset.size: (not set) -> 28" in lines


def test_a_sweep_saved_and_loaded_has_no_changed_settings(tmp_path):
    (tmp_path / "sweep.yaml").write_text(dump_sweep(sweep()))
    loaded = load_sweep(tmp_path / "sweep.yaml")
    assert changed_settings(loaded, sweep()) == []
    assert [t.id for t in plan(loaded).trials] == [t.id for t in plan(sweep()).trials]


def test_a_sweep_of_specs_built_in_python_plans_the_same_trials():
    built = Sweep(
        name="try",
        dataset=datasets.get("mnist").options(name="mnist"),
        variants=(VariantSpec(name="bs_vae"),),
        beta=(1.0,),
        train=TrainSpec(epochs=50),
        resources=Resources(cpus=8, niceness=5),
    )
    assert plan(built).trials == (trial(),)


# Speed


def test_planning_a_thousand_trials_is_immediate(tmp_path):
    grid = "variants: [beta_vae, bs_vae]\nbeta: {logspace: [1e-4, 1e3, 100]}\nseeds: 5\n"
    (tmp_path / "sweep.yaml").write_text(f"name: x\ndataset: mnist\n{grid}")
    load_sweep(tmp_path / "sweep.yaml")  # imports what it needs
    start = time.process_time()
    whole = plan(load_sweep(tmp_path / "sweep.yaml"))
    assert "1,000 trainings" in whole.summary()
    assert len(whole.todo) == 1000
    assert time.process_time() - start < 0.3


def test_planning_imports_nothing_heavy():
    heavy = {"torch", "ray", "pandas", "pyarrow", "scipy", "sklearn", "altair", "ruamel"}
    code = f"import sys, rdbench.spec.plan; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_changed_copy_of_a_trial_has_an_identity_of_its_own(trial):
    assert trial.model_copy(update={"seed": 7}).id != trial.id
