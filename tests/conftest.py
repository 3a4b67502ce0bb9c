"""Shared fixtures: a private cache, one thread, and small trials on the embedded digits."""

import os
from pathlib import Path

import pytest

from rdbench import datasets
from rdbench.plan import Trial, plan
from rdbench.spec import Sweep, load_sweep

# One thread: trials are measured so, and two that share busy cores are many times slower. Read by torch when
# it is imported, which is left to the tests that need it.
os.environ["OMP_NUM_THREADS"] = "1"

DIGITS = """
name: test
dataset: {name: digits, train_images: 256, test_images: 100}
variants: [beta_vae, bs_vae]
beta: [1]
train: {epochs: 2, batch_size: 64}
model: {latent: 4, channels: [8, 16]}
"""


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
