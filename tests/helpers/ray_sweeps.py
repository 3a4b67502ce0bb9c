"""Sweeps on Ray whose workers do what a test wants, driven here or by a process that can be signalled."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import trials_that
from conftest import DIGITS
from rich.console import Console

from rdbench.errors import ClusterError, StorageError
from rdbench.results.lease import Lease
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Resources, load_sweep
from rdbench.storage.places import write_atomically
from rdbench.trial.job import Job
from rdbench.trial.progress import SweepProgress
from rdbench.tune.supervisor import RayScheduler


def until(condition, seconds=240.0):
    """Wait for a condition; return whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def trials_of(folder: Path, count: int) -> list[Trial]:
    """Trials of one setting that differ in their seeds."""
    spec = folder / "sweep.yaml"
    spec.write_text(DIGITS)
    return list(plan(load_sweep(spec, [f"seeds={count}", "variants=[bs_vae]"])).trials)


@dataclass
class Driven:
    """A sweep that was driven: what was said, how many trials finished, and what ended it early."""

    said: str
    finished: int
    error: ClusterError | StorageError | None

    def of_seed(self, seed: int) -> list[str]:
        return [line for line in self.said.splitlines() if f"seed {seed}:" in line]


def drive(folder, function, count, *, address="local", concurrency=2, **resources) -> Driven:
    """Run trials through Ray, holding the lease of ``folder/results``."""
    root = folder / "results"
    root.mkdir(exist_ok=True)
    write_atomically(root / "sweep.yaml", b"")  # without it a results folder counts as gone
    console = Console(file=io.StringIO())
    progress, error = SweepProgress(count, console), None
    job = Job(root, root, resources=Resources(gpus=0, **resources), run="12345678")
    scheduler = RayScheduler(address, concurrency, function)
    with Lease(root, "rdbench sweep") as lease, progress:
        try:
            scheduler.run(trials_of(folder, count), job, progress, lease)
        except (ClusterError, StorageError) as caught:
            error = caught
    return Driven(console.file.getvalue(), progress.finished, error)


def main(folder, name):
    """What :func:`in_a_process` runs."""
    driven = drive(Path(folder), getattr(trials_that, name), 300)
    Path(folder, "said").write_text(f"{driven.said}{driven.finished} finished, error {driven.error}\n")


@dataclass
class Command:
    """A sweep in a process of its own; what became of it, once it has ended.

    Attributes:
        process: that drives it.
        root: the results folder.
        said: on the console.
        printed: by the process beside that.
        left: names of processes and temporary files that outlived it.
    """

    process: psutil.Popen
    root: Path
    said: str = ""
    printed: str = ""
    left: list[str] = field(default_factory=list)


@contextmanager
def in_a_process(folder, function):
    """Start a sweep of 300 trials; leaving waits for its end, and looks for what it left behind."""
    scratch = Path(tempfile.mkdtemp(prefix="rd-"))
    code = f"import sys; sys.path[:0] = {sys.path!r}; import ray_sweeps"
    process = psutil.Popen(
        [sys.executable, "-c", f"{code}; ray_sweeps.main({str(folder)!r}, {function.__name__!r})"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    command = Command(process, folder / "results")
    try:
        yield command
        command.printed, _ = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if (folder / "said").exists():
        command.said = (folder / "said").read_text()
    until(lambda: not remains(scratch), 30)
    command.left = remains(scratch) + [file.name for file in scratch.iterdir()]
    shutil.rmtree(scratch)


def remains(scratch):
    """The processes that still work for a sweep whose temporary files lie in a folder."""
    names = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(scratch) and process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
        except psutil.Error:
            continue
    return names
