"""Shared fixtures: a private cache, one thread, and small trials on the embedded digits; who runs what.

Tests run in a process for each core and one more (pytest-xdist), a file's tests in one of them; a single file
runs in the process that was started. ``-n 0`` runs everything there.
"""

import functools
import gc
import importlib.metadata
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ray_starts

from rdbench import datasets, machine
from rdbench.machine import usable_cores
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, load_sweep

# One thread: trials are measured so, and two that share busy cores are many times slower. Read by torch when
# it is imported, which is left to the tests that need it.
os.environ["OMP_NUM_THREADS"] = "1"

# What a process has compiled it keeps for those that follow, whatever the surroundings say: pytest rewrites
# the asserts of two hundred files, and most of the processes that tests and Ray start import torch.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What is imported stays: to look through all of it for rubbish, again and again, takes a tenth of collecting.
gc.disable()

# One process runs these files one by one, from the start: beside another Ray a node may not join the cluster
# that the first of them starts. The other files that start Ray come late, in whichever process is free, and
# before the last folders, of whose files none is long.
RAY = ("test_nodes", "test_chaos", "test_faults")
LONG = ("test_surroundings", "test_search_report", "test_check", "test_optuna", "test_remote", "test_bench")
LATE = ("test_tune", "test_cli")
LAST = ("vae", "variants")
STARTS = pytest.StashKey[Path]()

DIGITS = """
name: test
dataset: {name: digits, train_images: 256, test_images: 100}
variants: [beta_vae, bs_vae]
beta: [1]
train: {epochs: 2, batch_size: 64}
model: {latent: 4, channels: [8, 16]}
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Give each core a process and one more, as cores are idle while Ray starts.

    A single file has none: starting them would take longer than it does.
    """
    files = {argument.partition("::")[0] for argument in config.args}
    if len(files) == 1 and Path(*files).is_file():
        return 0
    cores = usable_cores()
    return min(cores + 1, 4) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files, those of RAY as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "ray" if Path(file).stem in RAY else file

    return Files(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    order = [*RAY, *LONG, "the others", *LATE, *LAST]
    place = {name: number for number, name in enumerate(order)}
    others = place["the others"]
    items.sort(key=lambda item: place.get(item.path.stem, place.get(item.path.parent.name, others)))


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Count the starts of Ray of all processes of this run."""
    if not hasattr(config, "workerinput"):  # else the process that started this one has seen to it
        config.stash[STARTS] = Path(tempfile.mkdtemp(prefix="rdbench-tests-")) / "starts"
        ray_starts.prepare(config.stash[STARTS])


def pytest_unconfigure(config: pytest.Config) -> None:
    if STARTS in config.stash:
        shutil.rmtree(config.stash[STARTS].parent)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run with more starts of Ray than are needed."""
    file = session.config.stash.get(STARTS, None)
    if file and ray_starts.summary(file)[0] > ray_starts.MOST:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.write_line(ray_starts.summary(config.stash[STARTS])[1])


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """Leave it to the system when files reach the disk: no test cuts the power, and they write thousands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _packages_are_looked_through_once():
    """Each sweep that is read asks what variants a hundred installed packages have: none comes or goes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", functools.cache(importlib.metadata.entry_points))
        yield


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests out of the user's cache; subprocesses and Ray workers inherit it."""
    before = os.environ.get("RDBENCH_CACHE")
    os.environ["RDBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["RDBENCH_CACHE"]
    else:
        os.environ["RDBENCH_CACHE"] = before


@pytest.fixture
def serially(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sweeps train their trials one after another in this process, without Ray."""
    from rdbench.trial.serial import SerialScheduler

    monkeypatch.setattr("rdbench.tune.supervisor.RayScheduler", lambda *options: SerialScheduler())


class Ended(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def rdbench(
    serially: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run the command in this process and the test's folder, its trials without Ray."""
    from rdbench.cli import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", ["rdbench", *map(str, arguments)])
        code: Any = 0
        try:
            app.main()
        except SystemExit as ended:
            code = ended.code or 0
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    """A sweep of two short trials on 256 digits."""
    path = tmp_path / "test.yaml"
    path.write_text(DIGITS)
    return path


@pytest.fixture
def sweep(sweep_file: Path) -> Sweep:
    return load_sweep(sweep_file)


@pytest.fixture
def trial(sweep: Sweep) -> Trial:
    """bs_vae at beta 1 on 256 digits, two epochs."""
    return next(trial for trial in plan(sweep).trials if trial.variant.name == "bs_vae")


@pytest.fixture
def data(trial: Trial, tmp_path: Path) -> datasets.Dataset:
    return datasets.load(trial.dataset, tmp_path)


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that makes control groups: version 2 below ``two/``, version 1 below ``one/``.

    This process is in ``job/step`` of version 2; of version 1 in ``box``, or in ``root``, the top it sees.
    """
    monkeypatch.setattr(machine, "PROCESS", tmp_path)

    def make(files: dict[str, str], root: str = "/") -> None:
        old = "box" if root == "/" else root[1:]
        (tmp_path / "cgroup").write_text(f"3:cpu,cpuacct:/{old}\n2:memory:/{old}\n0::/job/step\n")
        (tmp_path / "mountinfo").write_text(
            f"24 1 0:22 / /proc rw,nosuid - proc proc rw\n"
            f"30 25 0:26 {root} {tmp_path}/one rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            f"31 25 0:27 {root} {tmp_path}/one rw shared:9 - cgroup cgroup rw,memory\n"
            f"32 25 0:28 / {tmp_path}/two rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return make
