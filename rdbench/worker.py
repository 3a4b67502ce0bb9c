"""What a worker does with a pack of trials: load the data, run it, commit every trial. Knows no scheduler."""

import datetime
import functools
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rdbench import store, variants
from rdbench.datasets import Dataset, DatasetOptions, load
from rdbench.errors import UserError
from rdbench.metrics import MetricOptions, is_measured
from rdbench.models import Model, from_bytes, to_bytes
from rdbench.plan import Trial
from rdbench.training import Epoch
from rdbench.trial import failure_tables, metric_rows, run_pack

Summary = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs besides its trials' settings."""

    results: Path
    data_root: Path
    keep_per_image: bool
    threads: int
    metrics: tuple[MetricOptions, ...] = ()
    keep_weights: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    """Source files of the sweep's variants from elsewhere, by hash."""


def summary(tables: dict[str, list[dict[str, Any]]]) -> Summary:
    """Return the few figures of an ended trial that the console shows."""
    row = tables["trials"][0]
    figures = {"status": row["status"], "error": row["error"], "seconds": row.get("seconds")}
    test = [point for point in tables.get("points", []) if point["split"] == "test"]
    # The native reading; where there is none, the one that is a likelihood of any model.
    test.sort(key=lambda point: (not point["native"], point["reading"] != "optimal_shared"))
    for point in test[:1]:
        figures |= {name: point[name] for name in ("elbo", "rate", "reading", "mse")}
    return figures


@functools.lru_cache(maxsize=1)
def _load(options: DatasetOptions, data_root: Path) -> Dataset:
    """Load a dataset once for all trials of a reused worker; nothing writes to its arrays."""
    return load(options, data_root)


def _forget(trial: Trial, model: Model) -> None:
    pass


def _keep(results: Path, trial: Trial, model: Model) -> None:
    store.write_atomically(store.weights_file(results, trial.id), to_bytes(model))


def measure_again(trial: Trial, job: Job, device: str) -> Summary | None:
    """Measure, on the stored weights of a finished trial, the metrics it has not got.

    Returns:
        A summary; None where the trial has to be trained: it is not done, its weights were not kept or
        cannot be read, or it lacks more than metrics.
    """
    file = store.weights_file(job.results, trial.id)
    if not file.exists():
        return None
    tables = store.trial_tables(job.results, trial.id)
    complete = {"points", "trials"} | ({"per_image"} if job.keep_per_image else set())
    if not complete <= tables.keys() or tables["trials"][0]["status"] != "done":
        return None
    lacking = [asked for asked in job.metrics if not is_measured(asked, tables.get("metrics", []))]
    data = _load(trial.dataset, job.data_root)
    if tables["trials"][0]["dataset_checksum"] != data.checksum:
        return None
    where = torch.device(device)
    try:
        model = from_bytes(trial, data.shape, len(data.train.images), file.read_bytes(), where)
    except (ValueError, UserError):
        return None
    rows = metric_rows(model, trial, data, where, lacking)
    store.add_metrics(job.results, trial.id, lacking, rows)
    return summary(tables)


def _placed(error: str, trial: Trial) -> str:
    """Return a traceback whose last line, which users see first, says where in their own file it began."""
    place, _, symbol = trial.variant.source.rpartition(":")
    lines = re.findall(rf'File "{re.escape(place)}", line (\d+)', error) if place.endswith(".py") else []
    if not lines and not place.endswith(".py"):
        return error
    file = Path(place).name
    where = f"{file}:{lines[-1]}: " if lines else f"{file}: "
    return f"{error.rstrip()}\n{where}{error.strip().splitlines()[-1]}; try 'rdbench check {file}:{symbol}'\n"


def work(
    pack: Sequence[Trial], job: Job, device: str, on_progress: Callable[[float], None] = lambda share: None
) -> list[Summary]:
    """Run a pack and commit each of its trials, whether it succeeds or raises.

    A pack that raises, most often for want of memory, is run again in halves: what one trial cannot do,
    or there is no room for, must not cost the others.

    Args:
        pack: trials that can train side by side.
        job: what all packs share.
        device: "cpu" or "cuda".
        on_progress: told what share of the training is done, from 0 to 1, as each epoch ends.

    Returns:
        A summary of each trial, in order.
    """
    # What an author's file sets for the whole process must not reach the next trial.
    torch.set_num_threads(job.threads)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    variants.ship(job.sources)
    try:
        again = {trial.id: found for trial in pack if (found := measure_again(trial, job, device))}
    except Exception:
        again = {}  # what stands in the way, such as data that are gone, stands in training's way too
    if again:
        rest = [trial for trial in pack if trial.id not in again]
        ended = work(rest, job, device, on_progress) if rest else []
        again |= {trial.id: figures for trial, figures in zip(rest, ended, strict=True)}
        return [again[trial.id] for trial in pack]
    started = datetime.datetime.now(datetime.UTC)

    def beat(member: int, epoch: Epoch) -> None:
        on_progress(epoch.epoch / pack[member].train.epochs)

    try:
        for trial in pack:  # imported here, before the arithmetic of the trial is set
            variants.get(trial.variant)
        data = _load(pack[0].dataset, job.data_root)
        results = run_pack(
            pack,
            data,
            torch.device(device),
            beat,
            keep_per_image=job.keep_per_image,
            asked=job.metrics,
            on_network=functools.partial(_keep, job.results) if job.keep_weights else _forget,
        )
    except (Exception, SystemExit):
        error = traceback.format_exc()
        if len(pack) == 1:
            results = [failure_tables(pack[0], _placed(error, pack[0]), started)]
    else:
        error = ""
    if error and device == "cuda":
        torch.cuda.empty_cache()  # here, where the traceback no longer holds the pack's tensors
    if error and len(pack) > 1:
        half = len(pack) // 2
        return [
            figures for part in (pack[:half], pack[half:]) for figures in work(part, job, device, on_progress)
        ]
    for trial, tables in zip(pack, results, strict=True):
        store.commit(job.results, trial.id, tables)
    return [summary(tables) for tables in results]
