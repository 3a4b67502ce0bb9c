"""How far training had come: what changed between the ends of the two cycles of the learning rate.

The learning rate falls to zero twice, by a cosine that restarts once (:mod:`rdbench.vae.training`). A
training that had converged by the end of the first cycle ends the second where it ended the first. What it
still gained, a longer training may gain again: a difference between variants that is smaller is not settled.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rdbench.numerics.likelihood import OWN, distortion
from rdbench.report.once import once
from rdbench.report.sections import Section, records
from rdbench.report.statistics.series import Key

NO_HISTORY = "no history of epochs is kept"
ONE_CYCLE = "its first cycle holds no whole epoch: one cycle alone tells of no progress"
ALL_BETAS = "one training for all β: its history is of none of them"


@dataclass(frozen=True)
class Progress:
    """One training, at the ends of its two cycles: (first, second) of each.

    Attributes:
        epochs: whose means these are, from 1: the last whole one of the first cycle, and the last.
        loss: mean over training images, in the variant's own units.
        sse, rate: means over training images; a rate of NaN where there is none.
        beta: the trial's.
        n: values in one image.
    """

    epochs: tuple[int, int]
    loss: tuple[float, float]
    sse: tuple[float, float]
    rate: tuple[float, float]
    beta: float
    n: int

    @property
    def fell(self) -> float:
        """How much the loss fell, in the variant's own units; negative where it rose."""
        return self.loss[0] - self.loss[1]

    def rose(self, reading: str) -> float | None:
        """Return how much the training images' ELBO rose under a reading, in nats per image; None of ``own``.

        From the means of error and rate. Where the variance follows the error it is that of all training
        images, also for ``optimal``, as a history has no single image.
        """
        if reading == OWN:
            return None
        of_all = reading if reading in ("half", "beta_half") else "optimal_shared"
        first, second = (
            -(float(distortion(of_all, sse, self.beta, self.n)) + rate)
            for sse, rate in zip(self.sse, self.rate, strict=True)
        )
        return second - first if math.isfinite(second - first) else None


def end_of_first_cycle(epochs: int, steps: int) -> int:
    """Return the last epoch, from 1, that lies within the first cycle as a whole; 0 where none does.

    The cycle has ``epochs * steps // 2 + 1`` steps. Of an odd number of epochs it ends within the epoch after
    this one, so what changed since is taken from somewhat too early, and is too large rather than too small.

    Args:
        epochs: of the whole training.
        steps: an epoch's.
    """
    return (epochs * steps // 2 + 1) // steps


@once
def progress(section: Section) -> tuple[dict[Key, dict[int, Progress]], dict[Key, str]]:
    """Return (variant, beta) -> seed -> :class:`Progress`, and why there is none at other (variant, beta)."""
    found: dict[Key, dict[int, Progress]] = {}
    reasons: dict[Key, str] = {}
    images = _images(section)
    history = _History(section)
    for row in records(section.trials):
        if row["status"] != "done" or "trial" not in row:
            continue
        key, betas = (row["variant"], row["beta"]), row.get("betas")
        if isinstance(betas, list):
            reasons |= {(row["variant"], beta): ALL_BETAS for beta in betas}
            continue
        one = _of_trial(section, row, history, images)
        if isinstance(one, Progress):
            found.setdefault(key, {})[int(row["seed"])] = one
        else:
            reasons[key] = one
    return found, reasons


class _History:
    """The ``history`` of a section, by trial and epoch."""

    def __init__(self, section: Section) -> None:
        names = ["trial", "epoch", "loss", "sse", "rate"]
        rows = section.history[names].to_numpy(object) if "trial" in section.history else ()
        self.figures: dict[tuple[str, int], list[float]] = {
            (trial, int(epoch)): [math.nan if value is None else float(value) for value in figures]
            for trial, epoch, *figures in rows
        }
        self.lengths = Counter(trial for trial, _ in self.figures)


def _images(section: Section) -> dict[str, tuple[int, int]]:
    """Return (training images that were measured, values in an image) by trial."""
    rows = section.splits.get(("train", "half"))
    if rows is None or "n_images" not in rows:
        return {}
    columns = (rows[name].tolist() for name in ("trial", "n_images", "sse", "mse"))
    return {
        trial: (int(count), round(sse / mse))
        for trial, count, sse, mse in zip(*columns, strict=True)
        if count > 0 and mse > 0
    }


def _of_trial(
    section: Section, row: dict[str, Any], history: _History, images: dict[str, tuple[int, int]]
) -> Progress | str:
    """Return a trial's progress, or why it has none."""
    trial = row["trial"]
    if not history.lengths[trial]:
        return NO_HISTORY
    if trial not in images:
        return "how many images it was trained on is not known"
    recipe = section.settings["train"]
    if isinstance(row.get("spec"), str):  # of a grid the section's are several
        recipe = json.loads(row["spec"]).get("train", recipe)
    (count, n), epochs = images[trial], int(recipe["epochs"])
    first = end_of_first_cycle(epochs, max(1, count // int(recipe["batch_size"])))
    if first == 0:
        return ONE_CYCLE
    if history.lengths[trial] != epochs or not {(trial, first), (trial, epochs)} <= history.figures.keys():
        return f"its history is not of the {epochs} epochs that two cycles take"
    loss, sse, rate = zip(*(history.figures[trial, epoch] for epoch in (first, epochs)), strict=True)
    if not all(map(math.isfinite, (*loss, *sse))):
        return "its history is not finite"
    return Progress((first, epochs), loss, sse, rate, row["beta"], n)


def mean_rise(trainings: Iterable[Progress], reading: str) -> float | None:
    """Return the mean over trainings of :meth:`Progress.rose`; None where none has it."""
    rises = [rise for one in trainings if (rise := one.rose(reading)) is not None]
    return math.fsum(rises) / len(rises) if rises else None
