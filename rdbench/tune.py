"""Schedule trials with Ray Tune. The only module that imports ray.

Workers commit finished trials to the results folder themselves; Tune's own experiment files are kept in
a temporary folder and thrown away, because what is left to do is always the plan less the finished rows.
"""

import datetime
import functools
import logging
import math
import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray reads these when it is imported.
os.environ.update(
    {
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else "uv run" builds workers a second environment
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a trial without a GPU is told so by its job
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nobody resumes from Tune's own snapshots
    }
    | dict(os.environ)
)

import ray
import torch
from ray import tune
from ray._private import worker as ray_worker

from rdbench import store
from rdbench.datasets import Dataset, DatasetOptions, load
from rdbench.metrics import MetricOptions
from rdbench.plan import Trial
from rdbench.progress import SweepProgress, result_detail
from rdbench.spec import Resources
from rdbench.training import Epoch
from rdbench.trial import failure_tables, run_trial

HEARTBEAT_SECONDS = 2.0
WORKER_RETRIES = 2


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs besides its trial's settings."""

    results: Path
    data_root: Path
    keep_per_image: bool
    threads: int
    metrics: tuple[MetricOptions, ...] = ()


def _summary(tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the few figures of an ended trial that the console shows."""
    row = tables["trials"][0]
    summary = {"status": row["status"], "error": row["error"], "seconds": row.get("seconds")}
    for point in tables.get("points", []):
        if point["split"] == "test" and point["native"]:
            summary |= {name: point[name] for name in ("elbo", "rate", "reading")}
    return summary


@functools.lru_cache(maxsize=1)
def _load(options: DatasetOptions, data_root: Path) -> Dataset:
    """Load a dataset once for all trials of a reused worker; nothing writes to its arrays."""
    return load(options, data_root)


def _work(config: dict[str, str], job: Job, device: str) -> None:
    """Run one trial in a worker, and commit it whether it succeeds or raises."""
    torch.set_num_threads(job.threads)
    trial = Trial.from_json(config["trial"])
    started = datetime.datetime.now(datetime.UTC)
    last_beat = time.monotonic()

    def heartbeat(epoch: Epoch) -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat > HEARTBEAT_SECONDS:
            last_beat = time.monotonic()
            tune.report({"epoch": epoch.epoch})

    try:
        data = _load(trial.dataset, job.data_root)
        tables = run_trial(
            trial,
            data,
            torch.device(device),
            heartbeat,
            keep_per_image=job.keep_per_image,
            asked=job.metrics,
        )
    except Exception:
        tables = failure_tables(trial, traceback.format_exc(), started)
    store.commit(job.results, trial.id, tables)
    tune.report(_summary(tables))


class _Narrator(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to the progress display."""

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune snapshots its callbacks; nobody resumes from that, and a console cannot be pickled

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        ours = Trial.from_json(trial.config["trial"])
        if "status" in result:
            self._progress.ended(ours, result["status"], result_detail(result))
        else:
            self._progress.running(ours, result["epoch"] / ours.train.epochs)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._progress.running(Trial.from_json(trial.config["trial"]), 0.0)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._progress.lost(Trial.from_json(trial.config["trial"]))


@contextmanager
def _cluster(address: str, slots: int) -> Any:
    """Start Ray on this machine, or join the cluster at ``address``; leave or stop it at the end."""
    local = {"num_cpus": slots, "include_dashboard": False} if address == "local" else {}
    ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **local)
    # A worker's death is told in a line of ours; Ray and Tune would tell it in thirty more each.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    ray_worker.print_to_stdstream = lambda *arguments, **options: None
    try:
        yield
    finally:
        ray.shutdown()


def gpu_share(resources: Resources, cluster: dict[str, float]) -> float:
    """Return the GPUs one trial gets.

    ``auto`` divides the cluster's GPUs among as many trials as its CPUs can run: one of these models
    leaves a GPU nearly idle.
    """
    if resources.gpus != "auto":
        return float(resources.gpus)
    gpus = cluster.get("GPU", 0.0)
    slots = max(1, int(cluster.get("CPU", 1) // resources.cpus))
    return 0.0 if gpus == 0 else min(1.0, math.floor(gpus / slots * 10_000) / 10_000)


def run(
    trials: Sequence[Trial],
    job: Job,
    resources: Resources,
    progress: SweepProgress,
    *,
    address: str = "local",
    concurrency: int | None = None,
) -> None:
    """Run trials on Ray until each is committed, has failed, or the user interrupts.

    Args:
        trials: what to run, in this order.
        job: what all of them share.
        resources: of each trial.
        progress: is told of every event.
        address: "local" starts Ray here; else the address of a running cluster.
        concurrency: trials at a time; by default as many as the CPUs allow.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slots = max(cores, resources.cpus * (concurrency or 1))
    with _cluster(address, slots), tempfile.TemporaryDirectory(prefix="rdbench-tune-") as scratch:
        share = gpu_share(resources, ray.cluster_resources())
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_work, job=job, device="cuda" if share else "cpu"),
                {"cpu": resources.cpus, "gpu": share},
            ),
            param_space={"trial": tune.grid_search([trial.to_json() for trial in trials])},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                max_concurrent_trials=concurrency,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[_Narrator(progress)],
                failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            ),
        )
        started = datetime.datetime.now(datetime.UTC)
        for result in tuner.fit():
            # Exceptions of the trial itself were committed by its worker; what is left is a lost worker.
            if result.error is not None and result.config is not None:
                trial = Trial.from_json(result.config["trial"])
                error = f"the worker died {WORKER_RETRIES + 1} times: {type(result.error).__name__}"
                tables = failure_tables(trial, error, started)
                store.commit(job.results, trial.id, tables)
                progress.ended(trial, "failed", result_detail(_summary(tables)))
