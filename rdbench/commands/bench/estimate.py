"""How long a sweep will take, from what ``rdbench bench`` measured on this machine."""

import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rdbench import datasets
from rdbench.datasets import DatasetOptions
from rdbench.errors import DatasetError
from rdbench.spec.grid import values_of
from rdbench.spec.plan import Plan, Trial, packable, speed_key, trained
from rdbench.storage import paths
from rdbench.storage.cache import _read, remembered
from rdbench.storage.paths import DataRoot
from rdbench.text import duration, shown


def images(options: DatasetOptions, data_root: Path | DataRoot | None = None) -> tuple[int, ...] | None:
    """Return how many images there will be of each split, training first; None: only the data tell.

    With a ``data_root`` they are those of what was prepared, else those that are published.
    """
    if data_root is not None:
        with suppress(DatasetError):
            if data := datasets.known(options, data_root):
                return tuple(len(getattr(data, split).images) for split in data.splits)
    return datasets.sizes(options)


def _file() -> Path:
    return paths.cache_root() / "bench.json"


def remember(trial: Trial, device: str, training: float, evaluation: float) -> None:
    """Keep what a benchmark measured of a trial: images a second of the whole machine, at its best pack."""
    with remembered(_file()) as known:
        figures = {"device": device, "training": training, "evaluation": evaluation}
        known[speed_key(trial, host=platform.node())] = figures


def _hint(whole: Plan, trial: Trial, spec: str, overrides: Sequence[str]) -> str:
    """Return the benchmark to run before the time of a trial is known."""
    changes = list(overrides)
    if grid := whole.sweep.grid:
        chosen = values_of(list(grid), (trial.train, trial.model)).items()
        changes += ["grid={}", *(f"{key}={shown(value)}" for key, value in chosen)]
    command = shlex.join(["rdbench", "bench", spec, *(f"--set={text}" for text in changes)])
    return f'how long? run "{command}" once on this machine, and the next dry run tells'


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
    counts = images(todo[0].dataset, data_root)
    benchmarks = _read(_file())
    total, device = 0.0, ""
    # Trials that differ in variant, beta and seed alone take the same time; those of a grid do not.
    alike = Counter((trial.train, trial.model) for trial in todo)
    for combination, trials in alike.items():
        trial = next(trial for trial in todo if (trial.train, trial.model) == combination)
        speeds = benchmarks.get(speed_key(trial, host=platform.node()))
        if speeds is None:
            if not packable(todo) or spec == "-":
                return None  # which no benchmark would be of, or none could read again
            return _hint(whole, trial, spec, overrides)
        if counts is None:
            return None
        device = speeds["device"]
        training, evaluation = trial.train.epochs * counts[0], sum(counts)
        total += trials * (training / speeds["training"] + evaluation / speeds["evaluation"])
    about = "about"
    if whole.at_most is not None:
        total, about = total / len(todo) * whole.at_most, "at most about"
    return f"{about} {duration(total)} on {device}, as benchmarked on this machine"
