"""A worker commits every trial of its pack, whatever happens to the others."""

import dataclasses
import datetime
import errno
import time

import pytest
import torch

from rdbench.errors import CaptureFailed, NotCapturable, StorageError
from rdbench.metrics.failures import last_line
from rdbench.results.lease import Lease, stop_requested
from rdbench.results.store import ResultsFolder
from rdbench.spec.search_options import PlateauStop
from rdbench.spec.sweep import Resources, VariantSpec
from rdbench.storage import places
from rdbench.trial import early_stopping, worker
from rdbench.trial.job import Hung, Job, Retry
from rdbench.trial.rows import failure_tables
from rdbench.trial.run import run_pack
from rdbench.trial.worker import work
from rdbench.vae import failed_captures
from rdbench.vae.checkpoints import interrupted
from rdbench.vae.failed_captures import noted, why_failed


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "results", tmp_path)


@pytest.fixture
def pack(trial):
    return [
        trial.model_copy(update={"beta": beta, "variant": VariantSpec(name=name)})
        for beta in (0.1, 1.0, 10.0)
        for name in ("beta_vae", "bs_vae")
    ]


def test_a_pack_leaves_a_committed_trial_for_each_member(pack, job):
    shares = []
    figures = work(pack, job, "cpu", shares.append)
    assert ResultsFolder(job.results).trial_ids() == sorted(trial.id for trial in pack)
    assert [one["status"] for one in figures] == ["done"] * 6
    assert max(shares) == 1


def test_a_pack_that_does_not_fit_is_run_in_halves_until_it_does(pack, job, monkeypatch):
    sizes = []

    def short_of_memory(members, *arguments, **options):
        sizes.append(len(members))
        if len(members) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", short_of_memory)
    monkeypatch.setattr(worker, "_side_by_side", lambda device: True)
    figures = work(pack, job, "cpu")
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    assert [one["status"] for one in figures] == ["done"] * 6
    assert ResultsFolder(job.results).trial_ids() == sorted(trial.id for trial in pack)


@pytest.mark.parametrize("why", ["its step waits for the device", "CUDA error: operation not permitted"])
def test_the_one_trial_whose_step_cannot_be_captured_trains_alone(pack, job, monkeypatch, why):
    sizes = []

    def refused(members, *arguments, **options):
        sizes.append(len(members))
        if len(members) > 1 and pack[3] in members:
            raise NotCapturable(f"the step of these trials cannot be captured together: {why}")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", refused)
    monkeypatch.setattr(worker, "_side_by_side", lambda device: True)
    figures = work(pack, job, "cpu")
    assert sizes == [6, 3, 3, 1, 2]
    assert [one["status"] for one in figures] == ["done"] * 6


@pytest.mark.parametrize("fused", [False, True])
def test_the_one_trial_that_raises_fails_alone(pack, job, monkeypatch, fused):
    monkeypatch.setattr(worker, "_side_by_side", lambda device: fused)

    def raises(members, *arguments, **options):
        if pack[3] in members:
            raise RuntimeError("no such thing")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", raises)
    figures = work(pack, job, "cpu")
    assert [one["status"] for one in figures] == ["done"] * 3 + ["failed"] + ["done"] * 2
    assert "RuntimeError: no such thing" in figures[3]["error"]
    assert len(ResultsFolder(job.results).trial_ids()) == 6


def counted(function, calls):
    def counting(*arguments, **options):
        calls.append(None)
        return function(*arguments, **options)

    return counting


def test_a_pack_whose_capture_fails_trains_without_in_another_process(pack, job, monkeypatch, tmp_path):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    sizes = []

    def breaks_off(members, *arguments, **options):
        sizes.append(len(members))
        with noted(members, torch.device("cpu")):  # as in training on a GPU
            if len(members) > 1 and why_failed(members, torch.device("cpu")):
                raise NotCapturable("the step of these trials cannot be captured together")
            if len(members) > 1:
                raise CaptureFailed("operation not permitted when stream is capturing")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", breaks_off)
    monkeypatch.setattr(worker, "_side_by_side", lambda device: True)
    with pytest.raises(Retry) as error:  # which a scheduler answers with a fresh process
        work(pack, job, "cpu")
    assert not error.value.counts
    line = last_line(str(error.value))
    assert "CaptureFailed: its step could not be recorded as a CUDA graph (operation not permitted" in line
    assert [one["status"] for one in work(pack, job, "cpu")] == ["done"] * 6
    assert sizes == [6, 6, 3, 1, 2, 1, 1, 3, 1, 2, 1, 1]
    assert not any(why_failed([trial], torch.device("cpu")) for trial in pack)


@pytest.mark.parametrize("size", [1, 2])
def test_where_it_cannot_be_remembered_trials_go_on_in_the_same_process(
    pack, job, monkeypatch, tmp_path, size
):
    (tmp_path / "file").write_text("where a folder is needed")
    monkeypatch.setattr(failed_captures, "_file", lambda: tmp_path / "file" / "failed_captures.json")
    monkeypatch.setattr(failed_captures, "_of_this_process", {})
    sizes, cpu = [], torch.device("cpu")

    def breaks_off(members, *arguments, **options):
        sizes.append(len(members))
        with noted(members, cpu):
            if not why_failed(members, cpu):
                raise CaptureFailed("operation not permitted when stream is capturing")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", breaks_off)
    monkeypatch.setattr(worker, "_side_by_side", lambda device: True)
    assert [one["status"] for one in work(pack[:size], job, "cpu")] == ["done"] * size
    assert sizes == {1: [1, 1], 2: [2, 1, 1, 1, 1]}[size]


def test_where_it_cannot_be_remembered_and_the_gpu_is_lost_it_is_an_attempt(trial, job, monkeypatch):
    faults = [NotCapturable("trains without one in this process from now on"), RuntimeError("CUDA error: x")]

    def breaks_off(*arguments, **options):
        raise faults.pop(0)

    monkeypatch.setattr(worker, "run_pack", breaks_off)
    with pytest.raises(Retry, match="CUDA error: x") as error:
        work([trial], job, "cpu")
    assert error.value.counts


def lost(*arguments):
    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_a_gpu_lost_by_a_broken_recording_is_another_process_s_to_find(trial, job, monkeypatch):
    def breaks_off(*arguments, **options):
        raise CaptureFailed("its step could not be recorded")

    monkeypatch.setattr(worker, "run_pack", breaks_off)
    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    with pytest.raises(Retry, match="CaptureFailed: its step could not be recorded"):
        work([trial], job, "cuda")


def test_an_exception_that_comes_twice_is_the_trials_own(trial, job, monkeypatch):
    calls = []

    def raises(*arguments, **options):
        raise ValueError("never")

    monkeypatch.setattr(worker, "run_pack", counted(raises, calls))
    (figures,) = work([trial], job, "cpu")
    assert figures["status"] == "failed"
    assert figures["error"].splitlines()[-1] == "ValueError: never"
    assert "Traceback" in ResultsFolder(job.results).trial_row(trial.id)["error"]
    assert len(calls) == 2


def test_an_exception_that_comes_once_costs_another_attempt(trial, job, monkeypatch):
    raised = iter([ValueError("once")])

    def raises_once(*arguments, **options):
        for error in raised:
            raise error
        return run_pack(*arguments, **options)

    monkeypatch.setattr(worker, "run_pack", raises_once)
    (figures,) = work([trial], job, "cpu")
    assert figures["status"] == "done"


@pytest.mark.parametrize(
    ("error", "elsewhere"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (ConnectionResetError("by peer"), True),
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (RuntimeError("shapes differ"), False),
        (SystemExit(1), False),
    ],
    ids=repr,
)
def test_a_fault_of_the_machine_is_tried_elsewhere(trial, job, monkeypatch, error, elsewhere):
    def raises(*arguments, **options):
        raise error

    monkeypatch.setattr(worker, "run_pack", raises)
    if elsewhere:
        with pytest.raises(Retry, match=type(error).__name__):
            work([trial], job, "cpu")
        assert ResultsFolder(job.results).trial_ids() == []
    else:
        assert work([trial], job, "cpu")[0]["status"] == "failed"


def test_two_exceptions_that_differ_are_tried_elsewhere(trial, job, monkeypatch):
    errors = iter([ValueError("one"), ValueError("another")])

    def raises(*arguments, **options):
        raise next(errors)

    monkeypatch.setattr(worker, "run_pack", raises)
    with pytest.raises(Retry, match="ValueError: another"):
        work([trial], job, "cpu")


def test_what_failed_in_this_run_is_not_tried_again_in_it(trial, job, monkeypatch):
    started = datetime.datetime.now(datetime.UTC)
    places.write_atomically(job.results / "sweep.yaml", b"")
    this, other = (dataclasses.replace(job, run=run) for run in ("11111111", "22222222"))
    worker.commit(this, trial, failure_tables(trial, "no room", started))
    assert work([trial], this, "cpu")[0] == {"status": "failed", "error": "no room", "seconds": None}
    assert work([trial], other, "cpu")[0]["status"] == "done"
    assert ResultsFolder(job.results).trial_row(trial.id)["run"] == "22222222"


def test_a_results_folder_that_is_gone_is_not_made_again(trial, job):
    with pytest.raises(StorageError, match="the results folder is gone"):
        work([trial], dataclasses.replace(job, run="11111111"), "cpu")
    assert not (job.results / "trials").exists()


def test_what_was_committed_before_its_worker_was_lost_is_not_trained_again(pack, job, monkeypatch):
    places.write_atomically(job.results / "sweep.yaml", b"")
    job, calls = dataclasses.replace(job, run="11111111"), []
    monkeypatch.setattr(worker, "run_pack", counted(run_pack, calls))
    first = work(pack[:2], job, "cpu")
    assert work(pack[:3], job, "cpu")[:2] == first
    assert len(calls) == 3


def test_a_checkpoint_that_cannot_be_gone_on_from_is_given_up_once(trial, job, monkeypatch):
    trial = trial.model_copy(update={"train": trial.train.model_copy(update={"epochs": 3})})
    asked = iter([False, False, True])
    monkeypatch.setattr(worker, "_StopRequest", lambda job: lambda: next(asked))
    assert work([trial], job, "cpu")[0]["status"] == "stopped"
    monkeypatch.setattr(worker, "_StopRequest", lambda job: lambda: False)

    def only_from_the_beginning(*arguments, checkpointer, **options):
        if checkpointer.history[0]:
            raise KeyError("part")
        return run_pack(*arguments, checkpointer=checkpointer, **options)

    monkeypatch.setattr(worker, "run_pack", only_from_the_beginning)
    assert work([trial], job, "cpu")[0]["status"] == "done"


def test_other_data_than_the_sweeps_are_not_trained_on(trial, job):
    (figures,) = work([trial], dataclasses.replace(job, data_checksum="0" * 64), "cpu")
    assert figures["status"] == "failed"
    assert "are not those of the sweep" in figures["error"]
    places.write_atomically(job.results / "sweep.yaml", b"")
    in_a_sweep = dataclasses.replace(job, data_checksum="0" * 64, run="11111111")
    with pytest.raises(StorageError, match="are not those of the sweep"):  # every trial there would meet it
        work([trial], in_a_sweep, "cpu")


def test_asked_to_stop_a_worker_keeps_its_state_and_goes_on_the_next_time(trial, job, monkeypatch):
    trial = trial.model_copy(update={"train": trial.train.model_copy(update={"epochs": 3})})
    asked = iter([False, False, True])  # before it begins, then as each epoch ends
    monkeypatch.setattr(worker, "_StopRequest", lambda job: lambda: next(asked))
    assert work([trial], job, "cpu")[0]["status"] == "stopped"
    assert ResultsFolder(job.results).trial_ids() == []
    assert interrupted(job.results) == [(trial.id,)]
    monkeypatch.setattr(worker, "_StopRequest", lambda job: lambda: False)
    begun = []
    work([trial], job, "cpu", begun.append)
    assert begun == [1.0]  # the third epoch alone
    assert interrupted(job.results) == []
    assert len(ResultsFolder(job.results).trial_tables(trial.id)["history"]) == 3


def test_a_trial_is_stopped_early_in_a_pack_as_alone(trial, job, monkeypatch):
    recipe = trial.train.model_copy(update={"epochs": 4})
    pack = [trial.model_copy(update={"beta": beta, "train": recipe}) for beta in (0.01, 100.0)]
    freely = dataclasses.replace(job, results=job.results / "freely")
    work(pack, freely, "cpu")
    firsts = [ResultsFolder(freely.results).trial_tables(one.id)["history"][0]["loss"] for one in pack]

    def stops_the_second(stop, losses, epochs, *rest):
        return "at epoch 2" if len(losses) == 2 and losses[0] > sum(firsts) / 2 else ""

    monkeypatch.setattr(early_stopping, "why_stop", stops_the_second)
    found = []
    for place, packs in (("alone", [[pack[0]], [pack[1]]]), ("packed", [pack])):
        monkeypatch.setattr(worker, "_side_by_side", lambda device: True)
        own = dataclasses.replace(job, results=job.results / place, stop=PlateauStop())
        summaries = [each for part in packs for each in work(part, own, "cpu")]
        tables = [ResultsFolder(own.results).trial_tables(one.id) for one in pack]
        found.append([(len(each["history"]), len(each.get("points", []))) for each in tables])
        assert [each["status"] for each in summaries] == ["done", "stopped early"]
    assert found[0] == found[1] == [(4, 8), (2, 0)]


def test_it_is_the_lease_that_asks_to_stop(trial, job):
    with Lease(job.results, "rdbench sweep") as lease:
        assert work([trial], job, "cpu")[0]["status"] == "done"
        lease.request_stop()
        while not stop_requested(job.results):  # a thread writes it
            time.sleep(0.01)
        assert work([trial], job, "cpu")[0]["status"] == "stopped"


def test_a_limit_on_time_changes_nothing_else(trial, job, monkeypatch):
    job = dataclasses.replace(job, resources=Resources(trial_timeout=10))
    assert work([trial], job, "cpu")[0]["status"] == "done"

    def raises(*arguments, **options):
        raise ValueError("within the time")

    monkeypatch.setattr(worker, "run_pack", raises)
    assert (
        "ValueError: within the time" in work([trial.model_copy(update={"seed": 1})], job, "cpu")[0]["error"]
    )


HANGS = """
import time, rdbench

@rdbench.variant("hangs")
def hangs(trial, data):
    time.sleep(3600)
"""


def test_a_trial_that_hangs_fails_with_the_line_it_hung_at(trial, job, tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    spec = VariantSpec.model_validate({"name": f"{tmp_path}/hangs.py:hangs"})
    trial = trial.model_copy(update={"variant": spec})
    places.write_atomically(job.results / "sweep.yaml", b"")
    job = dataclasses.replace(job, resources=Resources(trial_timeout=1 / 60), run="11111111")
    with pytest.raises(Hung):
        work([trial], job, "cpu")
    (figures,) = work([trial], job, "cpu")  # in the process that takes its place
    last = figures["error"].splitlines()[-1]
    assert "hangs.py:6: trial_timeout: still running after 0.0166667 min" in last
    assert "time.sleep(3600)" in figures["error"]
