"""How the trials of a sweep are run: what every scheduler is given, and what it answers. No Ray, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rdbench.spec.plan import Trial

if TYPE_CHECKING:
    from rdbench.results.lease import Lease
    from rdbench.search.running import SearchRun
    from rdbench.trial.job import Job
    from rdbench.trial.progress import SweepProgress

ATTEMPTS = 3  # that a pack has where faults may be a machine's


@dataclass(frozen=True)
class RunOptions:
    """How a sweep is run; no result depends on it."""

    data: Path | None = None  # folder of the raw data; None for what each machine's own environment says
    limit: int | None = None  # train at most so many trials
    address: str = "local"  # of a Ray cluster; "local" starts one on this machine
    concurrency: int | None = None  # packs at a time; None for as many as the CPUs and GPUs allow
    allow_missing_metrics: bool = False
    """Leave a metric null, with the reason, where this machine cannot measure it; else that is an error
    before anything is trained."""


@dataclass(frozen=True)
class Usage:
    """What a run made of its workers; all zero without workers."""

    starting: float = 0.0  # seconds from before the scheduler's start until the first pack began
    working: float = 0.0  # seconds from there until the last pack ended
    busy: float = 0.0  # seconds that workers spent on packs, summed over workers
    slots: int = 1  # packs that can run at a time
    driver_growth: int = 0  # bytes that the driver's process grew by, from the first pack's end to the last's
    stopped: bool = False  # whether the user asked to stop

    @property
    def share(self) -> float:
        """Busy time over the time that all slots together had."""
        return self.busy / (self.working * self.slots) if self.working else 0.0


class Scheduler(Protocol):
    """Runs the trials of a sweep: :class:`rdbench.tune.supervisor.RayScheduler`, or
    :class:`rdbench.trial.serial.SerialScheduler` in this process."""

    def run(
        self,
        trials: Sequence[Trial],
        job: "Job",
        progress: "SweepProgress",
        lease: "Lease | None" = None,
        more: "SearchRun | None" = None,
    ) -> Usage:
        """Run trials until each is committed, has failed, or the user interrupts.

        Ctrl-C once, or another signal that asks to stop: what runs ends its epoch, writes a checkpoint, and
        the run ends; twice: it ends at once. Callers see by ``progress`` that not all has finished.

        They run in this order, and ``progress`` is told of every event. Without a ``lease`` on the results
        folder, what runs is not asked to stop but run to its end. ``more`` is asked for the next batch when
        all trials so far have ended; none ends the run.

        SpecError: the trials' precision is not to be had here. StorageError: the results cannot be read or
        written, or the lease was lost.
        """
