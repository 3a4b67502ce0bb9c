"""The reading ``optimal_train``, computed from rows that hold the others: no file holds it.

Its variance is the mean squared error of the training images, so a split's rows follow from its row under
``half`` and the training split's. See :func:`rdbench.numerics.likelihood.at_variance`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rdbench.numerics.likelihood import LIKELIHOOD, READINGS, STORED_READINGS, at_variance, bits_per_dim
from rdbench.spec.sweep import Sweep

if TYPE_CHECKING:
    import pandas as pd

_MEASURED = ("sse", "mse", "psnr_of_mse", "rate", "rate_se", "distortion_se", "elbo_se")


def shown(sweep: Sweep) -> Sweep:
    """Return a stored sweep with today's readings, where it asks for all those that once there were."""
    asked_for_all = set(sweep.readings) == set(STORED_READINGS)
    return sweep.model_copy(update={"readings": READINGS}) if asked_for_all else sweep


def with_likelihood(points: "pd.DataFrame") -> "pd.DataFrame":
    """Return rows of ``points``, and after each split's the one under ``optimal_train``.

    A trial without rows of the training split gets none.
    """
    import pandas as pd

    key = ["trial", "beta"]
    half = points[points["reading"] == "half"]
    train = half[half["split"] == "train"].drop_duplicates(key)[[*key, "sse"]]
    # By position: a split's new row goes behind its last.
    last = points.groupby([*key, "split"], sort=False).cumcount(ascending=False).eq(0)
    ends = points.loc[last, [*key, "split"]].assign(end=np.flatnonzero(last))
    rows = half.merge(train.rename(columns={"sse": "train_sse"}), on=key).merge(ends, on=[*key, "split"])
    if not len(rows):
        return points
    columns = {name: rows[name].to_numpy(float) for name in (*_MEASURED, "train_sse")}
    derived = rows.assign(**_derived(columns), reading=LIKELIHOOD, native=False)
    order = np.argsort(np.concatenate([np.arange(len(points)), derived["end"]]), kind="stable")
    derived = derived[points.columns].astype(points.dtypes)
    return pd.concat([points, derived], ignore_index=True).iloc[order].reset_index(drop=True)


def likelihood_rows(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows under ``optimal_train`` of one trial's rows, in their order; null is None."""
    half = [row for row in points if row["reading"] == "half"]
    train = {row["beta"]: row["sse"] for row in half if row["split"] == "train"}
    half = [row for row in half if row["beta"] in train]
    columns = {name: _numbers([row.get(name) for row in half]) for name in _MEASURED}
    derived = _derived(columns | {"train_sse": _numbers([train[row["beta"]] for row in half])})
    return [
        {**row, "reading": LIKELIHOOD, "native": False}
        | {
            name: None if np.isnan(column[index]) else float(column[index])
            for name, column in derived.items()
        }
        for index, row in enumerate(half)
    ]


def _numbers(values: Sequence[Any]) -> Any:
    return np.array([np.nan if value is None else value for value in values], float)


def _derived(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return what depends on the reading, NaN for null, from columns :data:`_MEASURED` and ``train_sse``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.round(rows["sse"] / rows["mse"])
        values = at_variance(rows, rows["train_sse"] / n, n)
        pixels = ~np.isnan(rows["psnr_of_mse"])
        bits = bits_per_dim(values["elbo"], 1) / n
        return values | {"density_bits_per_dim": np.where(pixels, bits, np.nan)}
