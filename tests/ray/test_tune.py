"""Sweeps through Ray Tune: each trial is committed once, and no fault of a trial or worker loses another."""

import io
import json
import os
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from rich.console import Console

from rdbench import datasets
from rdbench.commands.bench import ray_overhead
from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep
from rdbench.results import store
from rdbench.results.load import load_results
from rdbench.results.spec_file import save_sweep
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Resources, VariantSpec, load_sweep
from rdbench.trial.job import Job
from rdbench.trial.progress import SweepProgress
from rdbench.trial.run import run_trial
from rdbench.trial.scheduler import RunOptions
from rdbench.tune import session
from rdbench.tune.packs import gpu_share, packs, slots
from rdbench.tune.supervisor import RayScheduler


@pytest.fixture
def console():
    return Console(file=io.StringIO())


def run(whole, root, data_root, console, **options):
    account = run_sweep(whole, root, console, RunOptions(data_root, **options))
    return account, console.file.getvalue()


def test_a_sweep_trains_its_plan_once_and_when_it_is_extended_only_what_is_new(
    sweep, sweep_file, tmp_path, console
):
    root = tmp_path / "results"
    account, _ = run(open_plan(root, sweep), root, tmp_path, console, limit=1)
    assert (account.done, account.diverged, account.failed, account.left) == (1, 0, 0, 1)
    (first,) = (root / "trials").iterdir()
    trained = first.stat().st_mtime_ns

    whole = open_plan(root, load_sweep(sweep_file, ["beta=[0.5,1]"]))
    assert len(whole.todo) == 3
    account, said = run(whole, root, tmp_path, console, concurrency=1)
    assert (account.done, account.diverged, account.failed, account.left) == (4, 0, 0, 0)
    assert "[3/3]" in said
    assert "test ELBO" in said
    assert first.stat().st_mtime_ns == trained
    results = load_results(root)
    assert len(results.points) == 4 * 2 * 4  # trials x splits x readings
    assert len(results.history) == 4 * 2
    assert len(results.images) == 4 * 3 * 16
    trials = results.trials
    assert (trials["epochs"] == 2).all()
    assert (trials["peak_memory_bytes"] > 50e6).all()
    assert (trials["images_per_second"] > 0).all()
    assert json.loads(trials["versions"][0])["torch"]

    written = {path: path.stat().st_mtime_ns for path in (root / "trials").iterdir()}
    assert open_plan(root, sweep).todo == []
    account, _ = run(open_plan(root, sweep), root, tmp_path, console)
    assert account.done == 2
    assert {path: path.stat().st_mtime_ns for path in (root / "trials").iterdir()} == written

    # Numbers do not depend on what a worker did before, nor on the sweep: each trial alone, in this process.
    data = datasets.load(sweep.dataset, tmp_path)
    for trial in plan(whole.sweep).trials:
        store.commit(tmp_path / "alone", trial.id, run_trial(trial, data, torch.device("cpu")))
        file = f"points/{trial.id}.parquet"
        assert (root / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()


def test_a_trial_that_raises_or_diverges_is_recorded_and_the_others_go_on(
    sweep, sweep_file, tmp_path, console
):
    fine = plan(sweep).trials[1]
    celeba = {"dataset": datasets.make_options("celeba")}  # whose files are not there
    broken = plan(sweep).trials[0].model_copy(update=celeba)
    steep = load_sweep(sweep_file, ["train.lr=10", "beta=[1e8]", "variants=[bs_vae]"])
    (diverging,) = plan(steep).trials
    root = tmp_path / "results"
    save_sweep(root, steep)
    job = Job(root, tmp_path)
    with SweepProgress(3, console) as progress:
        RayScheduler().run([broken, diverging, fine], job, progress)
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


def test_a_worker_that_is_killed_is_replaced_and_its_trial_trained_again(
    sweep_file, tmp_path, console, capfd
):
    root = tmp_path / "results"
    whole = open_plan(root, load_sweep(sweep_file, ["train.epochs=60", "variants=[bs_vae]"]))

    def kill_the_first_worker():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for process in psutil.Process(os.getpid()).children(recursive=True):
                try:
                    if "ray::ImplicitFunc" in " ".join(process.cmdline()) and process.cpu_times().user > 0:
                        time.sleep(0.5)
                        process.kill()
                        return
                except psutil.Error:
                    continue
            time.sleep(0.05)

    killer = threading.Thread(target=kill_the_first_worker)
    killer.start()
    account, said = run(whole, root, tmp_path, console)
    killer.join()
    assert "its worker was killed or crashed; starting it again" in said
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    assert "raylet" not in printed.out + printed.err
    assert (account.done, account.failed) == (1, 0)


def a_second(pack, job, device, on_progress):
    """A trial that takes a second, and notes its worker, and the niceness of each of its threads."""
    time.sleep(1)
    threads = Path("/proc/self/task").iterdir()
    nice = {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads}
    group = Path("/proc/self/autogroup")  # "/autogroup-25 nice 2", where sessions are weighed as a whole
    nice |= {int(group.read_text().split()[-1])} if group.exists() else set()
    (job.results / f"{pack[0].seed}.worker").write_text(f"{os.getpid()} {sorted(nice)}")
    return [{"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}]


def test_short_trials_too_have_a_worker_on_every_core(trial, tmp_path, console, monkeypatch):
    """Left to itself Tune asks ahead for one trial, and gives it to the worker that is there already."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    long = tmp_path / "a folder for temporary files whose path has no room for Ray's sockets"
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(8)]
    job = Job(tmp_path, tmp_path, resources=Resources(gpus=0, niceness=2))
    with SweepProgress(8, console) as progress:
        RayScheduler(concurrency=3, function=a_second).run(trials, job, progress)
    workers = [file.read_text().split(maxsplit=1) for file in tmp_path.glob("*.worker")]
    assert len(workers) == 8
    assert len({process for process, _ in workers}) == 3
    # As nice as the sweep is, and what the file asks for: Ray's own would be 15 nicer.
    assert {nice for _, nice in workers} == {str([os.getpriority(os.PRIO_PROCESS, 0) + 2])}
    assert "has not started" not in console.file.getvalue()
    assert list(long.iterdir()) == []


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
    cut = packs(trials, 4, 1)
    assert [len(pack) for pack in cut] == [4, 4, 2]
    assert [one for pack in cut for one in pack] == trials
    assert [len(pack) for pack in packs(trials, 64, 2)] == [5, 5]
    assert [len(pack) for pack in packs(trials, 1, 2)] == [1] * 10


def test_a_model_trains_alone_after_the_objectives(trial):
    model = VariantSpec.model_validate("sigma_vae")
    trials = [
        trial.model_copy(update={"beta": beta, "variant": variant})
        for beta in (1.0, 2.0, 3.0)
        for variant in (trial.variant, model)
    ]
    cut = [[one.variant.name for one in pack] for pack in packs(trials, 4, 1)]
    assert cut == [["bs_vae"] * 3, ["sigma_vae"], ["sigma_vae"], ["sigma_vae"]]
    # Where nothing is packed the plan's order stands: whole first curves come early.
    assert [pack for (pack,) in packs(trials, 1, 2)] == trials


def test_packs_that_were_interrupted_come_first_and_as_they_were(trial):
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(8)]
    ids = [one.id for one in trials]
    cut = packs(trials, 4, 1, [(ids[5], ids[2], ids[7]), (ids[6],)])
    assert [[one.seed for one in pack] for pack in cut] == [[5, 2, 7], [6], [0, 1, 3, 4]]
    # One of its trials is no longer asked for, or is done: its checkpoint is of no use.
    cut = packs(trials[1:], 4, 1, [(ids[0], ids[1])])
    assert [[one.seed for one in pack] for pack in cut] == [[1, 2, 3, 4], [5, 6, 7]]
    # Whoever asks for smaller packs, for want of memory, gets them; single trials still come first.
    cut = packs(trials[:3], 1, 2, [(ids[1], ids[2])])
    assert [[one.seed for one in pack] for pack in cut] == [[0], [1], [2]]
    cut = packs(trials[:3], 1, 2, [(ids[2],)])
    assert [[one.seed for one in pack] for pack in cut] == [[2], [0], [1]]


def test_what_cannot_train_together_is_not_taken_up_as_a_pack(trial):
    model = trial.model_copy(update={"variant": VariantSpec.model_validate("sigma_vae")})
    cut = packs([trial, model], 2, 1, [(trial.id, model.id)])
    assert cut == [[trial], [model]]


def test_trials_of_different_recipes_are_never_packed(trial):
    with pytest.raises(ValueError, match="cannot be packed"):
        packs([trial, trial.model_copy(update={"protocol": "paper"})], 2, 1)


def test_packs_through_ray_leave_the_rows_of_single_trials(sweep_file, tmp_path, console):
    packed = load_sweep(sweep_file, ["resources.pack=2", "resources.gpus=0"])
    account, said = run(open_plan(tmp_path / "packed", packed), tmp_path / "packed", tmp_path, console)
    assert account.done == 2
    assert "workers busy" in said
    rows = load_results(tmp_path / "packed").points
    data = datasets.load(packed.dataset, tmp_path)
    for trial in plan(packed).trials:
        store.commit(tmp_path / "alone", trial.id, run_trial(trial, data, torch.device("cpu")))
        alone = pd.read_parquet(tmp_path / "alone" / "points" / f"{trial.id}.parquet")
        ours = rows[rows["trial"] == trial.id].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, alone, check_dtype=False)


def test_ray_costs_little_for_each_trial(trial):
    overhead = ray_overhead.measure(trial, 30)
    assert overhead.trials == 30
    assert overhead.seconds < 60
    assert "30 trials that return at once" in str(overhead)
