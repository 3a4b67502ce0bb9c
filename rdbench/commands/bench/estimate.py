"""How long a sweep will take, from what ``rdbench bench`` measured on this machine."""

import platform
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rdbench import datasets
from rdbench.datasets import DatasetOptions
from rdbench.errors import DatasetError
from rdbench.spec.plan import Plan, Trial, packable, speed_key, trained
from rdbench.storage import paths
from rdbench.storage.cache import _read, remembered
from rdbench.storage.paths import DataRoot
from rdbench.text import duration


def images(options: DatasetOptions, data_root: Path | DataRoot | None = None) -> tuple[int, int] | None:
    """Return how many (training, test) images there will be, without reading them; None: only the data tell.

    With a ``data_root`` they are those of what was prepared, else those that are published.
    """
    if data_root is not None:
        with suppress(DatasetError):
            if data := datasets.known(options, data_root):
                return len(data.train.images), len(data.test.images)
    return datasets.sizes(options)


def _file() -> Path:
    return paths.cache_root() / "bench.json"


def remember(trial: Trial, device: str, training: float, evaluation: float) -> None:
    """Keep what a benchmark measured of a trial: images a second of the whole machine, at its best pack."""
    with remembered(_file()) as known:
        known[speed_key(trial, host=platform.node())] = {
            "device": device,
            "training": training,
            "evaluation": evaluation,
        }


def time_left(
    whole: Plan, spec: str, overrides: Sequence[str] = (), data_root: Path | DataRoot | None = None
) -> str | None:
    """Return how long the rest of a plan will take here, in words, without metrics and the start of Ray.

    None: nothing is left, no variant can be benchmarked, or only the data tell how many images there are.

    ``spec`` is the sweep file, and ``overrides`` what ``--set`` changed of it, for the command in the hint.
    """
    todo = trained(whole.todo)  # a closed form is a few passes over the images
    if not todo:
        return None
    speeds = _read(_file()).get(speed_key(todo[0], host=platform.node()))
    if speeds is None:
        if not packable(todo) or spec == "-":
            return None  # which no benchmark would be of, or none could read again
        command = shlex.join(["rdbench", "bench", spec, *(f"--set={text}" for text in overrides)])
        return f'how long? run "{command}" once on this machine, and the next dry run tells'
    counts = images(todo[0].dataset, data_root)
    if counts is None:
        return None
    seconds = todo[0].train.epochs * counts[0] / speeds["training"] + sum(counts) / speeds["evaluation"]
    trainings, about = (len(todo), "about") if whole.at_most is None else (whole.at_most, "at most about")
    time = duration(trainings * seconds)
    return f"{about} {time} on {speeds['device']}, as benchmarked on this machine"
