"""A sweep without Ray: trials one after another in this process."""

import io
import os
import signal
import threading

import pytest
import torch
from rich.console import Console

from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep
from rdbench.errors import UserError
from rdbench.metrics.ais import AisOptions
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.sweep import load_sweep
from rdbench.storage import places
from rdbench.trial import serial
from rdbench.trial.job import Job, Retry
from rdbench.trial.progress import SweepProgress
from rdbench.trial.scheduler import ATTEMPTS, RunOptions
from rdbench.trial.serial import SerialScheduler
from rdbench.trial.worker import no_callback
from rdbench.vae import metric_states


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


def run(wanted, root, on_epoch=no_callback, **options):
    console, scheduler = Console(file=io.StringIO()), SerialScheduler(on_epoch=on_epoch)
    account = run_sweep(open_plan(root, wanted), root, console, RunOptions(root.parent, **options), scheduler)
    return account, console.file.getvalue()


def test_a_plan_is_trained_once_and_when_it_is_extended_only_what_is_new(sweep, sweep_file, root):
    account, _ = run(sweep, root, limit=1)
    assert (account.done, account.left, account.interrupted) == (1, 1, False)
    account, said = run(load_sweep(sweep_file, ["beta=[0.5,1]"]), root)
    assert (account.done, account.left) == (4, 0)
    assert "[3/3]" in said
    assert "Ray" not in said
    assert len(load_results(root).points) == 4 * 2 * 5  # trials x splits x readings
    assert not (root / "driver.json").exists()


def test_what_a_kill_left_of_a_metric_that_is_measured_is_removed(sweep_file, root):
    wanted = load_sweep(sweep_file, ["metrics=[latents]"])
    run(wanted, root, limit=1)
    (done,) = ResultsFolder(root).trial_ids()
    measured, other = (metric_states._key(done, options) for options in (*wanted.metrics, AisOptions()))
    for key in (measured, other):
        places.write_atomically(root / "resume" / f"{key}-000001-{'0' * 16}.safetensors", b"")
    run(wanted, root)
    assert [file.name[: len(other)] for file in (root / "resume").iterdir()] == [other]


def test_a_search_is_handed_out_batch_by_batch(sweep_file, root):
    short = ["train.epochs=1", "model.channels=[2]", "model.latent=2", "beta=[0.01,1,100]"]
    search = "search={name: curve, trials: 5, at_a_time: 2}"
    account, said = run(load_sweep(sweep_file, [search, "variants=[bs_vae]", *short]), root)
    assert (account.done, account.left, account.interrupted) == (5, 0, False)
    assert "[5/5]" in said


def ctrl_c(times):
    """A function of each epoch that has Ctrl-C pressed a moment after the first: within a later one."""
    begun = []

    def press():
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    def on_epoch(trial, epoch):
        if not begun:
            begun.append(trial)
            threading.Timer(0.1, press).start()

    return on_epoch


def test_ctrl_c_ends_after_the_running_epoch_and_the_same_command_goes_on(sweep_file, root):
    wanted = load_sweep(sweep_file, ["train.epochs=4000", "beta=[1,2]", "variants=[bs_vae]"])
    whole = open_plan(root, wanted)
    account, _ = run(wanted, root, ctrl_c(1))
    assert (account.done, account.interrupted) == (0, True)
    assert list((root / "resume").glob(f"{whole.todo[0].id}-*.safetensors"))
    assert not list((root / "resume").glob(f"{whole.todo[1].id}-*"))


def test_ctrl_c_twice_ends_at_once(sweep_file, root):
    wanted = load_sweep(sweep_file, ["train.epochs=4000", "variants=[bs_vae]"])
    account, _ = run(wanted, root, ctrl_c(2))
    assert (account.done, account.interrupted) == (0, True)


def test_a_fault_of_the_machine_is_tried_again_and_then_the_trials_own(sweep, root, monkeypatch):
    faults = iter(["first", "second", "third"])
    work = serial.work

    def with_faults(*arguments):
        if (fault := next(faults, None)) is not None:
            raise Retry(f"OSError: {fault}")
        return work(*arguments)

    monkeypatch.setattr(serial, "work", with_faults)
    account, _ = run(sweep, root)
    assert (account.done, account.failed) == (1, 1)
    assert "OSError: third" in ResultsFolder(root).trial_row(open_plan(root, sweep).trials[0].id)["error"]


def test_without_its_gpu_the_process_ends_in_one_line(trial, tmp_path, monkeypatch):
    tried, job = [], Job(tmp_path)

    def breaks_off(*arguments):
        tried.append(arguments)
        raise Retry("Traceback\nCaptureFailed: its step could not be recorded as a CUDA graph")

    def lost():
        raise RuntimeError(
            "CUDA error: operation failed due to a previous error during capture\nCompile with"
        )

    monkeypatch.setattr(serial, "work", breaks_off)
    monkeypatch.setattr(serial, "check_precision", lambda *arguments: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    progress = SweepProgress(1, Console(file=io.StringIO()), str)
    with pytest.raises(
        UserError, match=r"lost its GPU \(CUDA error.*CaptureFailed: .*start it anew"
    ) as error:
        SerialScheduler("cuda").run([trial], job, progress)
    assert (len(tried), "\n" in str(error.value)) == (1, False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)  # one that answers is tried again
    SerialScheduler("cuda").run([trial], job, progress)
    assert len(tried) == 1 + ATTEMPTS
    assert ResultsFolder(tmp_path).trial_row(trial.id)["status"] == "failed"
