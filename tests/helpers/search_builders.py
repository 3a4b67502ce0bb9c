"""Sweeps that search, and trials that end at once: their numbers come from theory, not from training."""

import datetime
import math
from collections.abc import Callable, Mapping

import numpy as np
from gaussian_oracle import elbo
from report_builders import make_sweep

from rdbench.numerics import theory
from rdbench.results.store import ResultsFolder
from rdbench.search.base import Search, SearchState
from rdbench.search.ended import FinishedTrial
from rdbench.search.running import SearchRun
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep
from rdbench.trial.rows import failure_tables

NOW = datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC)

EIGENVALUES = 2.0 * np.arange(1, 17) ** -1.2


def sweep(search: object = "curve", **settings: object) -> Sweep:
    """A sweep of linear beta-VAEs on the calibration source, over seven decades of beta."""
    given = {
        "name": "try",
        "dataset": "gaussian",
        "variants": ["beta_vae"],
        "beta": {"logspace": [1e-4, 1e3, 5]},
        "model": {"name": "linear", "latent": 12},
        "search": search,
    }
    return Sweep.model_validate(given | settings)


OF_A_POINT = {"rate": "rate", "mse": "mse", "psnr": "psnr_of_mse"}


def predicted(trial: Trial) -> FinishedTrial:
    """A trial as theory has it end, trained and measured without error."""
    found = theory.predict("beta_vae", EIGENVALUES, trial.model.latent, trial.beta)
    values = {"rate": found.rate, "mse": found.sse / 16, "psnr": -10 * math.log10(found.sse / 16)}
    elbos = elbo(found, EIGENVALUES, trial.model.latent, trial.beta)
    values |= {f"elbo_{reading}": value for reading, value in elbos.items()}
    return FinishedTrial(trial, "done", values, seconds=2.0)


def begun(wanted: Sweep, there: Mapping[str, FinishedTrial] | None = None) -> SearchState:
    return SearchState(wanted, frozenset(there or {}))


def run(
    search: Search,
    end: Callable[[Trial], FinishedTrial] = predicted,
    ended: Mapping[str, FinishedTrial] | None = None,
) -> dict[str, FinishedTrial]:
    """Run a search to its end; the trials in the order in which they were proposed."""
    found = dict(ended or {})
    while todo := search.propose(found):
        assert not any(trial.id in found for trial in todo), "proposed what had ended"
        found |= {trial.id: end(trial) for trial in todo}
    return found


def betas(ended: Mapping[str, FinishedTrial]) -> list[float]:
    return [each.trial.beta for each in ended.values()]


def commit(root, trial, status="done", run="", values=None):
    """Write a trial into a results folder as theory has it."""
    (row,) = failure_tables(trial, "why", NOW)["trials"]
    row |= {"status": status, "run": run or None, "seconds": 2.0, "dataset_checksum": "c0ffee"}
    tables = {"trials": [row]}
    if status == "done":
        own = predicted(trial).values | (values or {})
        key = {"variant": trial.variant.name, "beta": trial.beta, "seed": trial.seed, "native": False}
        tables["points"] = [
            key
            | {
                "split": split,
                "reading": reading,
                "n_images": 100,
                "sse": 16 * own["mse"],
                "elbo": own["elbo_optimal"],
                "distortion": 1.0,
            }
            | {column: own[name] + (split == "train") for name, column in OF_A_POINT.items()}
            for split in ("train", "test")
            for reading in ("half", "optimal")
        ]
    ResultsFolder(root).commit(trial.id, tables)


def searching(root, wanted: Sweep, **options) -> SearchRun:
    ResultsFolder(root).save_sweep(wanted)
    return SearchRun(wanted, root, lambda: ResultsFolder(root).finished(make_sweep()), **options)


def work(search: SearchRun, status="done") -> list[float]:
    """Run a search to its end; the betas, in the order in which they were handed out."""
    betas = []
    while batch := search.next():
        for trial in batch:
            commit(search.root, trial, status, search.run)
        betas += [trial.beta for trial in batch]
    return betas
