"""Schedule trials with Ray Tune. The only module that imports ray.

Workers commit finished trials to the results folder themselves; Tune's own experiment files are kept in
a temporary folder and thrown away, because what is left to do is always the plan less the finished rows.
"""

import datetime
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from ray import tune
from ray._private import worker as ray_worker

from rdbench import packing, store
from rdbench.plan import Trial, packable
from rdbench.precision import check_precision
from rdbench.progress import SweepProgress, result_detail
from rdbench.spec import Resources
from rdbench.trial import failure_tables
from rdbench.worker import Job, Summary, summary, work

HEARTBEAT_SECONDS = 2.0
WORKER_RETRIES = 2


Work = Callable[[Sequence[Trial], Job, str, Callable[[float], None]], list[Summary]]


@dataclass(frozen=True)
class Usage:
    """What a run made of its workers.

    Attributes:
        starting: seconds from before Ray's start until the first pack began.
        working: seconds from there until the last pack ended.
        busy: seconds that workers spent on packs, summed over workers.
        slots: packs that can run at a time.
    """

    starting: float
    working: float
    busy: float
    slots: int

    @property
    def share(self) -> float:
        """Busy time over the time that all slots together had."""
        return self.busy / (self.working * self.slots) if self.working else 0.0


def _work(config: dict[str, list[str]], job: Job, device: str, function: Work) -> None:
    """Run one pack in a worker."""
    started = last_beat = time.monotonic()

    def heartbeat(share: float) -> None:
        nonlocal last_beat
        if time.monotonic() - last_beat > HEARTBEAT_SECONDS:
            last_beat = time.monotonic()
            tune.report({"share": share})

    ended = function([Trial.from_json(text) for text in config["pack"]], job, device, heartbeat)
    tune.report({"ended": ended, "busy": time.monotonic() - started})


class _Narrator(tune.Callback):  # type: ignore[misc]
    """Passes Tune's events on to the progress display, and adds up what the workers did."""

    def __init__(self, progress: SweepProgress) -> None:
        self._progress = progress
        self.busy = 0.0
        self.began: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune snapshots its callbacks; nobody resumes from that, and a console cannot be pickled

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        pack = _pack(trial.config)
        if "ended" in result:
            self.busy += result["busy"]
            for ours, figures in zip(pack, result["ended"], strict=True):
                self._progress.ended(ours, figures["status"], result_detail(figures))
            return
        for ours in pack:
            self._progress.running(ours, result["share"])

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.began is None:
            self.began = time.monotonic()
        for ours in _pack(trial.config):
            self._progress.running(ours, 0.0)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        for ours in _pack(trial.config):
            self._progress.lost(ours)


def _pack(config: dict[str, list[str]]) -> list[Trial]:
    return [Trial.from_json(text) for text in config["pack"]]


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
    """Return the GPUs one pack gets.

    ``auto`` gives a whole GPU to a pack. Where packs are switched off it divides the cluster's GPUs among
    as many trials as its CPUs can run: one of these models leaves a GPU nearly idle.
    """
    if resources.gpus != "auto":
        return float(resources.gpus)
    gpus = cluster.get("GPU", 0.0)
    if gpus == 0 or resources.pack != 1:
        return min(1.0, gpus)
    slots = max(1, int(cluster.get("CPU", 1) // resources.cpus))
    return min(1.0, math.floor(gpus / slots * 10_000) / 10_000)


def slots(resources: Resources, share: float, cluster: dict[str, float], concurrency: int | None) -> int:
    """Return how many packs can run at a time."""
    limits = [int(cluster.get("CPU", 1) // resources.cpus)]
    limits += [int(cluster.get("GPU", 0) / share + 1e-6)] if share else []
    limits += [concurrency] if concurrency else []
    return max(1, min(limits))


def packs(trials: Sequence[Trial], size: int, slots: int) -> list[list[Trial]]:
    """Cut trials, in order, into packs of at most ``size``, and no larger than keeps every slot at work.

    Variants that are not objectives train alone, after the others.

    Raises:
        ValueError: the trials cannot train side by side.
    """
    if size > 1 and len({trial.pack_key for trial in trials}) > 1:
        raise ValueError("trials that differ in more than variant, beta and seed cannot be packed")
    if size == 1:
        return [[trial] for trial in trials]
    together = packable(trials)
    size = max(1, min(size, math.ceil(len(together) / slots)))
    packed = [together[start : start + size] for start in range(0, len(together), size)]
    alone = {trial.variant for trial in trials} - {trial.variant for trial in together}
    return packed + [[trial] for trial in trials if trial.variant in alone]


def _pack_size(resources: Resources, share: float, trials: Sequence[Trial]) -> int:
    if resources.pack != "auto":
        return resources.pack
    together = packable(trials)
    if not share or not together:
        return 1
    # On a worker: the driver's machine need not have the GPU.
    choose = ray.remote(num_cpus=resources.cpus, num_gpus=share)(packing.choose)
    return int(ray.get(choose.remote(together[0], "cuda")))


def run(
    trials: Sequence[Trial],
    job: Job,
    resources: Resources,
    progress: SweepProgress,
    *,
    address: str = "local",
    concurrency: int | None = None,
    function: Work = work,
) -> Usage:
    """Run trials on Ray until each is committed, has failed, or the user interrupts.

    Args:
        trials: what to run, in this order; they differ in variant, beta and seed only.
        job: what all of them share.
        resources: of each pack.
        progress: is told of every event.
        address: "local" starts Ray here; else the address of a running cluster.
        concurrency: packs at a time; by default as many as the CPUs and GPUs allow.
        function: what a worker does with a pack.

    Raises:
        SpecError: the trials' precision is not to be had here.
    """
    started, start = datetime.datetime.now(datetime.UTC), time.monotonic()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpus = max(cores, resources.cpus * (concurrency or 1))
    narrator = _Narrator(progress)
    with _cluster(address, cpus), tempfile.TemporaryDirectory(prefix="rdbench-tune-") as scratch:
        cluster = ray.cluster_resources()
        share = gpu_share(resources, cluster)
        check_precision(trials[0].train.precision, "cuda" if share else "cpu")
        at_a_time = slots(resources, share, cluster, concurrency)
        jobs = packs(trials, _pack_size(resources, share, trials), at_a_time)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_work, job=job, device="cuda" if share else "cpu", function=function),
                {"cpu": resources.cpus, "gpu": share},
            ),
            param_space={"pack": tune.grid_search([[trial.to_json() for trial in pack] for pack in jobs])},
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
                callbacks=[narrator],
                failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            ),
        )
        outcome = tuner.fit()
        ended = time.monotonic()
        for result in outcome:
            # Exceptions of the trial itself were committed by its worker; what is left is a lost worker.
            if result.error is None or result.config is None:
                continue
            error = f"the worker died {WORKER_RETRIES + 1} times: {type(result.error).__name__}"
            for trial in _pack(result.config):
                tables = failure_tables(trial, error, started)
                store.commit(job.results, trial.id, tables)
                progress.ended(trial, "failed", result_detail(summary(tables)))
    began = narrator.began or start
    return Usage(began - start, ended - began, narrator.busy, at_a_time)
