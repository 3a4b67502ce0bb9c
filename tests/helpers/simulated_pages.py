"""Pages of trials whose truth is known: curves with normally distributed seeds, and what is true of them."""

import numpy as np
import pandas as pd

from rdbench.report.sections import Section
from rdbench.report.statistics.band import difference_band

BETAS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Those of Table 1."""
READINGS = ("half", "beta_half", "optimal", "optimal_train")


def page(generator, lead, *, seeds=5, betas=BETAS, spread=1.0, shared=3.0, apart=0.0):
    """A section of bs_vae and beta_vae on one curve, bs_vae ``lead`` nats better at each beta, in every
    reading.

    Args:
        lead: nats, a number or one a beta.
        spread: the standard deviation of a training, nats; ``shared`` that of a seed, common to all
            trainings.
        apart: nats by which bs_vae's likelihood falls with each step of beta away from 1.
    """
    betas, lead = np.array(betas), np.broadcast_to(lead, len(betas))
    rates = np.geomspace(30, 1, len(betas))
    luck = shared * generator.normal(size=seeds)
    parts = []
    for variant in ("bs_vae", "beta_vae"):
        off = luck[:, None] + spread * generator.normal(size=(seeds, len(betas)))
        height = 100 * np.exp(-rates / 8) - (lead if variant == "bs_vae" else 0) + off
        rank = apart * np.abs(np.log10(betas)) if variant == "bs_vae" else apart * np.log10(betas)
        for reading in READINGS:
            parts.append(pd.DataFrame({
                "variant": variant, "split": "test", "reading": reading, "beta": np.tile(betas, seeds),
                "seed": np.repeat(np.arange(seeds), len(betas)), "rate": np.tile(rates, seeds),
                "distortion": height.ravel(), "mse": 0.1 + off.ravel() / 1e3,
                "elbo": np.ravel(off + (lead if variant == "bs_vae" else 0) - rank),
                "native": reading == ("half" if variant == "beta_vae" else "optimal"),
                "beta_rate": variant == "beta_vae", "trial": "t",
            }))  # fmt: skip
    points = pd.concat(parts, ignore_index=True)
    names = ["variant", "beta", "seed"]
    trials = points[names].drop_duplicates().assign(status="done")
    return Section({"dataset": {"name": "mnist"}, "protocol": "clean"}, None, READINGS, points=points,
                   trials=trials, missing=pd.DataFrame(columns=names))  # fmt: skip


def curves(generator, seeds, betas, noise, correlation=0.0):
    """Curves about 100 exp(-rate / 8), each training off by ``noise`` in rate and height."""
    rates = np.geomspace(1, 20, betas)
    found = {}
    for seed in range(seeds):
        of_seed, own = generator.normal(size=(2, 1)), generator.normal(size=(2, betas))
        off = np.exp(noise * (np.sqrt(correlation) * of_seed + np.sqrt(1 - correlation) * own))
        found[seed] = (rates * off[0], 100 * np.exp(-rates / 8) * off[1])
    return found


def band_holds(generator, seeds, betas, noise=0.02, correlation=0.0):
    """Whether the band about two equal curves holds zero at every rate; whether pointwise intervals do."""
    from scipy.stats import t

    found = difference_band(*(curves(generator, seeds, betas, noise, correlation) for _ in range(2)), 0.01)
    pointwise = t.ppf(0.975, seeds - 1) * found.error
    return [bool((np.abs(found.mean) <= half).all()) for half in (found.half_width, pointwise)]


def grid(generator, seeds, betas, noise, factor=1.0):
    """A sweep over seven decades of beta, which levels off at the low ones and collapses at the high ones."""
    beta = np.geomspace(1e-4, 1e3, betas)
    errors = np.clip(0.02 + 0.1 * beta**0.8, None, 0.7)
    rates = factor * 10 * np.log(0.75 / errors)
    off = np.exp(noise * generator.normal(size=(seeds, 2, betas)))
    return pd.DataFrame({
        "beta": np.tile(beta, seeds), "seed": np.repeat(np.arange(seeds), betas),
        "rate": np.ravel(rates * off[:, 0]), "mse": np.ravel(errors * off[:, 1]),
    })  # fmt: skip
