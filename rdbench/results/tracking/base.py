"""What a tracker is: told of each trial, with its settings, curves, figures and pictures."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rdbench.metrics import stored
from rdbench.results.readings import likelihood_rows
from rdbench.spec.plan import Trial, flat

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
CURVES = ("loss", "rate", "sse", "lr", "images_per_second")
FIGURES = ("rate", "mse", "psnr_of_mse")  # of a split, under whatever reading
OF_READING = ("elbo", "distortion")


@dataclass(frozen=True)
class TrialRecord:
    """A trial, as its committed rows have it.

    Attributes:
        id: the trial's.
        name: as on the console: "bs_vae beta 1 seed 0".
        status: "done", "diverged", "failed" or "stopped".
        settings: under dotted keys: "train.lr".
        curves: by name, "train/loss": (epoch, value) of each epoch.
        figures: by name: "test/elbo_half", nats; "test/psnr_of_mse", dB; "metric/fid". Finite ones.
        pictures: by kind: uint8 (height, width, 3), a grid of up to 16.
        epochs: how many it trained.
        run: of which run of a sweep its rows are; another, where it was trained anew.
    """

    id: str
    name: str
    status: str
    settings: dict[str, Any]
    curves: dict[str, list[tuple[int, float]]]
    figures: dict[str, float]
    pictures: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    epochs: int = 0
    run: str = ""


class Tracker:
    """Shows trials. What it was told before of a trial of the same id is replaced."""

    def log(self, trial: TrialRecord) -> None:
        """Take in a trial."""
        raise NotImplementedError

    def report(self, file: Path) -> None:
        """Take in the report's page, where it shows pages."""

    def close(self) -> None:
        """Write what is left; nothing, where each trial is written whole."""


def record(trial: Trial, name: str, tables: Tables) -> TrialRecord:
    """Return what trackers are told of a trial, from its rows by table."""
    history = tables.get("history", ())
    curves = {
        f"train/{column}": [(int(row["epoch"]), row[column]) for row in history if _finite(row[column])]
        for column in CURVES
    }
    figures = {**_of_points(tables.get("points", ())), **_of_metrics(tables.get("metrics", ()))}
    return TrialRecord(
        trial.id,
        name,
        str(tables["trials"][0]["status"]),
        {"trial": trial.id, **flat(trial.model_dump(mode="json", exclude={"variant": {"source"}}))},
        {name: values for name, values in curves.items() if values},
        {name: value for name, value in figures.items() if _finite(value)},
        _pictures(tables.get("images", ())),
        len(history),
        str(tables["trials"][0].get("run")),
    )


def by_epoch(trial: TrialRecord, last: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the values of each epoch by name, for trackers that take a step at a time.

    Figures and what is in ``last`` come with the last epoch, or, of a trial without epochs, at 0.
    """
    epochs: dict[int, dict[str, Any]] = {}
    for name, values in trial.curves.items():
        for epoch, value in values:
            epochs.setdefault(epoch, {})[name] = value
    epochs.setdefault(trial.epochs, {}).update({**trial.figures, **last})
    return dict(sorted(epochs.items()))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _of_points(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return figures of each split; of a training for a whole curve, of each beta."""
    whole = len({row["beta"] for row in points}) > 1
    figures: dict[str, Any] = {}
    for row in (*points, *likelihood_rows(points)):
        at = f"{row['split']}/beta {row['beta']:g}/" if whole else f"{row['split']}/"
        figures |= {f"{at}{column}": row[column] for column in FIGURES}
        figures |= {f"{at}{column}_{row['reading']}": row[column] for column in OF_READING}
    return figures


def _of_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return figures of metrics; a second value of one name, measured otherwise, has a number."""
    figures: dict[str, Any] = {}
    for row in rows:
        name = f"metric/{stored.name(row)}"
        count = sum(known == name or known.startswith(f"{name} ") for known in figures)
        figures[f"{name} {count + 1}" if count else name] = row["value"]
    return figures


def _pictures(rows: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[np.uint8]]:
    from PIL import Image

    kinds: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for row in rows:
        image = Image.open(io.BytesIO(row["png"])).convert("RGB")
        kinds.setdefault(row["kind"], []).append(np.asarray(image))
    return {kind: _grid(images) for kind, images in kinds.items()}


def _grid(images: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    columns = math.ceil(math.sqrt(len(images)))
    blank = np.zeros_like(images[0])
    padded = [*images, *[blank] * (-len(images) % columns)]
    rows = [np.concatenate(padded[at : at + columns], 1) for at in range(0, len(padded), columns)]
    return np.concatenate(rows)
