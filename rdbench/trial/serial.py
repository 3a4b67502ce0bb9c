"""Run the trials of a sweep one after another in this process: for notebooks, tests and debuggers."""

import datetime
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rdbench.errors import StorageError
from rdbench.numerics.precision import check_precision
from rdbench.results.lease import Lease
from rdbench.spec.plan import Trial
from rdbench.trial.job import Job, Retry, Summary
from rdbench.trial.progress import SweepProgress, result_detail
from rdbench.trial.rows import failure_tables
from rdbench.trial.scheduler import ATTEMPTS, Batches, Usage
from rdbench.trial.signals import Requests, counted
from rdbench.trial.worker import commit, summary, work


@dataclass(frozen=True)
class SerialScheduler:
    """A :class:`rdbench.trial.scheduler.Scheduler` without workers: nothing outlives this process.

    A trial over its ``trial_timeout`` is committed as failed, and then :class:`rdbench.trial.job.Hung` ends
    the run: its thread cannot be ended.
    """

    device: str = "cpu"

    def run(
        self,
        trials: Sequence[Trial],
        job: Job,
        progress: SweepProgress,
        lease: Lease | None = None,
        more: Batches | None = None,
    ) -> Usage:
        """Run trials until each is committed, has failed, or the user interrupts."""
        check_precision(trials[0].train.precision, self.device)
        with counted(at_once=True) as requests, suppress(KeyboardInterrupt):
            batch = list(trials)
            while batch:
                peers = more.peers() if more else job.peers
                for trial in batch:
                    if lease and lease.lost:
                        raise StorageError(lease.lost)
                    if requests.count:
                        break
                    self._run_one(trial, replace(job, peers=peers), progress, lease, requests)
                batch = more.next() if more and not requests.count else []
        return Usage(stopped=requests.count > 0)

    def _run_one(
        self, trial: Trial, job: Job, progress: SweepProgress, lease: Lease | None, requests: Requests
    ) -> None:
        def on_progress(share: float) -> None:
            progress.running(trial, share)
            if requests.count and lease:
                lease.request_stop()

        progress.running(trial, 0.0)
        figures = self._work(trial, job, on_progress)
        if figures["status"] == "stopped":
            progress.stopped(trial)
        else:
            progress.ended(trial, figures["status"], result_detail(figures))

    def _work(self, trial: Trial, job: Job, on_progress: Callable[[float], None]) -> Summary:
        """Run one trial; one that meets a fault of the machine again and again is committed as failed."""
        started = datetime.datetime.now(datetime.UTC)
        fault = ""
        for _ in range(ATTEMPTS):
            try:
                return work([trial], job, self.device, on_progress)[0]
            except Retry as error:
                fault = str(error)
        tables = failure_tables(trial, fault, started)
        commit(job, trial, tables)
        return summary(tables)
