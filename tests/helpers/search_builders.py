"""Sweeps that search, and trials that end at once: their numbers come from theory, not from training."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from rdbench.numerics import theory
from rdbench.search.base import Begun, Search
from rdbench.search.ended import Ended
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep

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


def predicted(trial: Trial) -> Ended:
    """A trial as theory has it end, trained and measured without error."""
    found = theory.predict("beta_vae", EIGENVALUES, trial.model.latent, trial.beta)
    values = {"rate": found.rate, "mse": found.sse / 16, "psnr": -10 * math.log10(found.sse / 16)}
    values |= {f"elbo_{reading}": value for reading, value in found.elbo.items()}
    return Ended(trial, "done", values, seconds=2.0)


def begun(wanted: Sweep, there: Mapping[str, Ended] | None = None) -> Begun:
    return Begun(wanted, frozenset(there or {}))


def run(
    search: Search,
    end: Callable[[Trial], Ended] = predicted,
    ended: Mapping[str, Ended] | None = None,
) -> dict[str, Ended]:
    """Run a search to its end; the trials in the order in which they were proposed."""
    found = dict(ended or {})
    while todo := search.propose(found):
        assert not any(trial.id in found for trial in todo), "proposed what had ended"
        found |= {trial.id: end(trial) for trial in todo}
    return found


def betas(ended: Mapping[str, Ended]) -> list[float]:
    return [each.trial.beta for each in ended.values()]
