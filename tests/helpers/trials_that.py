"""What workers do in place of training, in tests of Ray: trials that fail, hang, wait or go on for ever.

Workers import this module: without torch they start in a third of the time. A function notes in the results
folder, as ``SEED.attempts``, the process of every attempt at a trial.
"""

import datetime
import os
import signal
import time
from pathlib import Path

from rdbench.errors import StorageError
from rdbench.results.lease import stop_requested
from rdbench.results.store import ResultsFolder
from rdbench.trial.job import Hung, Retry
from rdbench.trial.rows import failure_tables

DONE = {"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}
HUNG = "trial_timeout: no epoch ended within 1 s"
FAULTS = [["retry", "killed", "done"], ["killed", "raises", "retry"], ["hangs", "failed"]]  # by seed, attempt
FULL_DISK = "results: cannot be written (no space left on device); free some"
SHORT = 8  # seeds of trials that take a second
SLOW = 4  # seeds of trials that take two
EPOCHS = 12  # of trials on nodes that come and go


def attempt(pack, job):
    """Note an attempt at a trial; return how many there have been."""
    file = job.results / f"{pack[0].seed}.attempts"
    with file.open("a") as notes:
        notes.write(f"{os.getpid()}\n")
    return len(file.read_text().split())


def attempts(root, seed):
    """The processes that have tried a trial."""
    return read(root, f"{seed}.attempts").split()


def read(root, name):
    file = root / name
    return file.read_text() if file.exists() else ""


def meet_faults_then_train_for_ever(pack, job, device, on_progress):
    """Seeds of FAULTS meet with theirs, one an attempt; the others train for ever once those have ended."""
    (trial,) = pack
    if trial.seed >= len(FAULTS):
        return train_for_ever(pack, job, device, on_progress)
    fault = FAULTS[trial.seed][attempt(pack, job) - 1]
    if fault == "retry":
        raise Retry("Traceback (most recent call last):\n  ...\nOSError: [Errno 5] the disk is ill")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "raises":
        raise ValueError("rdbench itself is at fault")
    if fault == "hangs":
        tables = failure_tables(trial, HUNG, datetime.datetime.now(datetime.UTC))
        tables["trials"][0]["run"] = job.run
        ResultsFolder(job.results).commit(trial.id, tables)
        raise Hung
    if fault == "done":
        (job.results / f"{trial.seed}.ended").touch()
        return [DONE]
    return [DONE | {"status": "failed", "error": HUNG}]


def faults_have_ended(root):
    """Whether the first of FAULTS is done and the other two are committed as failed."""
    return (root / "0.ended").exists() and len(list((root / "trials").glob("*.parquet"))) == 2


def train_for_ever(pack, job, device, on_progress):
    """Train in epochs of a tenth of a second until asked to stop; while others meet faults, a moment only."""
    if not faults_have_ended(job.results):
        time.sleep(0.3)
        return [DONE]
    attempt(pack, job)
    for _ in range(3000):
        if stop_requested(job.results):
            (job.results / f"{pack[0].seed}.checkpoint").write_text("")
            return [DONE | {"status": "stopped"}]
        on_progress(0.0)
        time.sleep(0.1)
    return [DONE]


def take_two_seconds_then_ten_minutes(pack, job, device, on_progress):
    """The first seeds take two seconds, and note what listens to the network meanwhile; the others stay."""
    attempt(pack, job)
    (job.results / f"{pack[0].seed}.authentication").write_text(os.environ.get("RAY_AUTH_MODE", ""))
    time.sleep(2.0 if pack[0].seed < SLOW else 600)
    return [DONE]


def take_a_second_until_the_disk_is_full(pack, job, device, on_progress):
    """The first seeds take a second, and note the niceness of all threads; the next finds the disk full."""
    import torch  # noqa: F401 (as real trials do: a worker's first takes seconds, in which others start)

    attempt(pack, job)
    if pack[0].seed == SHORT:
        raise StorageError(FULL_DISK)
    time.sleep(1 if pack[0].seed < SHORT else 600)
    threads = Path("/proc/self/task").iterdir()
    nice = {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads}
    group = Path("/proc/self/autogroup")  # "/autogroup-25 nice 2", where sessions are weighed as a whole
    nice |= {int(group.read_text().split()[-1])} if group.exists() else set()
    (job.results / f"{pack[0].seed}.niceness").write_text(str(sorted(nice)))
    return [DONE]


def note_epochs_and_go_on_after_them(pack, job, device, on_progress):
    """Note each epoch with the node it ran on, and go on after those that are noted.

    The fifth trial waits for the sixth, so that a second node has to be there in the end.
    """
    seed, node = pack[0].seed, os.getppid()  # which is another once the node has died
    (job.results / f"{seed}.niceness").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
    while seed == 4 and not epochs(job.results, 5):
        time.sleep(0.05)
    for _ in range(len(epochs(job.results, seed)), EPOCHS):
        time.sleep(0.2)
        with (job.results / f"{seed}.epochs").open("a") as notes:
            notes.write(f"{node}\n")
    return [DONE]


def epochs(root, seed):
    """The nodes that a trial's epochs ran on."""
    return read(root, f"{seed}.epochs").split()
