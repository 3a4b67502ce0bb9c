"""Start a driver, tell the console what it reports, and start another when it dies."""

import datetime
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rdbench.errors import ClusterError, RayDiedError, StorageError
from rdbench.numerics.precision import check_precision
from rdbench.results.lease import Lease
from rdbench.results.store import ResultsFolder
from rdbench.search.running import SearchRun
from rdbench.spec.plan import Trial
from rdbench.trial.job import Job, Summary
from rdbench.trial.progress import SweepProgress, result_detail
from rdbench.trial.rows import failure_tables
from rdbench.trial.scheduler import Usage
from rdbench.trial.signals import StopRequests, counted
from rdbench.trial.worker import commit, summary, work
from rdbench.tune.session import Event, Request, Session, SessionDiedError
from rdbench.vae import checkpoints

DRIVER_RESTARTS = 3  # in a row without a trial that ended
START_SECONDS = 600.0  # on a machine that is very busy Ray takes minutes
PATIENCE_SECONDS = 30.0

_ERRORS = {"fatal": StorageError, "refused": ClusterError, "broken": SessionDiedError}  # by kind of event

Work = Callable[[Sequence[Trial], Job, str, Callable[[float], None]], list[Summary]]


@dataclass(frozen=True)
class RayScheduler:
    """Runs trials on Ray: a :class:`rdbench.trial.scheduler.Scheduler`.

    Attributes:
        address: "local" starts Ray here; else the address of a running cluster.
        concurrency: packs at a time; None for as many as the CPUs and GPUs allow.
        function: what a worker does with a pack: one that can be imported there.
    """

    address: str = "local"
    concurrency: int | None = None
    function: Work = work

    def run(
        self,
        trials: Sequence[Trial],
        job: Job,
        progress: SweepProgress,
        lease: Lease | None = None,
        more: SearchRun | None = None,
    ) -> Usage:
        """Run trials, see :class:`rdbench.trial.scheduler.Scheduler`.

        Raises:
            ClusterError: the cluster cannot be joined, has no room for a pack, or dies again and again.
        """
        progress.say("starting Ray")
        with counted() as requests:
            return _Supervisor(self, list(trials), job, progress, lease, more, requests).run()


@dataclass
class _Supervisor:
    """The state of one run, over as many drivers as it takes."""

    _scheduler: RayScheduler
    _todo: list[Trial]
    _job: Job
    _progress: SweepProgress
    _lease: Lease | None
    _more: SearchRun | None
    _requests: StopRequests

    def __post_init__(self) -> None:
        self._peers: tuple[str, ...] = self._more.peers() if self._more else ()
        self._shipment = pickle.dumps((self._scheduler.function, self._job))
        self._reported: set[str] = set()
        self._running: set[tuple[int, ...]] = set()
        self._awaited: set[tuple[int, ...]] | None = None  # what ran when the user asked to stop
        self._since = datetime.datetime.now(datetime.UTC)
        self._start = time.monotonic()
        self._began: float | None = None
        self._ended: float | None = None
        self._busy, self._slots, self._growth = 0.0, 1, 0

    def run(self) -> Usage:
        deaths = 0
        while True:
            before = len(self._reported)
            try:
                with Session(self._request()) as session:
                    self._follow(session)
                break
            except SessionDiedError as death:
                deaths = 1 if len(self._reported) > before else deaths + 1
                self._recover(str(death), deaths)
            if not self._todo and not self._next_batch():
                break
        began, ended = self._began or time.monotonic(), self._ended or time.monotonic()
        working = max(0.0, ended - began)
        stopped = self._awaited is not None
        return Usage(began - self._start, working, self._busy, self._slots, self._growth, stopped)

    def _request(self) -> Request:
        return Request(
            [trial.to_json() for trial in self._todo],
            checkpoints.interrupted(self._job.results),
            self._job.resources,
            self._scheduler.address,
            self._scheduler.concurrency,
            self._shipment,
            self._peers,
            self._more is not None,
        )

    def _recover(self, cause: str, deaths: int) -> None:
        """Get ready for another driver after one has died; raise ClusterError when too many have."""
        self._clear(*self._running)
        ended = ResultsFolder(self._job.results).ended_in(self._job.run)
        for trial in self._todo:
            if trial.id in ended:
                self._report_committed(trial)
        self._todo = [trial for trial in self._todo if trial.id not in self._reported]
        self._progress.nothing_runs()
        if deaths > DRIVER_RESTARTS:
            raise RayDiedError(
                f"Ray died or did not start {deaths} times ({cause}); run the same command again to go"
                " on, and 'rdbench doctor --ray' to see what keeps Ray from starting"
            )
        if self._todo and self._awaited is None:
            self._progress.say(
                f"Ray died ({cause}); starting it again: what ran goes on from its checkpoint"
                if self._began is not None
                else f"Ray has not started ({cause}); trying again"
            )

    def _next_batch(self) -> list[Trial]:
        """Return the trials that are to follow when all so far have ended; none where nothing does."""
        batch = self._more.next() if self._more and self._awaited is None else []
        if not batch:
            self._more = None
            return []
        self._todo += batch
        assert self._more is not None
        self._peers = self._more.peers()
        return batch

    def _follow(self, session: Session) -> None:
        """Listen to a driver until it is done, or shall be ended; raise SessionDiedError when it has died."""
        started, ready, waited = time.monotonic(), False, False
        while not self._shall_end(session):
            if self._more and all(trial.id in self._reported for trial in self._todo):
                batch = self._next_batch()
                session.add([trial.to_json() for trial in batch], self._peers)
            event = session.next(0.1)
            if event:
                ready = True
                if event["kind"] == "done":
                    self._growth = event["growth"]
                    return
                if event["kind"] in _ERRORS:
                    raise _ERRORS[event["kind"]](event["error"])
                getattr(self, f"_on_{event['kind'].replace(' ', '_')}")(event)
            silent = time.monotonic() - started
            if not ready and silent > START_SECONDS:
                raise SessionDiedError(f"it did not start within {START_SECONDS:.0f} s")
            idle = ready and not (self._running or self._reported)
            if self._scheduler.address != "local" and idle and not waited and silent > PATIENCE_SECONDS:
                waited = True
                self._progress.say("waiting for a worker: others may use the cluster's CPUs and GPUs")

    def _shall_end(self, session: Session) -> bool:
        """Whether to end what runs now; the first time the user asks to stop, tell the workers."""
        if self._lease and self._lease.lost:
            raise StorageError(self._lease.lost)
        if self._requests.count and self._awaited is None:
            self._awaited = set(self._running)
            if not self._running:
                self._progress.say("stopping: nothing runs")
            else:
                self._progress.say(
                    "stopping: what runs ends its epoch and writes a checkpoint (or ends, where its variant"
                    " keeps no state); Ctrl-C again to stop now"
                )
                if self._lease:
                    self._lease.request_stop()
                session.stop()
        return self._requests.count > 1 or self._awaited == set()

    def _clear(self, *packs: Sequence[int]) -> None:
        """Note that packs no longer run."""
        ended = {tuple(pack) for pack in packs}
        self._running -= ended
        if self._awaited:
            self._awaited -= ended

    def _on_ready(self, event: Event) -> None:
        check_precision(self._todo[0].train.precision, event["device"])
        self._slots = event["slots"]

    def _on_note(self, event: Event) -> None:
        self._progress.say(event["text"])

    def _on_began(self, event: Event) -> None:
        self._began = self._began or time.monotonic()
        self._running.add(tuple(event["pack"]))
        for trial in self._pack(event):
            self._progress.running(trial, 0.0)

    def _on_share(self, event: Event) -> None:
        for trial in self._pack(event):
            self._progress.running(trial, event["share"])

    def _on_ended(self, event: Event) -> None:
        self._clear(event["pack"])
        self._busy += event["busy"]
        self._ended = time.monotonic()
        for trial, figures in zip(self._pack(event), event["figures"], strict=True):
            self._report(trial, figures)

    def _on_hung(self, event: Event) -> None:
        for trial in self._pack(event):
            self._report_committed(trial)

    def _on_lost(self, event: Event) -> None:
        self._clear(event["pack"])
        self._progress.lost(self._pack(event), event["cause"])

    def _on_given_up(self, event: Event) -> None:
        self._clear(event["pack"])
        self._ended = time.monotonic()
        for trial in self._pack(event):
            if not self._report_committed(trial):
                tables = failure_tables(trial, event["error"], self._since)
                commit(self._job, trial, tables)
                self._report(trial, summary(tables))

    def _pack(self, event: Event) -> list[Trial]:
        return [self._todo[place] for place in event["pack"]]

    def _report(self, trial: Trial, figures: Summary) -> None:
        if trial.id in self._reported:
            return
        if figures["status"] == "stopped":
            self._progress.stopped(trial)
            return
        self._reported.add(trial.id)
        self._progress.ended(trial, figures["status"], result_detail(figures))

    def _report_committed(self, trial: Trial) -> bool:
        """Report a trial that was committed in this run, though its worker could not say so."""
        if not ResultsFolder(self._job.results).committed_in(self._job.run, trial.id):
            return False
        self._report(trial, summary(ResultsFolder(self._job.results).trial_tables(trial.id)))
        return True
