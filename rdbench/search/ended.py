"""Ended trials as a search sees them: how they ended, and what it chooses by.

That is measured on the validation images, so that the test images score a choice that they had no part in;
where none are held out, on the test images.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rdbench.metrics import answers, stored
from rdbench.metrics.base import MetricOptions
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place

_OF_A_POINT = {"rate": "rate", "mse": "mse", "psnr": "psnr_of_mse"}  # name -> column
_OF_A_READING = ("elbo", "distortion")


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that ended.

    Its ``values`` are the finite numbers of a done trial: rate, mse, psnr, ``elbo_<reading>`` and
    ``distortion_<reading>`` of the split that is chosen by (:func:`chosen_on`), and metrics by
    :func:`rdbench.metrics.base.value_name`.
    """

    trial: Trial
    status: str  # "done", "diverged", "failed" or "stopped"
    values: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0  # of training and measuring; 0 where that is not known


def chosen_on(sweep: Sweep) -> str:
    """Return the split that a search of a sweep chooses by: the test images only where none are held out."""
    return "validation" if sweep.dataset.validation else "test"


def load(
    root: Place, asked: Collection[MetricOptions] = (), *, failed_in: str | None = "", stopped: bool = True
) -> dict[str, FinishedTrial]:
    """Return the ended trials of a results folder by id; none where there is no folder.

    ``asked`` are the metrics to look for, with their settings; others that lie there are ignored. Failed
    trials of the run ``failed_in`` count as ended, those of other runs are tried again; None for those of
    every run. ``stopped``: trials that were stopped early count as ended, or are to be trained to their end.
    """
    if not ResultsFolder(root).trial_ids():
        return {}
    results = load_results(root, ("points", "metrics"))
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for row in _records(results.points[results.points["split"] == chosen_on(results.sweep)]):
        measured = {name: row[column] for name, column in _OF_A_POINT.items()}
        measured |= {f"{name}_{row['reading']}": row[name] for name in _OF_A_READING}
        values[row["trial"]] |= _finite(measured)
    for row in _records(results.metrics):
        if any(answers(metric, row) for metric in asked):
            values[row["trial"]] |= _finite({stored.name(row): row["value"]})
    ended = {}
    for row in _records(results.trials):
        status, name = row["status"], row["trial"]
        if status == "failed" and failed_in is not None and not (failed_in and row["run"] == failed_in):
            continue
        if status == "stopped" and not stopped:
            continue
        try:
            trial = Trial.from_json(row["spec"])
        except ValueError:
            continue
        if trial.id == name:  # else of another version: no trial of this search
            seconds = _finite({"seconds": row["seconds"]}).get("seconds", 0.0)
            ended[name] = FinishedTrial(trial, status, values[name] if status == "done" else {}, seconds)
    return ended


def mean_values(group: Sequence[FinishedTrial]) -> dict[str, float]:
    """Return the means of values over seeds, one or more; a value that any of them lacks is left out."""
    return {
        name: math.fsum(ended.values[name] for ended in group) / len(group)
        for name in group[0].values
        if all(name in ended.values for ended in group)
    }


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)
    }


def _records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows
