"""The rows of a trial that are not measurements: how it ended, when, and on what."""

import datetime
import json
import platform
import re
from pathlib import Path
from typing import Any

from rdbench import machine
from rdbench.datasets import Dataset
from rdbench.datasets.mean_image import mean_image_mse
from rdbench.spec.plan import Trial

Rows = list[dict[str, Any]]
Tables = dict[str, Rows]


def trial_row(trial: Trial, status: str, error: str | None, started: datetime.datetime) -> dict[str, Any]:
    """Return the part of a ``trials`` row that every trial has, however it ended."""
    return {
        "status": status,
        "error": error,
        **point_key(trial),
        "epochs": trial.train.epochs,
        "host": platform.node(),
        "versions": json.dumps(machine.versions()),
        "commit": machine.commit(),
        "started": started,
        "spec": trial.to_json(),
    }


def failure_tables(trial: Trial, error: str, started: datetime.datetime) -> Tables:
    """Return the tables of a trial that raised an exception or lost its worker."""
    return {"trials": [trial_row(trial, "failed", error, started)]}


def placed(error: str, trial: Trial) -> str:
    """Return a traceback whose last line, which users see first, says where in their own file it began."""
    source, _, symbol = trial.variant.source.rpartition(":")
    if not source.endswith(".py"):
        return error
    lines = re.findall(rf'File "{re.escape(source)}", line (\d+)', error)
    file = Path(source).name
    where = f"{file}:{lines[-1]}: " if lines else f"{file}: "
    return f"{error.rstrip()}\n{where}{error.strip().splitlines()[-1]}; try 'rdbench check {file}:{symbol}'\n"


def stopped_tables(trial: Trial, reason: str, history: Rows, started: datetime.datetime) -> Tables:
    """Return the tables of a trial that was stopped early: its history, and no points."""
    row = trial_row(trial, "stopped", reason, started)
    seconds = sum(epoch["seconds"] for epoch in history)
    speed = {"seconds": seconds, "images_per_second": training_speed(history)}
    return {"history": history, "trials": [row | speed]}


def training_speed(history: Rows) -> float | None:
    """Return training images a second over all epochs."""
    seconds = sum(row["seconds"] for row in history)
    images = sum(row["seconds"] * row["images_per_second"] for row in history)
    return images / seconds if seconds else None


def point_key(trial: Trial) -> dict[str, Any]:
    """Return the columns that name a trial in the ``points`` table."""
    return {
        "dataset": trial.dataset.name,
        "variant": trial.variant.name,
        "beta": trial.beta,
        "seed": trial.seed,
        "protocol": trial.protocol,
    }


def data_columns(data: Dataset) -> dict[str, Any]:
    """Return the columns of a ``trials`` row that say what it was trained on."""
    return {
        "dataset_checksum": data.checksum,
        "skipped_files": len(data.skipped),
        "train_images": len(data.train.images),
        "test_images": len(data.test.images),
        "data_notes": json.dumps(data.notes),
        "mean_image_mse": mean_image_mse(data),
    }
