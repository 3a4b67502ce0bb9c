"""Checks of a dataset of one's own: its code is run twice, and a small model trained on what it gives."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from rdbench import datasets
from rdbench.commands.check.plugged import findings, imports, options_line
from rdbench.commands.check.subject import TRAIN
from rdbench.commands.check.verdicts import CheckError, Finding, Note, need
from rdbench.datasets import Dataset, PluggedDataset, Split
from rdbench.datasets import plugged as reading
from rdbench.datasets.arrays import Taken
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.text import counted
from rdbench.trial.run import run_trial

IMAGES = 256  # to train on
TESTED = 64


class DatasetSubject:
    """A dataset, not from the cache but as its code gives it now."""

    def __init__(self, asked: PluggedDataset, device: torch.device) -> None:
        self.asked, self.device = asked, device
        self.plugin = reading.found(asked)

    def read(self) -> Taken:
        """Run its code."""
        return reading.read(self.asked)

    @cached_property
    def taken(self) -> Taken:
        """What it gave the first time."""
        return self.read()


def check(reference: str, options: dict[str, Any], device: torch.device) -> Iterator[Finding]:
    """Check a dataset: yield each finding as it is made. The first that fails is the last.

    Raises SpecError: an option is wrong.
    """

    def subject() -> DatasetSubject:
        placeholder = {"shape": [1, 1, 1], **options}
        asked = reading.settle(reference, placeholder, (), datasets.names(), stored=False)
        return DatasetSubject(asked, device)

    return findings(subject, (declared, imports, images, labels, repeats, trains))


def declared(subject: DatasetSubject) -> str:
    """Its name and options."""
    text = f"dataset {subject.asked.name}, {options_line(subject.asked.options)}"
    return text if subject.plugin.summary else Note(f"{text}; a docstring would say what it holds")


def images(subject: DatasetSubject) -> str:
    """It gives images to train and to test on."""
    taken = subject.taken
    train, test = (split.count for split in taken.splits)
    text = f"{train:,} training and {test:,} test images, {'x'.join(map(str, taken.shape))}"
    return Note(f"{text}; {'; '.join(taken.notes)}") if taken.notes else text


def labels(subject: DatasetSubject) -> str:
    """Its classes, for what rests on them."""
    train, test = (split.labels for split in subject.taken.splits)
    if train is None or test is None or min(train.min(), test.min()) < 0:
        return Note("no class for each image, so what needs classes (fd_classifier) cannot be measured")
    return counted(len(np.unique(train)), "class").replace("classs", "classes")


def repeats(subject: DatasetSubject) -> str:
    """Read again, it gives the same images and labels: on another machine trials are held to them."""
    again = subject.read()
    for one, other in zip(subject.taken.splits, again.splits, strict=True):
        same = one.count == other.count and np.array_equal(_pixels(one), _pixels(other))
        need(
            same and np.array_equal(_or_none(one.labels), _or_none(other.labels)),
            "read twice it gives other data; draw from numpy's, torch's or Python's global generator, which"
            " are seeded, or from one with a seed of its own, and read files in a sorted order",
        )
    return "read twice it gives the same images and labels"


def _pixels(split: Any) -> np.ndarray:
    pixels: np.ndarray = split.read(range(split.count)).images
    return pixels


def _or_none(values: np.ndarray | None) -> np.ndarray:
    return np.empty(0) if values is None else values


def trains(subject: DatasetSubject) -> str:
    """A model of the default size trains on it."""
    asked = subject.asked.model_copy(update={"shape": subject.taken.shape})
    train, test = (
        Split(_pixels(split)[:count], None if split.labels is None else split.labels[:count])
        for split, count in zip(subject.taken.splits, (IMAGES, TESTED), strict=True)
    )
    size = min(TRAIN["batch_size"], len(train.images))
    need(size >= 2, f"{counted(len(train.images), 'training image')} cannot fill a batch of 2; give more")
    recipe = {"beta": [1.0], "train": {**TRAIN, "epochs": 1, "batch_size": size}}
    sweep = Sweep.model_validate({"name": "check", "variants": ["bs_vae"], "dataset": asked, **recipe})
    data = Dataset(asked.name, train, test, "check", asked.augment, asked.shape)
    tables = run_trial(plan(sweep).trials[0], data, subject.device)
    row = tables["trials"][0]
    if row["status"] != "done":
        raise CheckError(f"bs_vae at beta 1 diverges on it: {row['error']}")
    model = sweep.model.model_dump(exclude={"name"})
    return f"bs_vae at beta 1 trains on it, latent {model['latent']}, channels {list(model['channels'])}"
