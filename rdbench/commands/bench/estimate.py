"""How long a sweep will take, from what ``rdbench bench`` measured on this machine."""

import platform
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdbench import datasets
from rdbench.datasets import DatasetOptions
from rdbench.errors import DatasetError
from rdbench.spec.plan import Plan, Trial, packable, speed_key
from rdbench.storage import paths
from rdbench.storage.cache import _read, remembered
from rdbench.storage.paths import DataRoot
from rdbench.text import duration


@dataclass(frozen=True)
class Images:
    """Sizes of a dataset's splits."""

    train: int
    test: int


def images(options: DatasetOptions, data_root: Path | DataRoot | None = None) -> Images | None:
    """Return how many images a dataset will have, without reading it; None where only the data tell.

    Args:
        options: the dataset's.
        data_root: where raw data lies, to know the counts of what was prepared; else they are as published.
    """
    if data_root is not None:
        with suppress(DatasetError):
            if data := datasets.known(options, data_root):
                return Images(len(data.train.images), len(data.test.images))
    counts = datasets.sizes(options)
    return Images(*counts) if counts else None


def _file() -> Path:
    return paths.cache_root() / "bench.json"


def remember(trial: Trial, device: str, training: float, evaluation: float) -> None:
    """Keep what a benchmark measured.

    Args:
        trial: what was trained.
        device: what on.
        training: images a second of the whole machine, at its best pack.
        evaluation: images a second of the whole machine.
    """
    with remembered(_file()) as known:
        known[_key(trial)] = {"device": device, "training": training, "evaluation": evaluation}


def _key(trial: Trial) -> str:
    return speed_key(trial, host=platform.node())


def time_left(
    whole: Plan, spec: str, overrides: Sequence[str] = (), data_root: Path | DataRoot | None = None
) -> str | None:
    """Return how long what a plan has left will take here, in words; None where that is not to be known:
    nothing is left, no variant is one that is benchmarked, or only the data know how many images they are.

    Training and evaluation only: metrics, and starting Ray, come on top.

    Args:
        whole: the plan.
        spec: the sweep file, and ``overrides`` what ``--set`` changed of it, for the command that is named.
        data_root: where raw data lies.
    """
    todo = whole.todo
    if not todo:
        return None
    known = _read(_file()).get(_key(todo[0]))
    if known is None:
        if not packable(todo) or spec == "-":
            return None  # which no benchmark would be of, or none could read again
        command = shlex.join(["rdbench", "bench", spec, *(f"--set={each}" for each in overrides)])
        return f'how long? run "{command}" once on this machine, and the next dry run tells'
    sizes = images(todo[0].dataset, data_root)
    if sizes is None:
        return None
    trained = todo[0].train.epochs * sizes.train / known["training"]
    evaluated = (sizes.train + sizes.test) / known["evaluation"]
    trainings = len(whole.todo) if whole.at_most is None else whole.at_most
    about = "about" if whole.at_most is None else "at most about"
    time = duration(trainings * (trained + evaluated))
    return f"{about} {time} on {known['device']}, as benchmarked on this machine"
