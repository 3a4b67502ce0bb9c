"""Shared fixtures: a private cache, one thread, and small trials on the embedded digits; who runs what.

Tests run in as many processes as there are cores (pytest-xdist), a file's tests in one of them; a single file
runs in the process that was started. ``-n 0`` runs everything there.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rdbench import datasets, machine
from rdbench.machine import usable_cores
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, load_sweep

# One thread: trials are measured so, and two that share busy cores are many times slower. Read by torch when
# it is imported, which is left to the tests that need it.
os.environ["OMP_NUM_THREADS"] = "1"

# Files whose tests start Ray, the longest part. One process runs these, one by one, from the start: beside
# another Ray a node may not join the cluster that a test starts. The last ones, where there is nothing but a
# sweep's own Ray, end the run in whichever process is free.
RAY = ("test_nodes", "test_chaos", "test_faults", "test_tune")
LAST = ("test_search_sweep", "test_sweeps_on_images", "test_remote", "test_cli")
LONG = ("test_check", "test_packs", "test_multi_rate")  # of the others

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
    """Give each core a process, but a single file none: starting them would take longer than it does."""
    files = {argument.partition("::")[0] for argument in config.args}
    if len(files) == 1 and Path(*files).is_file():
        return 0
    cores = usable_cores()
    return min(cores, 4) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files, those that start Ray as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "ray" if Path(file).stem in RAY else file

    return Files(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    places = {name: place for place, name in enumerate((*RAY, *LONG, "all others", *LAST))}
    items.sort(key=lambda item: places.get(item.path.stem, places["all others"]))


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
