"""Run the trials of a sweep one after another in this process: for notebooks, tests and debuggers.

    root = Path("results/quickstart")
    plan = open_plan(root, load_sweep("quickstart"))
    run_sweep(plan, root, rich.console.Console(), scheduler=SerialScheduler())

with ``open_plan`` of :mod:`rdbench.commands.plan` and ``run_sweep`` of :mod:`rdbench.commands.sweep`.
"""

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch

from rdbench.errors import GpuLostError, StorageError
from rdbench.metrics.failures import last_line
from rdbench.numerics.precision import check_precision
from rdbench.results.lease import Lease
from rdbench.search.running import SearchRun
from rdbench.spec.plan import Trial
from rdbench.trial.job import Job, Retry, Summary
from rdbench.trial.progress import SweepProgress, result_detail
from rdbench.trial.rows import failure_tables
from rdbench.trial.scheduler import ATTEMPTS, Usage
from rdbench.trial.signals import counted
from rdbench.trial.worker import OnEpoch, commit, no_callback, summary, work
from rdbench.vae.training import Epoch


@dataclass
class _Callback:
    """A caller's function of each epoch; what it raises is kept, and asks the trial to stop."""

    function: OnEpoch
    lease: Lease | None
    raised: Exception | None = None

    def __call__(self, trial: Trial, epoch: Epoch) -> None:
        """Call the function, unless it has raised."""
        if self.raised is None:
            try:
                self.function(trial, epoch)
            except Exception as error:
                self.raised = error
                if self.lease:
                    self.lease.request_stop()

    def check(self) -> None:
        """Raise what the function raised."""
        if self.raised is not None:
            raise self.raised


@dataclass(frozen=True)
class SerialScheduler:
    """A :class:`rdbench.trial.scheduler.Scheduler` without workers: nothing outlives this process.

    A trial over its ``trial_timeout`` is committed as failed, and then :class:`rdbench.trial.job.Hung` ends
    the run: its thread cannot be ended.

    Attributes:
        device: "cpu" or "cuda".
        on_epoch: called with trial and figures as each epoch ends. Where it raises, the trial is asked to
            stop, which writes a checkpoint, and the exception ends the run: it is no fault of the trial.
    """

    device: str = "cpu"
    on_epoch: OnEpoch = no_callback

    def run(
        self,
        trials: Sequence[Trial],
        job: Job,
        progress: SweepProgress,
        lease: Lease | None = None,
        more: SearchRun | None = None,
    ) -> Usage:
        """Run trials until each is committed, has failed, or the user interrupts."""
        check_precision(trials[0].train.precision, self.device)
        with counted(at_once=True) as requests, suppress(KeyboardInterrupt):

            def on_progress(trial: Trial, share: float) -> None:
                progress.running(trial, share)
                if requests.count and lease:
                    lease.request_stop()

            callback = _Callback(self.on_epoch, lease)
            batch = list(trials)
            while batch:
                job = replace(job, peers=more.peers()) if more else job
                for trial in batch:
                    if lease and lease.lost:
                        raise StorageError(lease.lost)
                    if requests.count:
                        break
                    on_progress(trial, 0.0)
                    figures = self._run_one(trial, job, partial(on_progress, trial), callback)
                    if figures["status"] == "stopped":
                        progress.stopped(trial)
                    else:
                        progress.ended(trial, figures["status"], result_detail(figures))
                    callback.check()
                batch = more.next() if more and not requests.count else []
        return Usage(stopped=requests.count > 0)

    def _run_one(
        self, trial: Trial, job: Job, on_progress: Callable[[float], None], on_epoch: OnEpoch
    ) -> Summary:
        """Run a trial; one that meets a fault of the machine again and again is committed as failed."""
        started = datetime.datetime.now(datetime.UTC)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work([trial], job, self.device, on_progress, on_epoch)[0]
            except Retry as error:
                self._check_gpu(str(error))
                if attempt == ATTEMPTS:
                    tables = failure_tables(trial, str(error), started)
        commit(job, trial, tables)
        return summary(tables)

    def _check_gpu(self, fault: str) -> None:
        """Raise GpuLostError where a fault, by its traceback, has cost this process its GPU."""
        if self.device != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            raise GpuLostError(
                f"this process has lost its GPU ({why}) after: {last_line(fault)}; start it anew"
                " (in a notebook restart the kernel) and run the same command again"
            ) from None
