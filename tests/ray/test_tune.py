"""Sweeps through Ray Tune: each trial is committed once, and no fault of a trial or worker loses another."""

import io
import json
import os

import pandas as pd
import pytest
import ray_overhead
import torch
from conftest import DIGITS
from ray_sweeps import drive
from rich.console import Console
from trials_that import FULL_DISK, SHORT, attempts, take_a_second_until_the_disk_is_full

from rdbench import datasets
from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep
from rdbench.errors import StorageError
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Resources, VariantSpec, load_sweep
from rdbench.trial.job import Job
from rdbench.trial.progress import SweepProgress
from rdbench.trial.run import run_trial
from rdbench.trial.scheduler import RunOptions
from rdbench.trial.serial import SerialScheduler
from rdbench.trial.worker import work
from rdbench.tune import session
from rdbench.tune.packs import cut_into_packs, gpu_share, slots

# A sweep that is extended, and its packs.


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A sweep of which one trial was trained here; extended by two, it went on through Ray in packs."""
    folder = tmp_path_factory.mktemp("extended")
    spec, root = folder / "test.yaml", folder / "results"
    spec.write_text(DIGITS)
    sweep = load_sweep(spec, ["beta=[0.5,1]", "resources.pack=2", "resources.gpus=0"])
    ResultsFolder(root).save_sweep(load_sweep(spec))
    (first, *_) = plan(load_sweep(spec)).trials
    work([first], Job(root, folder), "cpu")
    written = written_at(root)
    whole = open_plan(root, sweep)
    assert len(whole.todo) == 3
    console = Console(file=io.StringIO())
    account = run_sweep(whole, root, console, RunOptions(folder, concurrency=1))
    return sweep, root, written, account, console.file.getvalue()


def written_at(root):
    return {path.name: path.stat().st_mtime_ns for path in (root / "trials").iterdir()}


def test_a_sweep_trains_its_plan_and_when_it_is_extended_only_what_is_new(extended):
    _, root, written, account, said = extended
    assert (account.done, account.diverged, account.failed, account.left) == (4, 0, 0, 0)
    assert "[3/3]" in said
    assert "at optimal_train" in said
    assert "workers busy" in said
    assert written.items() <= written_at(root).items()
    results = load_results(root)
    assert len(results.points) == 4 * 2 * 5  # trials x splits x readings
    assert len(results.history) == 4 * 2
    assert len(results.images) == 4 * 3 * 16
    trials = results.trials
    assert (trials["epochs"] == 2).all()
    assert (trials["peak_memory_bytes"] > 50e6).all()
    assert (trials["images_per_second"] > 0).all()
    assert json.loads(trials["versions"][0])["torch"]


def test_a_sweep_that_is_done_is_trained_once_only(extended, tmp_path):
    sweep, root, *_ = extended
    written = written_at(root)
    assert open_plan(root, sweep).todo == []
    account = run_sweep(open_plan(root, sweep), root, Console(quiet=True), RunOptions(tmp_path))
    assert account.done == 4
    assert written_at(root) == written


def test_packs_through_ray_leave_the_rows_of_single_trials(extended, tmp_path):
    """Nor do numbers depend on what a worker did before, nor on the sweep: each is trained alone here."""
    sweep, root, *_ = extended
    data = datasets.load(sweep.dataset, tmp_path)
    for trial in plan(sweep).trials:
        ResultsFolder(tmp_path).commit(trial.id, run_trial(trial, data, torch.device("cpu")))
        file = f"points/{trial.id}.parquet"
        assert (root / file).read_bytes() == (tmp_path / file).read_bytes()


def test_a_trial_that_raises_or_diverges_is_recorded_and_the_others_go_on(sweep, sweep_file, tmp_path):
    fine = plan(sweep).trials[1]
    celeba = {"dataset": datasets.make_options("celeba")}  # whose files are not there
    broken = plan(sweep).trials[0].model_copy(update=celeba)
    steep = load_sweep(sweep_file, ["train.lr=10", "beta=[1e8]", "variants=[bs_vae]"])
    (diverging,) = plan(steep).trials
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(steep)
    console = Console(file=io.StringIO())
    with SweepProgress(3, console) as progress:
        SerialScheduler().run([broken, diverging, fine], Job(root, tmp_path), progress)
    rows = {path.stem: pd.read_parquet(path).iloc[0] for path in (root / "trials").glob("*.parquet")}
    assert rows[broken.id]["status"] == "failed"
    assert "Traceback" in rows[broken.id]["error"]
    assert "list_eval_partition.txt" in rows[broken.id]["error"].splitlines()[-1]
    assert rows[diverging.id]["status"] == "diverged"
    assert "epoch 1 of 2" in rows[diverging.id]["error"]
    assert rows[diverging.id]["parameters"] > 0
    assert open_plan(root, steep).todo == []
    assert rows[fine.id]["status"] == "done"
    assert "failed (" in console.file.getvalue()
    assert "diverged (the loss became" in console.file.getvalue()


# Short trials on three workers, until one of them finds the disk full.


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The sweep, its folder, and one for temporary files that was named to it."""
    folder = tmp_path_factory.mktemp("short")
    long = folder / "a folder for temporary files whose path has no room for Ray's sockets"
    long.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(long))
        driven = drive(folder, take_a_second_until_the_disk_is_full, SHORT + 6, concurrency=3, niceness=2)
    return driven, folder / "results", long


def test_short_trials_too_have_a_worker_on_every_core(short):
    """Left to itself Tune asks ahead for one trial, and gives it to the worker that is there already."""
    driven, root, long = short
    workers = [attempts(root, seed) for seed in range(SHORT)]
    assert all(len(processes) == 1 for processes in workers)
    assert len({process for processes in workers for process in processes}) == 3
    # As nice as the sweep is, and what the file asks for: Ray's own would be 15 nicer.
    nice = {file.read_text() for file in root.glob("*.niceness")}
    assert nice == {str([os.getpriority(os.PRIO_PROCESS, 0) + 2])}
    assert "has not started" not in driven.said
    assert list(long.iterdir()) == []


def test_a_full_disk_stops_the_sweep_with_its_line(short):
    driven, root, _ = short
    assert isinstance(driven.error, StorageError)
    assert str(driven.error) == FULL_DISK
    assert driven.finished <= SHORT
    assert "again" not in driven.said
    assert sum(len(attempts(root, seed)) for seed in range(SHORT, SHORT + 6)) <= 3


def test_ray_adds_nothing_to_the_niceness_that_workers_inherit(monkeypatch):
    """Only root could take it back."""
    started = {}

    def start(command, **options):
        started.update(options)
        raise OSError("enough")

    monkeypatch.setattr(session.subprocess, "Popen", start)
    with pytest.raises(OSError, match="enough"):
        session.Session(session.Request([], [], Resources(), "local", None, b""))
    assert started["env"]["RAY_worker_niceness"] == "0"


@pytest.mark.parametrize(
    ("resources", "cluster", "expected"),
    [
        ({}, {"CPU": 16}, (0, 16)),
        ({}, {"CPU": 16, "GPU": 2}, (1, 2)),
        ({"pack": 8}, {"CPU": 16, "GPU": 1}, (1, 1)),
        ({"pack": 1}, {"CPU": 16, "GPU": 1}, (0.0625, 16)),
        ({"pack": 1}, {"CPU": 2, "GPU": 4}, (1, 2)),
        ({"gpus": 0.25}, {"CPU": 16, "GPU": 1}, (0.25, 4)),
        ({"gpus": 0, "cpus": 4}, {"CPU": 16, "GPU": 1}, (0, 4)),
    ],
)
def test_a_gpu_is_given_whole_to_a_pack_and_shared_by_single_trials(resources, cluster, expected):
    asked = Resources(**resources)
    share = gpu_share(asked, cluster)
    assert (share, slots(asked, share, cluster, None)) == expected
    assert slots(asked, share, cluster, 1) == 1


def test_packs_keep_every_slot_at_work(trial):
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(10)]
    cut = cut_into_packs(trials, 4, 1)
    assert [len(pack) for pack in cut] == [4, 4, 2]
    assert [one for pack in cut for one in pack] == trials
    assert [len(pack) for pack in cut_into_packs(trials, 64, 2)] == [5, 5]
    assert [len(pack) for pack in cut_into_packs(trials, 1, 2)] == [1] * 10


def test_what_does_not_pack_trains_alone_after_what_does(trial):
    alone = VariantSpec.model_validate("linear_coder")
    trials = [
        trial.model_copy(update={"beta": beta, "variant": variant})
        for beta in (1.0, 2.0, 3.0)
        for variant in (trial.variant, alone, VariantSpec.model_validate("sigma_vae"))
    ]
    cut = [[one.variant.name for one in pack] for pack in cut_into_packs(trials, 4, 1)]
    assert cut == [["bs_vae", "sigma_vae"] * 2, ["bs_vae", "sigma_vae"], *[["linear_coder"]] * 3]
    # Where nothing is packed the plan's order stands: whole first curves come early.
    assert [pack for (pack,) in cut_into_packs(trials, 1, 2)] == trials


def test_packs_that_were_interrupted_come_first_and_as_they_were(trial):
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(8)]
    ids = [one.id for one in trials]
    cut = cut_into_packs(trials, 4, 1, [(ids[5], ids[2], ids[7]), (ids[6],)])
    assert [[one.seed for one in pack] for pack in cut] == [[5, 2, 7], [6], [0, 1, 3, 4]]
    # One of its trials is no longer asked for, or is done: its checkpoint is of no use.
    cut = cut_into_packs(trials[1:], 4, 1, [(ids[0], ids[1])])
    assert [[one.seed for one in pack] for pack in cut] == [[1, 2, 3, 4], [5, 6, 7]]
    # Whoever asks for smaller packs, for want of memory, gets them; single trials still come first.
    cut = cut_into_packs(trials[:3], 1, 2, [(ids[1], ids[2])])
    assert [[one.seed for one in pack] for pack in cut] == [[0], [1], [2]]
    cut = cut_into_packs(trials[:3], 1, 2, [(ids[2],)])
    assert [[one.seed for one in pack] for pack in cut] == [[2], [0], [1]]


def test_what_cannot_train_together_is_not_taken_up_as_a_pack(trial):
    model = trial.model_copy(update={"variant": VariantSpec.model_validate("linear_coder")})
    cut = cut_into_packs([trial, model], 2, 1, [(trial.id, model.id)])
    assert cut == [[trial], [model]]


def test_ray_costs_little_for_each_trial(trial):
    overhead = ray_overhead.measure(trial, 30)
    assert overhead.trials == 30
    assert overhead.seconds < 60
    assert "30 trials that return at once" in str(overhead)
