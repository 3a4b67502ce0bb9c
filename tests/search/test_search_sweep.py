"""Searches and early stopping within a sweep: handed to the workers, trained, and gone on with."""

import io

import pytest
from report_builders import make_sweep
from rich.console import Console
from search_builders import sweep

from rdbench.commands.plan import open_plan
from rdbench.commands.status import status_lines
from rdbench.commands.sweep import run_sweep
from rdbench.errors import SpecError
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.search.ended import load
from rdbench.spec.plan import plan
from rdbench.spec.search_options import MedianStop, PlateauStop
from rdbench.spec.sweep import load_sweep
from rdbench.trial.job import Job
from rdbench.trial.scheduler import RunOptions
from rdbench.trial.serial import SerialScheduler
from rdbench.trial.worker import work
from rdbench.tune.pack_queue import PackQueue
from rdbench.vae import checkpoints


def run(file, root, data, *overrides):
    wanted = load_sweep(file, [*overrides, "train.epochs=1", "model.channels=[2]", "model.latent=2"])
    text = io.StringIO()
    console = Console(file=text, width=200)
    ended = run_sweep(open_plan(root, wanted), root, console, RunOptions(data), SerialScheduler())
    return ended, text.getvalue()


def test_a_sweep_searches_in_batches_and_run_again_has_nothing_left_to_do(sweep_file, tmp_path):
    root = tmp_path / "results"
    asked = ["search={name: curve, trials: 5, at_a_time: 2}", "beta=[0.01, 1, 100]", "variants=[bs_vae]"]
    ended, text = run(sweep_file, root, tmp_path, *asked)
    assert (ended.done, ended.left, ended.interrupted) == (5, 0, False)
    assert "[5/5]" in text
    last = text.rstrip().splitlines()[-1]
    assert last.startswith("search curve: 5 of at most 5 trials, ")
    assert last.endswith(" of training; done: the trials are spent")
    again, text = run(sweep_file, root, tmp_path, *asked)
    assert again.done == 5
    assert "starting Ray" not in text
    assert status_lines(root)[0].startswith("search curve: 5 of at most 5 trials done")


def test_a_search_chooses_on_validation_images_where_they_are_held_out(sweep_file, tmp_path):
    root = tmp_path / "results"
    asked = ["search={name: target, rate: 3, trials: 4}", "beta=[0.01, 100]", "variants=[bs_vae]"]
    run(sweep_file, root, tmp_path, *asked, "dataset.validation=64")
    results = load_results(root)
    by_split = {split: rows.set_index("trial")["mse"] for split, rows in results.points.groupby("split")}
    assert set(by_split) == {"train", "validation", "test"}
    ended = load(root)
    assert len(ended) >= 2
    for name, trial in ended.items():
        assert trial.values["mse"] == by_split["validation"][name].iloc[0] != by_split["test"][name].iloc[0]
    assert set(results.points.loc[results.points["split"] == "validation", "n_images"]) == {64}


def test_a_search_by_a_metric_of_test_images_does_not_go_with_validation(sweep_file):
    asked = [
        "search={name: optuna, objective: latents_active_units, over: {lr: [1e-4, 1e-2]}}",
        "metrics=[latents]",
    ]
    with pytest.raises(SpecError, match="the search goes by latents, which is measured on test images"):
        load_sweep(sweep_file, [*asked, "dataset.validation=64"])


def test_settings_that_an_optimizer_repeats_are_trained_once_and_counted_once(sweep_file, tmp_path):
    """Whole numbers and choices repeat, within a batch too; none of it is waited for."""
    over = "{latent: {choices: [2, 3, 4]}}"
    search = f"search={{name: optuna, objective: mse, over: {over}, at_a_time: 4, trials: 12}}"
    wanted = load_sweep(sweep_file, [search, "variants=[bs_vae]", "train.epochs=1", "model.channels=[2]"])
    text = io.StringIO()
    root = tmp_path / "results"
    console = Console(file=text, width=200)
    ended = run_sweep(open_plan(root, wanted), root, console, RunOptions(tmp_path), SerialScheduler())
    assert (ended.done, ended.left, ended.failed) == (3, 0, 0)
    assert sum(": done" in line for line in text.getvalue().splitlines()) == 3
    assert "latent 3 seed 0: done" in text.getvalue()
    assert "3 of at most 12 trials, " in text.getvalue()


def test_a_metric_the_search_rests_on_cannot_be_left_out(sweep_file, tmp_path):
    search = "search={name: optuna, objective: fid, over: {lr: [1e-4, 1e-2]}}"
    wanted = load_sweep(sweep_file, [search, "metrics=[fid]"])
    root = tmp_path / "results"
    with pytest.raises(SpecError, match=r"fid: .*; the search rests on fid$"):
        run_sweep(open_plan(root, wanted), root, Console(), RunOptions(tmp_path, allow_missing_metrics=True))


def test_a_search_goes_on_without_a_metric_that_cannot_be_measured_here(sweep_file, tmp_path):
    search = "search={name: curve, trials: 5, at_a_time: 2, gap: 0}"
    short = ["train.epochs=1", "model.channels=[2]", "model.latent=2", "beta=[0.01, 1, 100]"]
    wanted = load_sweep(sweep_file, [search, "metrics=[fid]", "variants=[bs_vae]", *short])
    root = tmp_path / "results"
    for limit, done in ((3, 3), (None, 5)):
        ended = run_sweep(
            open_plan(root, wanted),
            root,
            Console(quiet=True),
            RunOptions(tmp_path, limit, allow_missing_metrics=True),
            SerialScheduler(),
        )
        assert ended.done == done


# The source of the driver's packs


def source(*messages, concurrent=None):
    heard = [list(batch) for batch in messages]
    return PackQueue(
        lambda settings, peers: [{"trials": [each], "peers": peers} for each in settings],
        lambda: heard.pop(0) if heard else [],
        concurrent,
    )


def test_packs_wait_for_the_next_batch_and_end_when_none_follows():
    packs = source([], [], [("add", ["b", "c"], ("a",))], [], [("add", [], ())])
    packs.add(["a"], ())
    assert packs.suggest("1") == {"job": {"trials": ["a"], "peers": ()}}
    assert packs.suggest("2") is None
    assert packs.suggest("2") == {"job": {"trials": ["b"], "peers": ("a",)}}
    assert packs.suggest("3") == {"job": {"trials": ["c"], "peers": ("a",)}}
    assert packs.suggest("4") == "FINISHED"


def test_asked_to_stop_nothing_that_waits_is_handed_out():
    packs = source([], ["stop"])
    packs.add(["a", "b", "c"], ())
    packs.suggest("1")
    assert packs.suggest("2") == "FINISHED"


def test_no_more_packs_run_at_a_time_than_are_wanted():
    packs = source(concurrent=1)
    packs.add(["a", "b"], ())
    packs.add([], ())
    assert packs.suggest("1")
    assert packs.suggest("2") is None
    packs.on_trial_complete("1")
    assert packs.suggest("2")
    assert packs.suggest("3") == "FINISHED"


# Trials that end early


RULE = PlateauStop(patience=1, least=0.9)
"""With a learning rate at which nothing is learned it soon has a reason."""


@pytest.fixture
def asked(sweep_file):
    short = ["variants=[bs_vae]", "train.epochs=8", "model.channels=[2]"]
    wanted = load_sweep(sweep_file, [*short, "train.lr=1e-9"])
    return wanted, plan(wanted).trials[0]


def job(root, **options) -> Job:
    return Job(root, root, **options)


def test_a_stopped_trial_has_its_history_and_no_points_and_is_done_only_where_stopping_is_asked_for(
    asked, tmp_path
):
    wanted, trial = asked
    ResultsFolder(tmp_path).save_sweep(wanted)
    (figures,) = work([trial], job(tmp_path, stop=RULE), "cpu")
    assert figures["status"] == "stopped early"
    row = ResultsFolder(tmp_path).trial_row(trial.id)
    assert row["status"] == "stopped"
    found = load_results(tmp_path)
    epochs = len(found.history)
    assert row["error"].startswith(f"at epoch {epochs} of 8: neither loss nor error has fallen for")
    assert 1 < epochs < 8
    assert len(found.points) == 0
    assert row["seconds"] > 0
    assert ResultsFolder(tmp_path).finished(make_sweep()) == set()
    assert ResultsFolder(tmp_path).finished(make_sweep(stop={"name": "plateau"})) == {trial.id}
    (ended,) = load(tmp_path).values()
    assert ended.status == "stopped"
    assert ended.values == {}


def test_without_the_rule_it_is_trained_to_its_end_from_its_checkpoint_as_if_never_stopped(asked, tmp_path):
    wanted, trial = asked
    for root in (tmp_path / "stopped", tmp_path / "whole"):
        ResultsFolder(root).save_sweep(wanted)
    work([trial], job(tmp_path / "stopped", stop=RULE), "cpu")
    checkpoints.tidy(tmp_path / "stopped", ResultsFolder(tmp_path / "stopped").finished(make_sweep()))
    assert checkpoints.interrupted(tmp_path / "stopped") == [(trial.id,)]
    for root in (tmp_path / "stopped", tmp_path / "whole"):
        (figures,) = work([trial], job(root), "cpu")
        assert figures["status"] == "done"
    one, other = (load_results(tmp_path / name) for name in ("stopped", "whole"))
    assert one.points.drop(columns="trial").equals(other.points.drop(columns="trial"))
    assert one.history["loss"].tolist() == other.history["loss"].tolist()


def test_a_trial_is_judged_by_the_peers_it_was_handed_out_with(asked, tmp_path):
    wanted, trial = asked
    ResultsFolder(tmp_path).save_sweep(wanted)
    slow, trial = trial, trial.model_copy(update={"train": trial.train.model_copy(update={"lr": 1e-2})})
    work([trial], job(tmp_path), "cpu")
    rule = MedianStop(grace=2, peers=1)
    (figures,) = work([slow], job(tmp_path, stop=rule, peers=(trial.id,)), "cpu")
    assert figures["status"] == "stopped early"
    assert "at epoch 2 of 8" in figures["error"]
    (figures,) = work([slow], job(tmp_path, stop=rule, peers=()), "cpu")
    assert figures["status"] == "done"


def test_a_stopped_trial_never_replaces_a_finished_one(asked, tmp_path):
    wanted, trial = asked
    ResultsFolder(tmp_path).save_sweep(wanted)
    work([trial], job(tmp_path), "cpu")
    (figures,) = work([trial], job(tmp_path, stop=RULE), "cpu")  # as where a metric is to be added
    assert figures["status"] == "done"
    assert ResultsFolder(tmp_path).is_done(trial.id)
    assert len(load_results(tmp_path).history) == 8


def test_a_sweep_without_a_search_is_planned_as_before():
    assert plan(sweep("curve")).trials == plan(sweep(None)).trials
    assert plan(sweep({"name": "optuna"})).trials == ()
