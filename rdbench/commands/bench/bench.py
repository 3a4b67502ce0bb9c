"""``rdbench bench``: a plain PyTorch loop against rdbench, side by side on this machine.

All contenders are set up first and then take turns, so that a busy moment of the machine affects all of them.
rdbench runs as in a sweep: on a CPU one worker of one thread a core, on a GPU one worker with a pack of
trials.
"""

import multiprocessing as mp
import platform
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from rdbench import machine
from rdbench.commands.bench import estimate
from rdbench.commands.bench.plain import PlainLoop
from rdbench.commands.bench.roofline import cost_per_image, memory_bandwidth, peak_flops
from rdbench.errors import SpecError
from rdbench.machine import usable_cores
from rdbench.numerics.precision import check_precision
from rdbench.spec.plan import Trial
from rdbench.text import counted, in_words
from rdbench.trial.throughput import evaluation_speed, repeat_epochs, synthetic
from rdbench.vae.memory import PeakMemory

NOMINAL = 60_000, 10_000  # where only the data themselves know how many they are
ANSWER_SECONDS = 600.0  # a worker that says nothing for so long has gone


@dataclass(frozen=True)
class Effort:
    """How much is measured: ``repetitions`` turns of so many ``steps``."""

    steps: int
    repetitions: int
    workers: int | None = None  # at a time; None: one for every core on a CPU, one on a GPU


@dataclass
class Contender:
    """How fast one way of training is."""

    name: str
    pack: int | None  # trials trained side by side in a worker; null for the plain loop
    workers: int  # processes that train at a time
    images_per_second: list[float] = field(default_factory=list)  # of all workers, for each repetition
    evaluated_per_second: float | None = None  # images, in evaluation, of all workers
    peak_memory_bytes: int | None = None  # of one worker
    error: str | None = None  # why it could not run

    @property
    def median(self) -> float:
        """Median over the repetitions, of training images a second."""
        return statistics.median(self.images_per_second)


@dataclass(frozen=True)
class Benchmark:
    """All figures of one run; rates are a second, sizes in bytes."""

    device: str
    host: str
    dataset: str
    shape: tuple[int, int, int]
    batch_size: int
    precision: str
    repetitions: int
    steps: int
    peak_flops: float
    memory_bandwidth: float
    flops_per_image: float
    bytes_per_image: float
    training_images: int
    evaluated_images: int
    epochs: int
    contenders: list[Contender]

    def trials_per_hour(self, contender: Contender) -> float:
        """Return whole trials an hour: all epochs, and evaluation where it was measured."""
        seconds = self.epochs * self.training_images / contender.median
        if contender.evaluated_per_second:
            seconds += self.evaluated_images / contender.evaluated_per_second
        return 3600 / seconds

    def to_json(self) -> dict[str, Any]:
        """Return the figures with what is computed from them, as JSON values."""
        figures = asdict(self)
        for contender, row in zip(self.contenders, figures["contenders"], strict=True):
            if contender.images_per_second:
                row |= {
                    "median_images_per_second": contender.median,
                    "trials_per_hour": self.trials_per_hour(contender),
                    "share_of_peak_flops": contender.median * self.flops_per_image / self.peak_flops,
                    "share_of_bandwidth": contender.median * self.bytes_per_image / self.memory_bandwidth,
                    "times_plain": contender.median / self.contenders[0].median,
                }
        return figures


def remember(trial: Trial, figures: Benchmark) -> None:
    """Keep the figures of the fastest contender of ours for the dry run."""
    ours = [one for one in figures.contenders[1:] if one.images_per_second and one.evaluated_per_second]
    if ours:
        best = max(ours, key=figures.trials_per_hour)
        estimate.remember(trial, figures.device, best.median, best.evaluated_per_second or best.median)


def _worker(trial: Trial, pack: int, device: str, effort: Effort, pipe: Any) -> None:
    """Train in a process: answer each request for an epoch with its images a second."""
    torch.set_num_threads(1)
    where = torch.device(device)

    def answer(images_per_second: float) -> None:
        pipe.send(("speed", images_per_second))
        pipe.recv()

    try:
        pipe.recv()
        peak = repeat_epochs(trial, pack, where, effort.steps, effort.repetitions, answer)
        pipe.send(("end", (peak, evaluation_speed(trial, where))))
    except Exception as error:
        pipe.send(("error", in_words(error)))


class _Team:
    """The workers of one contender; they wait between repetitions."""

    def __init__(self, trial: Trial, pack: int, device: str, workers: int, effort: Effort) -> None:
        self.contender = Contender(f"rdbench, pack {pack}, {counted(workers, 'worker')}", pack, workers)
        context = mp.get_context("spawn")
        self._pipes, self._processes = [], []
        for _ in range(workers):
            ours, theirs = context.Pipe()
            arguments = (trial, pack, device, effort, theirs)
            process = context.Process(target=_worker, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def epoch(self) -> None:
        """Let every worker train one epoch; note the sum of their images a second."""
        if answers := self._ask("speed"):
            self.contender.images_per_second.append(sum(answers))

    def finish(self) -> None:
        """Let the workers evaluate and end; the first epoch has warmed them up and does not count."""
        del self.contender.images_per_second[:1]
        if answers := self._ask("end"):
            self.contender.peak_memory_bytes = max(peak for peak, _ in answers)
            self.contender.evaluated_per_second = sum(speed for _, speed in answers)

    def close(self) -> None:
        """End the workers, whatever they do."""
        for process in self._processes:
            process.kill()
            process.join()

    def _ask(self, expected: str) -> list[Any]:
        if self.contender.error:
            return []
        for pipe in self._pipes:
            with suppress(OSError):  # a dead worker is noticed below
                pipe.send("go")
        answers = []
        for pipe in self._pipes:
            try:
                kind, value = pipe.recv() if pipe.poll(ANSWER_SECONDS) else ("error", "no answer")
            except (EOFError, OSError):
                kind, value = "error", "the worker died"
            if kind != expected:
                self.contender.error = str(value)
                return []
            answers.append(value)
        return answers


def run(
    trial: Trial,
    packs: Sequence[int],
    device: str,
    effort: Effort,
    say: Callable[[str], None] = lambda line: None,
) -> Benchmark:
    """Measure the plain loop, and rdbench with packs of each of the given sizes.

    ``trial`` gives the data's shape, networks, batch size and precision; the images are made up. ``say`` is
    called with lines on the progress.

    Raises SpecError: the device lacks the trial's precision, or has no use for packs.
    """
    where = torch.device(device)
    check_precision(trial.train.precision, device)
    if device == "cpu" and max(packs) > 1:
        raise SpecError("--pack: a CPU trains the trials of a pack one after another; packs are for GPUs")
    workers = effort.workers or (usable_cores() if device == "cpu" else 1)
    say("measuring what the device can do at most")
    data = synthetic(trial, max(4, effort.steps) * trial.train.batch_size)
    flops, traffic = cost_per_image(trial, data.shape)
    peak, bandwidth = peak_flops(where, trial.train.precision), memory_bandwidth(where)
    say("setting up the contenders")
    memory, loop = PeakMemory(where), PlainLoop(trial, data, where)
    teams = [_Team(trial, pack, device, workers, effort) for pack in packs]
    plain = Contender(f"plain PyTorch loop, {loop.workers} loader workers", None, 1)
    plain.images_per_second = _take_turns(loop, teams, effort, say)
    plain.peak_memory_bytes = memory.bytes()
    train_images, test_images = estimate.images(trial.dataset) or NOMINAL
    return Benchmark(
        device=machine.device_name(where),
        host=platform.node(),
        dataset=trial.dataset.name,
        shape=data.shape,
        batch_size=trial.train.batch_size,
        precision=trial.train.precision,
        repetitions=effort.repetitions,
        steps=effort.steps,
        peak_flops=peak,
        memory_bandwidth=bandwidth,
        flops_per_image=flops,
        bytes_per_image=traffic,
        training_images=train_images,
        evaluated_images=train_images + test_images,
        epochs=trial.train.epochs,
        contenders=[plain, *(team.contender for team in teams)],
    )


def _take_turns(
    loop: PlainLoop, teams: Sequence[_Team], effort: Effort, say: Callable[[str], None]
) -> list[float]:
    """Let the plain loop and the teams train in turns; return the loop's images a second."""
    speeds = []
    try:
        for turn in range(effort.repetitions + 1):  # the first warms up
            speeds.append(loop.images_per_second(effort.steps))
            for team in teams:
                team.epoch()
            if turn:
                say(f"repetition {turn} of {effort.repetitions}")
        for team in teams:
            team.finish()
    finally:
        for team in teams:
            team.close()
    return speeds[1:]


def table(figures: Benchmark) -> str:
    """Return the figures as a table for the terminal."""
    lines = [
        f"{figures.device} ({figures.host}); {figures.dataset} {'x'.join(map(str, figures.shape))},"
        f" batch {figures.batch_size}, {figures.precision}; {figures.repetitions} repetitions of"
        f" {figures.steps} steps, medians",
        f"matrix products {figures.peak_flops / 1e9:,.0f} GFLOP/s, memory"
        f" {figures.memory_bandwidth / 1e9:,.0f} GB/s; a training image costs"
        f" {figures.flops_per_image / 1e9:.3f} GFLOP and {figures.bytes_per_image / 1e6:.1f} MB",
        "",
        f"{'':42} {'images/s':>10} {'x plain':>8} {'trials/h':>9} {'of peak':>8} {'of bw.':>7} {'memory':>9}",
    ]
    for contender, row in zip(figures.contenders, figures.to_json()["contenders"], strict=True):
        if contender.error or not contender.images_per_second:
            lines.append(f"{contender.name:42} did not run: {contender.error}")
            continue
        lines.append(
            f"{contender.name:42} {contender.median:10,.0f} {row['times_plain']:8.2f}"
            f" {row['trials_per_hour']:9.2f} {row['share_of_peak_flops']:8.0%}"
            f" {row['share_of_bandwidth']:7.0%} {(contender.peak_memory_bytes or 0) / 1e6:6,.0f} MB"
        )
    lines += [
        "",
        f"trials/h: {figures.epochs} epochs of {figures.training_images:,} images"
        " (evaluation included for rdbench). of bw.: share of the memory bandwidth that the step would use"
        " if every operation went to memory; more than 100 % means that caches serve it.",
    ]
    return "\n".join(lines)
