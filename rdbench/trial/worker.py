"""What a worker does with a pack of trials: load the data, run it, commit every trial. Knows no scheduler."""

import datetime
import functools
import math
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rdbench import metrics
from rdbench.datasets import Dataset, load
from rdbench.errors import (
    CaptureFailed,
    DatasetError,
    StorageError,
    UserError,
    of_the_machine,
    out_of_memory,
)
from rdbench.registry import running, variants
from rdbench.results.lease import stop_requested
from rdbench.results.model_states import state
from rdbench.results.readings import likelihood_rows
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial
from rdbench.storage import paths, places
from rdbench.trial.early_stopping import EarlyStopper
from rdbench.trial.job import Hung, Job, Retry, Summary, kept
from rdbench.trial.rows import Tables, failure_tables, placed, stopped_tables
from rdbench.trial.run import Hooks, metric_rows, run_pack
from rdbench.trial.watchdog import Overdue, run_within
from rdbench.vae import checkpoints, metric_states
from rdbench.vae.checkpoints import Checkpointer, Keeping, Stopped
from rdbench.vae.models import Model, from_bytes, to_bytes
from rdbench.vae.training import Epoch

STOP_LOOK_SECONDS = 2.0  # between two looks at the lease
STOP_LOOK_SECONDS_REMOTE = 10.0  # in a bucket, where every look is a request
OnEpoch = Callable[[Trial, Epoch], None]
_STOPPED: Summary = {"status": "stopped", "error": None, "seconds": None}


def no_callback(trial: Trial, epoch: Epoch) -> None:
    """Do nothing as an epoch ends."""


class _StopRequest:
    """Whether the user asked to stop: looked up every few seconds, as the lease may lie across a network.

    Also detects a deleted results folder, before a checkpoint would make it anew.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._every = STOP_LOOK_SECONDS if isinstance(job.results, Path) else STOP_LOOK_SECONDS_REMOTE
        self._looked = -math.inf
        self._requested = False

    def __call__(self) -> bool:
        if time.monotonic() - self._looked > self._every:
            self._looked = time.monotonic()
            _check_folder(self._job)
            self._requested = stop_requested(self._job.results)
        return self._requested


def summary(tables: Tables) -> Summary:
    """Return the figures of an ended trial that the console shows."""
    row = tables["trials"][0]
    # Not "stopped", which is what the user does: this one has ended.
    status = "stopped early" if row["status"] == "stopped" else row["status"]
    figures = {"status": status, "error": row["error"], "seconds": row.get("seconds")}
    # Under the one reading that is a likelihood of any model, so that lines compare.
    test = [point for point in likelihood_rows(tables.get("points", [])) if point["split"] == "test"]
    for point in test[:1]:
        figures |= {name: point[name] for name in ("elbo", "rate", "reading", "mse", "psnr_of_mse")}
        pixels = point["psnr_of_mse"] is not None
        figures["state"] = state(point["rate"], point["mse"], row.get("mean_image_mse"), pixels=pixels)
    return figures


# A dataset is loaded once for all trials of a reused worker; nothing writes to its arrays.
_load = functools.lru_cache(maxsize=1)(load)


def _keep(job: Job, trial: Trial, model: Model) -> None:
    _check_folder(job)
    places.write_atomically(ResultsFolder(job.results).weights_file(trial.id), to_bytes(model))


def _measure_on_stored_weights(
    trial: Trial, job: Job, device: str, stop: Callable[[], bool]
) -> Summary | None:
    """Measure the metrics that a finished trial has not got, on its stored weights; return its summary.

    It raises Stopped where the user asked to stop, and the state of a metric is kept. None where the trial
    has to be trained: it is not done, its weights were not kept or cannot be read, or it lacks more than
    metrics.
    """
    file = ResultsFolder(job.results).weights_file(trial.id)
    if not file.exists():
        return None
    tables = ResultsFolder(job.results).trial_tables(trial.id)
    complete = {"points", "trials"} | ({"per_image"} if job.outputs.per_image else set())
    if not complete <= tables.keys() or tables["trials"][0]["status"] != "done":
        return None
    stored = tables.get("metrics", [])
    lacking = [
        options for options in job.outputs.metrics if not metrics.is_measured(options, stored, or_failed=True)
    ]
    data = _load(trial.dataset, paths.data_root(job.data_root))
    if tables["trials"][0]["dataset_checksum"] != data.checksum:
        return None
    torch_device = torch.device(device)
    try:
        model = from_bytes(trial, data.shape, len(data.train.images), file.read_bytes(), torch_device)
    except (ValueError, UserError):
        return None
    keeping = Keeping(job.results, data.checksum, job.resources.checkpoint_minutes, stop)
    known = replace(kept(job.results, tables["points"]), keeping=keeping)
    rows = metric_rows(model, trial, data, torch_device, lacking, known)
    ResultsFolder(job.results).add_metrics(trial.id, lacking, rows)
    metric_states.discard(job.results, [trial.id], lacking)
    return summary(tables)


def work(
    pack: Sequence[Trial],
    job: Job,
    device: str,
    on_progress: Callable[[float], None] = lambda share: None,
    on_epoch: OnEpoch = no_callback,
) -> list[Summary]:
    """Run trials that can train side by side, and commit each, whether it succeeds or fails.

    A trial that an earlier attempt left goes on from its last checkpoint. A pack that raises, most often for
    want of memory, is run again in halves, so that one trial's fault does not cost the others; so are trials
    that do not train side by side, until each is alone.
    ``on_progress`` is told what share of the training is done, from 0 to 1, as each epoch ends; ``on_epoch``
    each trial and its figures.

    Returns:
        A summary of each trial, in order. Where the user asked to stop its status is "stopped", nothing of it
        is committed, and what was trained is in its checkpoint.

    Raises:
        StorageError: the results cannot be written now, whatever trial it is.
        Retry: a fault that may be this machine's.
        Hung: the pack took longer than it may. It is committed as failed, and this process must end.
    """
    running.ship(job.sources)
    _settle(job)
    stop = _StopRequest(job)
    if stop():
        return [_STOPPED for _ in pack]
    if ended := _ended_before(pack, job, device, stop):
        rest = [trial for trial in pack if trial.id not in ended]
        now = work(rest, job, device, on_progress, on_epoch) if rest else []
        ended |= {trial.id: figures for trial, figures in zip(rest, now, strict=True)}
        return [ended[trial.id] for trial in pack]
    attempts = _Attempts(pack, job, device, on_progress, stop, on_epoch)
    try:
        results = attempts.run() if len(pack) == 1 or _side_by_side(device) else None
    except Stopped:
        return [_STOPPED for _ in pack]
    if results is None:
        half = len(pack) // 2
        first = work(pack[:half], job, device, lambda done: on_progress(done / 2), on_epoch)
        return first + work(pack[half:], job, device, lambda done: on_progress((1 + done) / 2), on_epoch)
    _check_folder(job)
    folder = ResultsFolder(job.results)
    # All other tables first, so that a kill between two commits loses no trained trial.
    for trial, tables in zip(pack, results, strict=True):
        folder.write(trial.id, {name: rows for name, rows in tables.items() if name != "trials"})
    for trial, tables in zip(pack, results, strict=True):
        commit(job, trial, {"trials": tables["trials"]})
    if attempts.trained:
        checkpoints.discard(job.results, [trial.id for trial in pack])
        metric_states.discard(job.results, [trial.id for trial in pack], job.outputs.metrics)
    return [summary(tables) for tables in results]


@dataclass(frozen=True)
class _Fault:
    """What an attempt raised."""

    traceback: str
    line: str
    of_the_machine: bool
    for_want_of_memory: bool
    counts: bool  # among the attempts; not where the next does without what failed


@dataclass
class _Attempts:
    """Trains and measures one pack, as often as it takes to know whose fault it is that it raises."""

    pack: Sequence[Trial]
    job: Job
    device: str
    on_progress: Callable[[float], None]
    stop: "_StopRequest"
    on_epoch: OnEpoch = no_callback
    trained: bool = False  # to its end: what is kept is of no use once the trials are committed

    def __post_init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC)
        # Finished trials that are trained again for a metric are not stopped early.
        done = self.job.stop and any(ResultsFolder(self.job.results).is_done(trial.id) for trial in self.pack)
        self.stopping = None if done else self.job.stop

    def run(self) -> list[Tables] | None:
        """Return the tables of each trial; None for a pack that is to be run again in halves.

        An exception that comes twice in a row is the trial's own, and recorded; but the checkpoint may be the
        cause, so the trial begins once more without it.
        Raises what :func:`work` does, and Stopped where the user asked to stop.
        """
        known, begun_anew = "", False
        while True:
            fault = self._attempt()
            if not isinstance(fault, _Fault):
                return fault
            if self.device == "cuda":
                with suppress(RuntimeError):  # a process that has lost its GPU by this fault
                    torch.cuda.empty_cache()  # here, where the traceback no longer holds the pack's tensors
            if len(self.pack) > 1 and (fault.for_want_of_memory or not fault.of_the_machine):
                return None
            if fault.of_the_machine or (known and fault.line != known):
                raise Retry(fault.traceback, fault.counts)
            if not known:
                known = fault.line
            elif not begun_anew and checkpoints.discard(self.job.results, [trial.id for trial in self.pack]):
                known, begun_anew = "", True
            else:
                return self._failed(fault.traceback)

    def _failed(self, text: str) -> list[Tables]:
        return [failure_tables(trial, placed(text, trial), self.started) for trial in self.pack]

    def _attempt(self) -> list[Tables] | _Fault:
        stopper = EarlyStopper(self.stopping, self.job.results, self.pack, self.job.peers)
        minutes = self.job.resources.trial_timeout
        try:
            data = _data(self.pack[0], self.job)  # here: preparing it takes what time it takes
            results = run_within(minutes and 60 * minutes, functools.partial(self._train, data, stopper))
            self.trained = True
        except Stopped:
            if not all(stopper.reasons):
                raise
            # The checkpoint stays: asked for without the rule that stopped it, a trial goes on from there.
            results = [{} for _ in self.pack]
        except StorageError:
            raise
        except Overdue as overdue:
            where = "".join(traceback.format_list(overdue.stack))
            text = f"{where}trial_timeout: {overdue}"
            for trial, tables in zip(self.pack, self._failed(text), strict=True):
                commit(self.job, trial, tables)
            raise Hung(text) from None
        except (Exception, SystemExit) as error:
            line, counts = f"{type(error).__name__}: {error}", not isinstance(error, CaptureFailed)
            return _Fault(traceback.format_exc(), line, of_the_machine(error), out_of_memory(error), counts)
        # A trial that went on for the others' sake alone ends as it would have alone: without points.
        return [
            stopped_tables(trial, *stopped, self.started) if (stopped := stopper.stopped(member)) else tables
            for member, (trial, tables) in enumerate(zip(self.pack, results, strict=True))
        ]

    def _train(self, data: Dataset, stopper: EarlyStopper) -> list[Tables]:
        """Train and evaluate the pack, from its checkpoint where there is one."""
        pack, job, device = self.pack, self.job, torch.device(self.device)
        _settle(job)
        for trial in pack:  # imported here, before the arithmetic of the trial is set
            variants.get(trial.variant)
        minutes, stop = job.resources.checkpoint_minutes, lambda: stopper.stops() or self.stop()
        checkpointer = Checkpointer(Keeping(job.results, data.checksum, minutes, stop), pack, device)
        checkpointer.keep_last = any(metrics.of(options).takes_long for options in job.outputs.metrics)
        stopper.history = checkpointer.history
        if stopper.stops():  # killed between the checkpoint of its last epoch and its commit
            raise Stopped

        def epoch_ended(member: int, epoch: Epoch) -> None:
            self.on_progress(epoch.epoch / pack[member].train.epochs)
            self.on_epoch(pack[member], epoch)

        hooks = Hooks(epoch_ended)
        if job.outputs.weights:
            hooks = replace(hooks, on_network=functools.partial(_keep, job))
        outputs = replace(job.outputs, classifier=ResultsFolder(job.results).classifier)
        return run_pack(pack, data, device, outputs, hooks, checkpointer=checkpointer)


def commit(job: Job, trial: Trial, tables: Tables) -> None:
    """Write a trial's tables into the results folder, marked as this run's, or raise StorageError."""
    _check_folder(job)
    row = dict(tables["trials"][0]) | {"run": job.run or None}
    ResultsFolder(job.results).commit(trial.id, tables | {"trials": [row]})


def _check_folder(job: Job) -> None:
    """Raise StorageError for a results folder that was deleted, before a write would make it anew."""
    if job.run and not (job.results / "sweep.yaml").is_file():
        raise StorageError(
            f"{job.results}: the results folder is gone; put it back and run the same command again"
        )


def _ended_before(
    pack: Sequence[Trial], job: Job, device: str, stop: Callable[[], bool]
) -> dict[str, Summary]:
    """Return the summaries of trials that need no training: they ended in this run already, whose worker was
    lost before it could say so, or only lack metrics that can be measured on their stored weights. Where the
    user asked to stop meanwhile, all others are among them, as stopped."""
    folder = ResultsFolder(job.results)
    committed = [trial.id for trial in pack if folder.committed_in(job.run, trial.id)]
    ended = {trial: summary(folder.trial_tables(trial)) for trial in committed}
    for trial in pack:
        if trial.id in ended:
            continue
        try:
            measured = _measure_on_stored_weights(trial, job, device, stop)
        except Stopped:
            return {one.id: _STOPPED for one in pack} | ended
        except StorageError:
            raise
        except Exception:
            continue  # what stands in the way, such as data that are gone, stands in training's too
        if measured:
            ended[trial.id] = measured
    return ended


def _side_by_side(device: str) -> bool:
    """Tell whether trials train side by side; on a CPU they run alone: a trial has one thread there."""
    return device == "cuda"


def _settle(job: Job) -> None:
    """Set what an author's file may have set otherwise for the whole process, or this thread."""
    torch.set_num_threads(job.resources.cpus)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)


def _data(trial: Trial, job: Job) -> Dataset:
    """Return the trial's dataset, which must be the one the driver looked at; else DatasetError.

    In a sweep StorageError: there it is the node's fault, and every trial would meet it.
    """
    try:
        data = _load(trial.dataset, paths.data_root(job.data_root))
        if job.data_checksum and data.checksum != job.data_checksum:
            raise DatasetError(
                f"the files of dataset {data.name} are not those of the sweep (their checksum differs);"
                " give every node the same data"
            )
    except DatasetError as error:
        if job.run:
            raise StorageError(f"{platform.node()}: {error}") from None
        raise
    return data
