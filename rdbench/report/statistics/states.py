"""Collapsed and unstable models over seeds: marked, nobody's best, and part of no curve.

A single trial's state is :func:`rdbench.results.model_states.state`; here is that of a variant at a beta. Of
means over seeds the rate decides about collapse; one unstable seed makes a point unstable, since its mean
says nothing. Start with :attr:`rdbench.report.sections.Section.states`.
"""

import math
from collections.abc import Mapping
from typing import cast

import pandas as pd

from rdbench.results.model_states import GREY_MSE, LEAST_RATE, State, state

Key = tuple[str, float]
"""Variant and beta."""


def mean_image_mse(trials: pd.DataFrame) -> float | None:
    """Return the error of the mean image on the test images of some ``trials`` rows of one dataset.

    None where no trial measured it, as those of rdbench before schema version 6.
    """
    if "mean_image_mse" not in trials:
        return None
    known = pd.to_numeric(trials["mean_image_mse"]).dropna()
    return float(known.max()) if len(known) else None


def point_states(points: pd.DataFrame, trials: pd.DataFrame) -> dict[Key, State]:
    """Return the state of each (variant, beta) that has one.

    Args:
        points: rows of finished trials of one dataset, with variant, beta and seed.
        trials: their ``trials`` rows.
    """
    if not len(points) or not {"rate", "mse", "psnr_of_mse"} <= set(points):
        return {}
    rows = points[(points["split"] == "test") & (points["reading"] == "half")]
    worst = mean_image_mse(trials)
    states: dict[Key, State] = {}
    for key, group in rows.groupby(["variant", "beta"]):
        rate = float(group["rate"].mean())  # NaN of a deterministic model
        pixels = bool(group["psnr_of_mse"].notna().any())
        found = state(None if math.isnan(rate) else rate, float(group["mse"].max()), worst, pixels=pixels)
        if found:
            variant, beta = cast(Key, key)
            states[variant, beta] = found
    return states


def in_curves(rows: pd.DataFrame, states: Mapping[Key, State], *, collapsed: bool = False) -> pd.DataFrame:
    """Return the rows (columns variant and beta) that are part of a curve: of models that have no state.

    Args:
        collapsed: keep those that collapsed, where a floor of the rate leaves out what it is to leave out.
    """
    out = {key for key, found in states.items() if not (collapsed and found == "collapsed")}
    if not out or not len(rows):
        return rows
    keys = zip(rows["variant"].tolist(), rows["beta"].tolist(), strict=True)
    return rows[[key not in out for key in keys]]


def said(states: Mapping[Key, State], known: bool) -> str:
    """Return a sentence on what is marked and left out, or ""; ``known``: the mean image's error is."""
    parts = []
    if collapsed := sum(found == "collapsed" for found in states.values()):
        parts.append(f"{collapsed} collapsed (rate below {LEAST_RATE:g} nats)")
    if unstable := sum(found == "unstable" for found in states.values()):
        worse = "the mean image" if known else f"a grey image can (MSE above {GREY_MSE:g})"
        parts.append(f"{unstable} unstable (reconstructs worse than {worse})")
    return f"In no curve and nobody's best: {' and '.join(parts)}." if parts else ""
