"""A grid varies settings beside variants, betas and seeds, and a combination has the trials it has alone."""

import pytest

from rdbench.errors import SpecError
from rdbench.spec.labels import trial_name_in
from rdbench.spec.plan import changed_settings, plan, trainings_saved
from rdbench.spec.sweep import Sweep, dump_sweep, load_sweep

DIGITS = {
    "name": "try",
    "dataset": "digits",
    "variants": ["beta_vae", "bs_vae"],
    "beta": [0.1, 1],
    "seeds": 2,
}
GRID = {"train.epochs": [20, 60], "model.latent": [8, 16]}


def sweep(**settings) -> Sweep:
    return Sweep.model_validate(DIGITS | settings)


def ids(wanted: Sweep) -> list[str]:
    return [trial.id for trial in plan(wanted).trials]


def written(tmp_path, text, *overrides):
    lines = "name: try\ndataset: digits\nvariants: [bs_vae]\nbeta: [1]\n"
    (tmp_path / "sweep.yaml").write_text(lines + text)
    return load_sweep(tmp_path / "sweep.yaml", overrides)


def test_a_combination_has_the_very_trials_that_a_sweep_of_it_alone_has():
    alone = [
        ids(sweep(train={"epochs": epochs}, model={"latent": latent}))
        for epochs in GRID["train.epochs"]
        for latent in GRID["model.latent"]
    ]
    assert sorted(ids(sweep(grid=GRID))) == sorted(name for names in alone for name in names)
    assert len(set(ids(sweep(grid=GRID)))) == 4 * 2 * 2 * 2


def test_a_seed_is_trained_at_every_combination_before_the_next():
    order = [
        (trial.seed, trial.train.epochs) for trial in plan(sweep(grid={"train.epochs": [60, 20]})).trials
    ]
    assert order == [(0, 60)] * 4 + [(0, 20)] * 4 + [(1, 60)] * 4 + [(1, 20)] * 4


def test_a_sweep_without_a_grid_is_written_without_one_and_one_with_it_is_read_again(tmp_path):
    assert "grid" not in dump_sweep(sweep())
    wanted = sweep(grid={"train.lr": [1e-3, 1], "model.channels": [[8, 16], [16]]})
    (tmp_path / "sweep.yaml").write_text(dump_sweep(wanted))
    loaded = load_sweep(tmp_path / "sweep.yaml")
    assert loaded == wanted
    assert ids(loaded) == ids(wanted)


def test_the_dry_run_counts_the_combinations():
    summary = plan(sweep(grid=GRID)).summary().splitlines()
    assert summary[0].startswith(
        "2 values of train.epochs x 2 values of model.latent x 2 betas x 2 variants x 2 seeds"
    )
    assert ": 32 trainings, 160 points; 0 done" in summary[0]
    assert trainings_saved(sweep(grid=GRID)) == 4 * trainings_saved(sweep())


def test_both_ways_of_writing_a_grid_are_one_and_an_override_reaches_into_it(tmp_path):
    dotted = written(tmp_path, "grid: {train.epochs: [2, 3]}")
    assert written(tmp_path, "grid: {train: {epochs: [2, 3]}}") == dotted
    assert written(tmp_path, "grid: {train.epochs: [7], train.lr: [1]}", "grid.train.epochs=[2, 3]").grid == {
        "train.epochs": (2, 3),
        "train.lr": (1.0,),
    }


@pytest.mark.parametrize(
    ("text", "key", "fix"),
    [
        ("grid: [1]", "grid", "write {train.epochs: [20, 60], model.latent: [8, 16]}"),
        ("grid: {train.epochs: 3}", "grid.train.epochs", "expected a list, got 3"),
        ("grid: {train.epochs: []}", "grid.train.epochs", "name at least one value"),
        ("grid: {train.epochs: [3, 0]}", "grid.train.epochs[1]", "0 is out of range; use at least 1"),
        ("grid: {train.epochs: [3, '4']}", "grid.train.epochs[1]", "got '4'; write digits only"),
        ("grid: {train: {epochs: [3, 3]}}", "grid.train.epochs[1]", "3 is there twice"),
        ("grid: {train.lr: [1, 1.0]}", "grid.train.lr[1]", "is there twice"),
        ("grid: {train.epoch: [3]}", "grid.train.epoch", "did you mean 'train.epochs'?"),
        ("grid: {protocol: [clean]}", "grid.protocol", "choose from train.epochs"),
        ("grid: {model.channels: [[8], [8, 8, 8, 8]]}", "grid.model.channels[1]", "name at most 3"),
        ("grid: {train.epochs: [1, 2]}\nsearch: curve", "grid", "name them in search.over"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line_with_the_key_and_the_fix(tmp_path, text, key, fix):
    with pytest.raises(SpecError) as refused:
        written(tmp_path, text)
    message = str(refused.value)
    assert f"sweep.yaml:5: {key}: " in message
    assert fix in message
    assert "\n" not in message


def test_a_grid_counts_towards_the_most_trainings_of_a_sweep():
    with pytest.raises(ValueError, match="16,000 trainings"):
        sweep(seeds=2000, grid={"train.epochs": [1, 2]})


def test_a_results_folder_grows_by_a_grid_but_not_by_another_setting_beside_it():
    grown = sweep(train={"epochs": 20}, grid={"train.epochs": [20, 60]})
    assert changed_settings(sweep(train={"epochs": 60}), grown) == []
    assert changed_settings(grown, sweep(train={"epochs": 60}, grid={"train.epochs": [1, 2]})) == []
    other = sweep(train={"lr": 1}, grid={"train.epochs": [20]})
    assert changed_settings(grown, other) == ["train.lr: 0.001 -> 1.0"]


def test_a_trial_is_called_by_what_tells_it_from_its_neighbours():
    wanted = sweep(grid=GRID)
    names = [trial_name_in(wanted, trial) for trial in plan(wanted).trials]
    assert names[0] == "beta_vae beta 0.1 epochs 20 latent 8 seed 0"
    assert len(set(names)) == len(names)


def test_early_stopping_has_to_be_patient_for_less_than_the_shortest_training():
    with pytest.raises(ValueError, match=r"20 is not less than train\.epochs, 20"):
        sweep(seeds=1, grid={"train.epochs": [60, 20]}, stop={"name": "plateau", "patience": 20})
