"""The console's view of a sweep: one live line on a terminal or in a notebook, plain lines elsewhere."""

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from rdbench.spec.labels import trial_name
from rdbench.spec.plan import Trial
from rdbench.text import duration
from rdbench.trial.notebook import NotebookConsole


def usage_line(share: float, working: float, starting: float) -> str:
    """Return what a sweep made of its workers: their busy time over all the time they could have had."""
    return f"workers busy {share:.0%} of {duration(working)}, after {duration(starting)} to start Ray"


@dataclass
class SweepProgress:
    """Tells of trials as they run and end; used as a context manager around the sweep."""

    total: int
    console: Console
    name: Callable[[Trial], str] = trial_name
    on_ended: Callable[[Trial], None] = lambda trial: None  # called once a trial has ended, and is committed
    finished: int = 0
    failed: int = 0
    _running: dict[str, float] = field(default_factory=dict)
    _start: float | None = None  # when the first trial began: what Ray takes to start is no measure

    def __post_init__(self) -> None:
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("trials", total=self.total, note="starting workers")

    def __enter__(self) -> "SweepProgress":
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def running(self, trial: Trial, fraction: float) -> None:
        """Tell how much of a running trial's training is done, from 0 to 1."""
        self._start = self._start or time.monotonic()
        self._running[trial.id] = fraction
        self._update()

    def ended(self, trial: Trial, status: str, detail: str) -> None:
        """Tell that a trial ended, in a line that stays."""
        self._running.pop(trial.id, None)
        self.finished += 1
        self.failed += status == "failed"
        note = "" if self._has_bar else f"; {self._note()}"
        self.say(f"[{self.finished}/{self.total}] {self.name(trial)}: {status}{detail}{note}")
        self.on_ended(trial)
        self._update()

    def lost(self, pack: Sequence[Trial], cause: str) -> None:
        """Tell that the worker of a pack was lost, and why ("its worker ..."); the pack goes on elsewhere."""
        for trial in pack:
            self._running.pop(trial.id, None)
        more = f" and {len(pack) - 1} more" if len(pack) > 1 else ""
        whose, what = ("their", "them") if more else ("its", "it")
        self.say(f"{self.name(pack[0])}{more}: {whose} worker {cause}; starting {what} again")
        self._update()

    def stopped(self, trial: Trial) -> None:
        """Note that a trial no longer runs, though it has not ended."""
        self._running.pop(trial.id, None)
        self._update()

    def nothing_runs(self) -> None:
        """Note that no trial runs any more."""
        self._running.clear()
        self._update()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        # soft_wrap: a log file must not be folded at 80 columns.
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _note(self) -> str:
        parts = [f"{len(self._running)} running"] if self._running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        done = self.finished + sum(self._running.values())
        if self._start and 0 < done < self.total:
            elapsed = time.monotonic() - self._start
            parts.append(f"about {duration(elapsed * (self.total - done) / done)} left")
        return ", ".join(parts) or "done"

    @property
    def _has_bar(self) -> bool:
        return self.console.is_terminal or isinstance(self.console, NotebookConsole)

    def _update(self) -> None:
        if isinstance(self.console, NotebookConsole):
            share = (self.finished + sum(self._running.values())) / self.total
            self.console.progress(share, f"{self.finished} of {self.total} trials; {self._note()}")
        self._bar.update(self._task, completed=self.finished, note=self._note())


@contextmanager
def preparing(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while a dataset is prepared for the first time; nothing where it is already."""
    bar = Progress(
        TextColumn(f"preparing {name}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        console=console,
        # Where a notebook lacks them, rich would put a warning in place of the bar.
        disable=console.is_jupyter and importlib.util.find_spec("ipywidgets") is None,
    )
    task = bar.add_task(name, total=None)

    def advance(done: int, total: int) -> None:
        bar.start()  # the first image: there is something to prepare; starting again does nothing
        bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def result_detail(row: dict[str, Any]) -> str:
    """Return what a line says of an ended trial, from the summary its worker reports."""
    if row["status"] == "done":
        psnr = row.get("psnr_of_mse")
        quality = f"MSE {row['mse']:.4g}" if psnr is None else f"PSNR {psnr:.2f} dB"
        figures = [row["state"]] if row.get("state") else []
        figures += [quality]
        if row["elbo"] is not None:  # a deterministic model has none
            figures.insert(-1, f"rate {row['rate']:.2f} nats")
            figures.append(f"ELBO {row['elbo']:.1f} at {row['reading']}")
        return f", {', '.join(figures)}, {duration(row['seconds'])}"
    return f" ({row['error'].strip().splitlines()[-1]})"
