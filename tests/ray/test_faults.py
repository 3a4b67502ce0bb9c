"""Faults of workers and of Ray, and users who stop: what is said, and that nothing is lost or left."""

import datetime
import io
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import DIGITS
from google.protobuf.json_format import ParseDict
from ray.core.generated.common_pb2 import ActorDeathCause
from ray.exceptions import OutOfMemoryError, RayActorError
from rich.console import Console

from rdbench.errors import ClusterError, StorageError
from rdbench.results import store
from rdbench.results.lease import Lease, stop_requested
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Resources, load_sweep
from rdbench.storage.places import write_atomically
from rdbench.storage.scratch import Scratch
from rdbench.trial.job import Hung, Job, Retry
from rdbench.trial.progress import SweepProgress
from rdbench.trial.rows import failure_tables
from rdbench.trial.signals import STOP
from rdbench.tune.lost_workers import (
    KILLED,
    MEMORY,
    NODE,
    Loss,
    as_actor_error,
    cause_of_death,
    loss,
    verdict,
)
from rdbench.tune.supervisor import RayScheduler

DONE = {"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}
HUNG = "trial_timeout: no epoch ended within 1 s"
FAULTS = [["retry", "killed", "done"], ["killed", "raises", "retry"], ["hangs", "failed"]]


def attempt(trial, job):
    """Note, in the results folder, that a trial was tried; return how often it has been."""
    file = job.results / f"{trial.seed}.attempts"
    with file.open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    return len(file.read_text().split())


def attempts(root, seed):
    file = root / f"{seed}.attempts"
    return file.read_text().split() if file.exists() else []


def commit_failure(trial, job, error):
    tables = failure_tables(trial, error, datetime.datetime.now(datetime.UTC))
    tables["trials"][0]["run"] = job.run
    store.commit(job.results, trial.id, tables)


def with_faults(pack, job, device, on_progress):
    """Each seed meets with faults of its own, one an attempt."""
    (trial,) = pack
    fault = FAULTS[trial.seed][attempt(trial, job) - 1]
    if fault == "retry":
        raise Retry("Traceback (most recent call last):\n  ...\nOSError: [Errno 5] the disk is ill")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "raises":
        raise ValueError("rdbench itself is at fault")
    if fault == "hangs":
        commit_failure(trial, job, HUNG)
        raise Hung
    return [DONE if fault == "done" else DONE | {"status": "failed", "error": HUNG}]


def full_disk(pack, job, device, on_progress):
    attempt(pack[0], job)
    if pack[0].seed == 0:
        raise StorageError("results: cannot be written (no space left on device); free some")
    time.sleep(600)
    return [DONE]


def epochs(pack, job, device, on_progress):
    """Train for ever, in epochs of a tenth of a second, unless asked to stop."""
    attempt(pack[0], job)
    for _ in range(3000):
        if stop_requested(job.results):
            (job.results / f"{pack[0].seed}.checkpoint").write_text("")
            return [DONE | {"status": "stopped"}]
        on_progress(0.0)
        time.sleep(0.1)
    return [DONE]


def slow(pack, job, device, on_progress):
    """Take some seconds, and note what listens to the network meanwhile."""
    attempt(pack[0], job)
    (job.results / f"{pack[0].seed}.authentication").write_text(os.environ.get("RAY_AUTH_MODE", ""))
    time.sleep(2.0)
    (job.results / f"{pack[0].seed}.ended").write_text("")
    return [DONE]


def hungry(pack, job, device, on_progress):
    """Take ever more memory, but for the second seed."""
    times = attempt(pack[0], job)
    taken = []
    while pack[0].seed == 0 and times < 4:
        taken.append(bytearray(os.urandom(1 << 20)) * 64)
        time.sleep(0.02)
    return [DONE]


def trials_of(spec: Path, count: int) -> list[Trial]:
    return list(plan(load_sweep(spec, [f"seeds={count}", "variants=[bs_vae]"])).trials)


def drive(spec, root, function, count, **options):
    """Run ``count`` trials through Ray, with the folder's lease; return what was said and what came of it."""
    said = io.StringIO()
    root.mkdir(exist_ok=True)
    write_atomically(root / "sweep.yaml", b"")  # without it a results folder counts as gone
    job = Job(root, root, resources=Resources(gpus=0), run="12345678")
    progress = SweepProgress(count, Console(file=said))
    error = None
    with Lease(root, "rdbench sweep") as lease, progress:
        try:
            RayScheduler(**({"concurrency": 2, "function": function} | options)).run(
                trials_of(spec, count), job, progress, lease
            )
        except (ClusterError, StorageError) as caught:
            error = caught
    return said.getvalue(), progress, error


def main(spec, root, name):
    """What the processes run that the tests below interrupt or kill."""
    said, progress, error = drive(Path(spec), Path(root), globals()[name], 300)
    print(said, f"{progress.finished} finished, error {error}", sep="")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def command(sweep_file, root, monkeypatch):
    """Start a sweep of 300 trials in a process; whatever it left behind is a failure of the test."""
    scratch = Path(tempfile.mkdtemp(prefix="rd-"))
    started = []

    def start(function):
        root.mkdir()
        code = f"import test_faults; test_faults.main({str(sweep_file)!r}, {str(root)!r}, {function!r})"
        environment = {**os.environ, "TMPDIR": str(scratch)}
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        started.append((process, scratch))
        return process

    yield start
    for process, _ in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    assert until(lambda: not remains(scratch), 30), f"left running: {remains(scratch)}"
    if any(process.returncode == -signal.SIGKILL for process, _ in started):
        monkeypatch.setenv("TMPDIR", str(scratch))
        until(lambda: Scratch().remove() or not list(scratch.iterdir()), 30)  # the next start sweeps it up
    assert list(scratch.iterdir()) == []
    scratch.rmdir()


def remains(scratch):
    """The processes that still work for a sweep whose temporary files lie in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(scratch) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def until(condition, seconds=240.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def end_of(process, seconds=240):
    """Wait for a process; return what it printed."""
    printed, _ = process.communicate(timeout=seconds)
    return printed


@pytest.fixture(scope="module")
def of_faults(tmp_path_factory):
    """What the console said of each trial in one run, the processes that tried it, and its row."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "sweep.yaml").write_text(DIGITS)
    root = folder / "results"
    said, progress, error = drive(folder / "sweep.yaml", root, with_faults, len(FAULTS))
    assert error is None
    assert progress.finished == len(FAULTS)
    assert "Traceback" not in said
    return [
        (
            [line for line in said.splitlines() if f"seed {trial.seed}:" in line],
            attempts(root, trial.seed),
            store.trial_tables(root, trial.id).get("trials", [None])[0],
        )
        for trial in trials_of(folder / "sweep.yaml", len(FAULTS))
    ]


def test_a_fault_of_the_machine_is_tried_again_in_another_process(of_faults):
    lines, processes, row = of_faults[0]
    assert len(set(processes)) == 3
    assert "its worker met a fault (OSError: [Errno 5] the disk is ill); starting it again" in lines[0]
    assert "its worker was killed or crashed; starting it again" in lines[1]
    assert "/3] bs_vae beta 1 seed 0: done" in lines[2]
    assert len(lines) == 3
    assert row is None, "the scheduler wrote a row for a trial that was done"


def test_after_three_attempts_the_causes_are_recorded(of_faults):
    lines, processes, row = of_faults[1]
    assert len(set(processes)) == 3
    assert "its worker was killed or crashed; starting it again" in lines[0]
    assert "its worker failed (ValueError: rdbench itself is at fault); starting it again" in lines[1]
    assert ": failed (" in lines[2]
    assert len(lines) == 3
    assert row["status"] == "failed"
    first, *rest = row["error"].splitlines()
    assert first.startswith(
        "the worker was killed or crashed, failed (ValueError: rdbench itself is at fault),"
    )
    assert rest[0] == "Traceback (most recent call last):"


def test_a_trial_that_hangs_fails_once_and_its_worker_is_not_called_dead(of_faults):
    lines, processes, row = of_faults[2]
    assert len(set(processes)) == 2, "the process that hung was used again"
    assert row["error"] == HUNG
    assert len(lines) == 1
    assert "failed (trial_timeout: no epoch ended within 1 s)" in lines[0]


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ({"oom_context": {"error_message": "..."}}, MEMORY),
        ({"actor_died_error_context": {"reason": "NODE_DIED"}}, NODE),
        ({"actor_died_error_context": {"reason": "WORKER_DIED"}}, KILLED),
        ({"runtime_env_failed_context": {}}, KILLED),
        ({}, KILLED),
    ],
)
def test_the_cause_of_a_death_is_read_from_the_record_of_ray(record, cause):
    assert cause_of_death(ParseDict(record, ActorDeathCause())) == cause


def test_a_worker_that_ray_killed_for_want_of_memory_is_a_dead_worker_to_tune():
    error = as_actor_error(OutOfMemoryError("the node is out of memory"))
    assert isinstance(error, RayActorError)
    assert loss(pickle.loads(pickle.dumps(error))) == Loss(MEMORY)
    other = ValueError("of the trial")
    assert as_actor_error(other) is other


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([Loss(MEMORY)] * 3, "the worker was killed for want of memory 3 times; run fewer trials at a time"),
        ([Loss(NODE), Loss(NODE), Loss(KILLED)], "the worker was lost with its node 2 times, was killed or"),
        ([Loss("met a fault (x)", "Traceback\nx")] * 3, "the worker met a fault (x) 3 times\nTraceback\nx"),
    ],
)
def test_the_cause_comes_first_and_the_mend_after_it(losses, says):
    assert verdict(losses).startswith(says)


def test_a_full_disk_stops_the_sweep_with_its_line(sweep_file, root):
    said, progress, error = drive(sweep_file, root, full_disk, 4)
    assert isinstance(error, StorageError)
    assert str(error) == "results: cannot be written (no space left on device); free some"
    assert progress.finished == 0
    assert "again" not in said
    assert sum(len(attempts(root, seed)) for seed in range(4)) <= 2


def test_ctrl_c_once_lets_what_runs_write_its_checkpoint_and_begins_nothing_new(command, root):
    process = command("epochs")
    assert until(lambda: attempts(root, 0) and attempts(root, 1))
    for child in psutil.Process(process.pid).children(recursive=True):
        for number in set(STOP) - {signal.SIGTERM}:
            child.send_signal(number)  # as Slurm does, which signals every process of a job's step
    process.send_signal(signal.SIGINT)
    printed = end_of(process)
    assert process.returncode == 0, printed
    assert "Ray died" not in printed
    assert "stopping: what runs ends its epoch" in printed
    assert "0 finished, error None" in printed
    assert "Traceback" not in printed
    assert sorted(file.name for file in root.glob("*.checkpoint")) == ["0.checkpoint", "1.checkpoint"]
    assert not (root / "driver.json").exists()


def test_a_second_signal_ends_at_once(command, root):
    process = command("slow_to_stop")
    assert until(lambda: attempts(root, 0))
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None, "it did not wait for what runs"
    process.send_signal(signal.SIGUSR1)
    printed = end_of(process)
    assert process.returncode == 0, printed
    assert "Traceback" not in printed


def slow_to_stop(pack, job, device, on_progress):
    attempt(pack[0], job)
    time.sleep(600)
    return [DONE]


def test_a_signal_while_ray_starts_ends_it(command, root):
    process = command("epochs")
    assert until(lambda: (root / "driver.json").exists())
    time.sleep(1)
    process.send_signal(signal.SIGUSR2)
    printed = end_of(process)
    assert process.returncode == 0, printed
    assert "0 finished, error None" in printed
    assert "Traceback" not in printed
    assert attempts(root, 0) == []


def test_nothing_outlives_a_driver_that_is_killed(command, root):
    process = command("epochs")
    assert until(lambda: attempts(root, 0))
    process.kill()
    printed = end_of(process)
    assert "Traceback" not in printed
    # The fixture looks for what is left.


def daemon(name):
    """One of Ray's daemons that this process's sweep has started."""
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() == name:
                return process
        except psutil.Error:
            continue
    return None


def test_a_sweep_outlives_the_daemons_of_ray_and_listens_to_this_machine_alone(sweep_file, root, capfd):
    listening = []

    def kill():
        until(lambda: attempts(root, 0) and attempts(root, 1))
        for process in psutil.Process().children(recursive=True):
            try:
                found = process.net_connections("inet")
            except psutil.Error:
                continue
            listening.extend(each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN)
        daemon("raylet").kill()
        until(lambda: attempts(root, 2))
        daemon("gcs_server").kill()

    killer = threading.Thread(target=kill)
    killer.start()
    said, progress, error = drive(sweep_file, root, slow, 5)
    killer.join()
    assert error is None
    assert progress.finished == 5
    assert said.count("Ray died (its raylet was ended); starting it again") == 1
    assert said.count("Ray died (its gcs_server was ended); starting it again") == 1
    printed = "".join(capfd.readouterr())
    assert printed == ""
    assert len(listening) >= 4
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert (root / "0.authentication").read_text() == "token"
