"""What Ray itself costs: trials that return at once, run through the same scheduling as a sweep's."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Resources
from rdbench.storage.scratch import Scratch
from rdbench.trial.job import Job, Summary
from rdbench.trial.progress import SweepProgress
from rdbench.tune.supervisor import RayScheduler


@dataclass(frozen=True)
class Overhead:
    """What a number of trials cost besides their training.

    Attributes:
        trials: how many there were.
        seconds: in all, Ray's start and end included.
        starting: of these, until the first trial began.
        memory_growth_bytes: of the driver's process, from the end of the first trial to that of the last.
    """

    trials: int
    seconds: float
    starting: float
    memory_growth_bytes: int

    def __str__(self) -> str:
        each = (self.seconds - self.starting) / self.trials
        return (
            f"{self.trials:,} trials that return at once: {self.seconds:.1f} s, of which Ray's start"
            f" {self.starting:.1f} s; {each * 1000:.0f} ms a trial; the driver grew by"
            f" {self.memory_growth_bytes / 1e6:.0f} MB"
        )


def _return_at_once(
    pack: Sequence[Trial], job: Job, device: str, on_progress: Callable[[float], None]
) -> list[Summary]:
    figures = {"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}
    return [figures for _ in pack]


def measure(trial: Trial, count: int) -> Overhead:
    """Run ``count`` trials that return at once on this machine.

    Args:
        trial: gives their settings, which nothing reads.
        count: at least one.
    """
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(count)]
    start = time.monotonic()
    progress = SweepProgress(count, Console(file=io.StringIO()))
    with Scratch() as folder, progress:
        job = Job(folder, resources=Resources(gpus=0, pack=1))
        usage = RayScheduler(function=_return_at_once).run(trials, job, progress)
    return Overhead(count, time.monotonic() - start, usage.starting, usage.driver_growth)
