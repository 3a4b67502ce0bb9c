"""Equal effective weight: what beta is to variants of different decoder variance.

A loss of distortion + beta rate at the variance sigma^2 has the gradients of sse + w rate, up to its scale,

    w = 2 sigma^2 beta

(Kim & Lee, Eq. 5). At equal beta a variance that follows the error therefore weighs the rate by another
amount than a constant one, and a difference between the two is one of two weights. Sigma^2 is that of the
native reading, as each training ended: 1/2, beta/2, or the training images' mean squared error of a value.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rdbench.numerics.likelihood import OWN, gaussian_nll
from rdbench.report.numbers import number
from rdbench.report.once import once
from rdbench.report.sections import Section, records
from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.series import Key

NOT_EQUAL = (
    "Equal β is not equal weight. A loss of distortion + β·rate at the variance σ² weighs the rate by"
    " w = 2σ²β, and σ² differs between variants. It is that of the native reading, as the training ended."
    " Constant variance has σ² = 1/2, so there w = β. A variance for each image counts by the mean of the"
    " training images."
)
"""For captions of what is compared at equal beta."""

OFF_CURVES = "No line in w runs through models that collapsed or are unstable."
"""For captions of what is compared at equal weight; see :func:`on_curves`."""

UNDECLARED = "it does not declare a loss of distortion + β·rate"
NOT_ONE = "its likelihood is not a Gaussian's of one σ²"

Values = Mapping[Key, Mapping[int, float]]
"""(variant, beta) -> seed -> value."""

_COLUMNS = ("variant", "beta", "seed", "split", "reading", "native", "beta_rate", "sse", "mse", "distortion",
            "distortion_se")  # fmt: skip

AGREEMENT = 1e-3
"""Relative: both splits must give a likelihood of one's own the same variance; float32 leaves some 1e-5."""


@once
def weights(section: Section) -> tuple[dict[Key, dict[int, float]], dict[Key, str]]:
    """Return (variant, beta) -> seed -> w, and why there is none at other (variant, beta)."""
    found: dict[Key, dict[int, float]] = {}
    reasons: dict[Key, str] = {}
    rows: dict[tuple[Key, int], dict[tuple[str, str], dict[str, Any]]] = {}
    wanted = section.points
    if len(wanted):
        rows_of_use = wanted["native"].eq(True) | wanted["reading"].eq("half")
        wanted = wanted.loc[rows_of_use, [name for name in _COLUMNS if name in wanted]]
    for row in records(wanted):
        point = (row["variant"], row["beta"]), int(row["seed"])
        rows.setdefault(point, {})[row["split"], row["reading"]] = row
    for (key, seed), here in rows.items():
        variance = _variance(key[1], here)
        if isinstance(variance, str):
            reasons[key] = variance
        else:
            found.setdefault(key, {})[seed] = 2 * variance * key[1]
    return found, {key: reason for key, reason in reasons.items() if key not in found}


def _variance(beta: float, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> float | str:
    """Return sigma^2 of a trial's native reading, by its rows of (split, reading), or why there is none."""
    native = next((row["reading"] for row in rows.values() if row.get("native")), None)
    if native is None or not any(row.get("beta_rate") for row in rows.values()):
        return UNDECLARED
    if native in ("half", "beta_half"):
        return 0.5 if native == "half" else beta / 2
    train = rows.get(("train", "half"))
    if train is None or not train["mse"] > 0:
        return "its training images have no finite error above 0"
    if native != OWN:
        return float(train["mse"])
    return _own_variance(rows)


def _own_variance(rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> float | str:
    """Return the variance of a likelihood of the model's own; why not, where it is not one Gaussian's.

    Of a Gaussian of one variance s the images' distortions are sse / (2 s) + a constant, so their standard
    error is that of the squared errors over 2 s. Both splits have to agree, and the means have to fit.
    """
    found = []
    for split in ("train", "test"):
        half, own = rows.get((split, "half")), rows.get((split, OWN))
        if half is None or own is None:
            return NOT_ONE
        spread, theirs = (float(row.get("distortion_se") or math.nan) for row in (half, own))
        s, n = spread / (2 * theirs), round(half["sse"] / half["mse"])
        if not (
            s > 0 and abs(float(gaussian_nll(half["sse"], s, n)) - own["distortion"]) <= AGREEMENT * n / 10
        ):
            return NOT_ONE
        found.append(s)
    train, test = found
    return train if abs(train - test) <= AGREEMENT * train else NOT_ONE


def on_curves(section: Section, values: Values) -> Values:
    """Return the values of models that neither collapsed nor are unstable: what a line in w runs through.

    Where latents collapse the ELBO falls off a cliff: a line from the last model that uses some to one that
    uses none says nothing of the weights between the two.
    """
    return {key: by_seed for key, by_seed in values.items() if key not in section.states}


def at_weight(values: Values, weights: Values, variant: str, w: float) -> dict[int, float]:
    """Return a variant's values at a weight by seed, of the seeds whose own weights span it.

    Interpolated linearly in ln w between the two neighbouring weights of the seed.

    Args:
        values: of one quantity, from :func:`on_curves`.
        weights: from :func:`weights`.
        variant: whose.
        w: the weight, > 0.
    """
    curves: dict[int, list[tuple[float, float]]] = {}
    for key, by_seed in values.items():
        for seed, value in by_seed.items() if key[0] == variant else ():
            weight = weights.get(key, {}).get(seed, math.nan)
            if weight > 0 and math.isfinite(weight):
                curves.setdefault(seed, []).append((math.log(weight), value))
    at: dict[int, float] = {}
    for seed, curve in sorted(curves.items()):
        x, y = np.array(sorted(curve)).T
        slack = 1e-9 * max(1.0, abs(math.log(w)))  # rounding alone must not take an end off
        if x[0] - slack <= math.log(w) <= x[-1] + slack:
            at[seed] = float(np.interp(math.log(w), x, y))
    return at


def at_equal_weight(values: Values, weights: Values, one: str, other: str, w: float) -> Difference | str:
    """Return ``one`` less ``other`` at equal weight w, paired by seed where the seeds are the same.

    Where the weights of either do not span it, or it has none: in words, with the range of each.
    """
    for variant in (one, other):
        if not any(key[0] == variant and weights.get(key) for key in values):
            known = any(key[0] == variant for key in weights)
            return f"all of {variant} collapsed or are unstable" if known else f"{variant} has no w"
    ours, theirs = (at_weight(values, weights, variant, w) for variant in (one, other))
    if ours and theirs:
        return difference(theirs, ours)
    spans = [f"{variant} {_span(values, weights, variant)}" for variant in (one, other)]
    return f"no common range at w = {number(w)}: {', '.join(spans)}"


def _span(values: Values, weights: Values, variant: str) -> str:
    """Return the range of a variant's weights in words."""
    every = [w for key in values if key[0] == variant for w in weights.get(key, {}).values()]
    return f"has {number(min(every))} to {number(max(every))}"
