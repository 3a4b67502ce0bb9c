"""What Ray itself costs: trials that return at once, run through the same scheduling as a sweep's.

uv run python tools/ray_overhead.py sweeps/quickstart.yaml 300
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from rdbench.errors import UserError
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Resources, load_sweep
from rdbench.storage.scratch import Scratch
from rdbench.trial.job import Job, Summary
from rdbench.trial.progress import SweepProgress
from rdbench.tune.supervisor import RayScheduler


@dataclass(frozen=True)
class Overhead:
    """What a number of trials cost besides their training."""

    trials: int
    seconds: float  # in all, Ray's start and end included
    starting: float  # of these, until the first trial began
    memory_growth_bytes: int  # of the driver's process, from the end of the first trial to that of the last

    def __str__(self) -> str:
        seconds = (self.seconds - self.starting) / self.trials
        return (
            f"{self.trials:,} trials that return at once: {self.seconds:.1f} s, of which Ray's start"
            f" {self.starting:.1f} s; {seconds * 1000:.0f} ms a trial; the driver grew by"
            f" {self.memory_growth_bytes / 1e6:.0f} MB"
        )


def _return_at_once(
    pack: Sequence[Trial], job: Job, device: str, on_progress: Callable[[float], None]
) -> list[Summary]:
    figures = {"status": "done", "error": None, "seconds": 0, "elbo": 0, "rate": 0, "mse": 0, "reading": "-"}
    return [figures for _ in pack]


def measure(trial: Trial, count: int) -> Overhead:
    """Run ``count`` copies of a trial, at least one, that return at once, on this machine.

    RuntimeError: not all of them returned, and what failing cost is no figure of Ray's.
    """
    trials = [trial.model_copy(update={"seed": seed}) for seed in range(count)]
    start = time.monotonic()
    progress = SweepProgress(count, Console(file=io.StringIO()))
    with Scratch() as folder, progress:
        job = Job(folder, resources=Resources(gpus=0, pack=1))
        usage = RayScheduler(function=_return_at_once).run(trials, job, progress)
    if progress.failed or progress.finished < count:
        lost = count - progress.finished + progress.failed
        raise RuntimeError(f"{lost} of {count} trials did not return: no figure follows")
    return Overhead(count, time.monotonic() - start, usage.starting, usage.driver_growth)


def main() -> None:
    parser = argparse.ArgumentParser(description="What Ray costs: trials that return at once.")
    parser.add_argument("spec", help="a sweep file, whose first trial is copied")
    parser.add_argument("count", type=int, help="how many trials")
    asked = parser.parse_args()
    try:
        trial = plan(load_sweep(asked.spec)).trials[0]
    except UserError as error:
        parser.error(str(error))
    print(measure(trial, asked.count))


if __name__ == "__main__":
    import ray_overhead  # by its name, under which workers find what they are to call

    ray_overhead.main()
