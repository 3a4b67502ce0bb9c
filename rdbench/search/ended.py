"""Ended trials as a search sees them: how they ended, and the numbers of their test split by name."""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rdbench.metrics import answers
from rdbench.metrics.base import MetricOptions, value_name
from rdbench.results import store
from rdbench.results.load import load_results
from rdbench.spec.plan import Trial
from rdbench.storage.places import Place

_OF_A_POINT = ("rate", "mse", "psnr")
_OF_A_READING = ("elbo", "distortion")


@dataclass(frozen=True)
class Ended:
    """A trial that ended.

    Attributes:
        trial: its settings.
        status: "done", "diverged", "failed" or "stopped".
        values: the finite numbers of a done trial's test split: rate, mse, psnr, ``elbo_<reading>``,
            ``distortion_<reading>``, and metrics by :func:`rdbench.metrics.base.value_name`.
        seconds: of training and measuring; 0 where that is not known.
    """

    trial: Trial
    status: str
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def load(
    root: Place,
    asked: Collection[MetricOptions] = (),
    *,
    failed_in: str | None = "",
    stopped: bool = True,
) -> dict[str, Ended]:
    """Return the ended trials of a results folder by id; none where there is no folder.

    Args:
        root: the results folder.
        asked: the metrics to look for, with their settings; others that lie there are not looked at.
        failed_in: the run whose failed trials count as ended: those of other runs are tried again. None for
            those of every run.
        stopped: whether trials that were stopped early count as ended, or are to be trained to their end.
    """
    if not store.trial_ids(root):
        return {}
    found = load_results(root, ("points", "metrics"))
    values: dict[str, dict[str, float]] = {}
    for row in _records(found.points[found.points["split"] == "test"]):
        own = values.setdefault(row["trial"], {})
        own |= _finite({name: row[name] for name in _OF_A_POINT})
        own |= _finite({f"{name}_{row['reading']}": row[name] for name in _OF_A_READING})
    for row in _records(found.metrics):
        if any(answers(each, row) for each in asked):
            settings = json.loads(row["settings"])
            name = value_name(row["name"], settings.get("quantity"), settings.get("reading"))
            values.setdefault(row["trial"], {}).update(_finite({name: row["value"]}))
    ended = {}
    for row in _records(found.trials):
        counts = failed_in is None or (failed_in and row["run"] == failed_in)
        if row["status"] == "failed" and not counts:
            continue
        if row["status"] == "stopped" and not stopped:
            continue
        try:
            trial = Trial.from_json(row["spec"])
        except ValueError:
            continue
        if trial.id != row["trial"]:  # of another version: no trial of this search
            continue
        seconds = row["seconds"] if _is_number(row["seconds"]) else 0.0
        own = values.get(row["trial"], {}) if row["status"] == "done" else {}
        ended[row["trial"]] = Ended(trial, row["status"], own, seconds)
    return ended


def mean_values(group: Iterable[Ended], names: Collection[str]) -> dict[str, float]:
    """Return the means over seeds of the named values; a value that any of them lacks is left out."""
    group = list(group)
    return {
        name: math.fsum(each.values[name] for each in group) / len(group)
        for name in names
        if group and all(name in each.values for each in group)
    }


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if _is_number(value)}


def _records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows
