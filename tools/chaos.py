"""Kill a sweep again and again, anywhere, at any moment, and see whether anything is lost.

    uv run python tools/chaos.py --sweeps 30 --seed 0 --out reports/chaos/chaos.md

Each of the sweeps, four trials on digits through the command line, is killed one to three times with
SIGKILL: its driver, a worker, or Ray's raylet, at a random moment, then run to its end. It passes where its
``points`` have the bytes of the undisturbed sweep's, no trial that was finished was trained again, and
neither checkpoint nor process is left over.
"""

import argparse
import contextlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SPEC = """
name: chaos
dataset: {name: digits, train_images: 1024, test_images: 200}
variants: [beta_vae, bs_vae]
beta: [0.1, 1]
train: {epochs: 12, batch_size: 64}
model: {latent: 4, channels: [16, 32]}
resources: {checkpoint_minutes: 0}
"""
TARGETS = ("driver", "worker", "raylet")
PATIENCE = 300  # seconds until a sweep that neither ends nor goes on counts as hanging


@dataclass
class Outcome:
    """What became of one sweep.

    Attributes:
        kills: each as "target at seconds".
        runs: of the command, the last one to its end.
        problems: what should not be; empty where all is well.
    """

    kills: list[str] = field(default_factory=list)
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def command(folder: Path, results: Path) -> list[str]:
    """Return the sweep's command line; its file is written where there is none."""
    spec = folder / "chaos.yaml"
    if not spec.exists():
        spec.write_text(SPEC)
    arguments = ["sweep", str(spec), "--results", str(results), "--no-report"]
    return [str(Path(sys.executable).with_name("rdbench")), *arguments]


def start(folder: Path, results: Path) -> "subprocess.Popen[bytes]":
    """Start the sweep; what it says goes to a file beside the results."""
    with results.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            command(folder, results), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )


def points(results: Path) -> dict[str, bytes]:
    """Return the bytes of each file of the points table."""
    return {path.name: path.read_bytes() for path in sorted((results / "points").glob("*.parquet"))}


def committed(results: Path) -> dict[str, int]:
    """Return when each finished trial was committed, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (results / "trials").glob("*.parquet")}


def family(driver: psutil.Process) -> list[psutil.Process]:
    """Return the driver's processes, its own last."""
    with contextlib.suppress(psutil.Error):
        return [*driver.children(recursive=True), driver]
    return []


def find(driver: psutil.Process, target: str) -> psutil.Process | None:
    """Return the process to kill; None where there is none yet."""
    for process in family(driver):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if target == "worker" and words and words[0].startswith("ray::ImplicitFunc"):  # no agent of Ray's
                return process
            if target == "raylet" and process.name() == "raylet":
                return process
    return driver if target == "driver" else None


def wait_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return what is still alive after a while."""
    return psutil.wait_procs(processes, timeout=20)[1]


@dataclass(frozen=True)
class Kill:
    """What to kill, and when: ``due`` is asked again and again, given the seconds since the command began."""

    target: str
    due: Callable[[float], bool]


def disturb(folder: Path, results: Path, kills: Sequence[Kill] = ()) -> Outcome:  # noqa: C901 (one loop, whose state is the run)
    """Run a sweep to its end, killing it on the way; the kills follow one another.

    Args:
        folder: for the sweep file.
        results: the results folder.
        kills: none for an undisturbed sweep.
    """
    outcome, before = Outcome(), {}
    left, running, driver = list(kills), None, None
    while True:
        if running is None:
            running, outcome.runs = start(folder, results), outcome.runs + 1
            driver, began = psutil.Process(running.pid), time.monotonic()
        seen = family(driver)
        if left:
            kill, victim = left.pop(0), None
            while running.poll() is None and not (
                kill.due(time.monotonic() - began) and (victim := find(driver, kill.target))
            ):
                time.sleep(0.02)
            if victim and running.poll() is None:
                seen = family(driver)
                with contextlib.suppress(psutil.Error):
                    victim.kill()
                outcome.kills.append(f"{kill.target} at {time.monotonic() - began:.1f} s")
            if kill.target != "driver":
                continue  # which may go on by itself
        try:
            code = running.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            outcome.problems.append("it hangs")
            for process in family(driver):
                process.kill()
            return outcome
        if alive := wait_gone(seen):
            outcome.problems.append(f"left over: {', '.join(process.name() for process in alive)}")
        now = committed(results)
        if again := [name for name in before if now.get(name) != before[name]]:
            outcome.problems.append(f"trained again: {', '.join(again)}")
        before, running = now, None
        if code == 0:
            break
        if outcome.runs > 3 * len(kills) + 3:
            outcome.problems.append(f"it does not end well: exit code {code}")
            return outcome
    if list((results / "resume").glob("*")):
        outcome.problems.append("checkpoints are left over")
    if (results / "driver.json").exists():
        outcome.problems.append("driver.json is left over")
    return outcome


def killed(
    folder: Path, name: str, rng: random.Random, longest: float, count: int
) -> tuple[Outcome, dict[str, bytes]]:
    """Run a sweep that is killed at least once, at random; return what became of it, and its points.

    Args:
        folder: for the sweep file and its results.
        name: of the results folder.
        rng: draws targets and moments.
        longest: seconds within which the kills fall, from the start of a run.
        count: of kills.
    """
    for attempt in itertools.count():
        results = folder / f"{name}-{attempt}"
        moments = [rng.uniform(0, longest) for _ in range(count)]
        outcome = disturb(folder, results, [Kill(rng.choice(TARGETS), moment.__le__) for moment in moments])
        if outcome.kills or outcome.problems:
            break
        longest *= 0.7  # it ended before it could be killed
    return outcome, points(results)


def main(sweeps: int, seed: int, most: int, out: Path | None) -> int:
    """Run the test, and write a line for each sweep; return how many were not as they should be."""
    folder = Path(tempfile.mkdtemp(prefix="rdbench-chaos-"))
    os.environ.setdefault("RDBENCH_CACHE", str(folder / "cache"))
    disturb(folder, folder / "first")  # which also prepares data and caches
    clock = time.monotonic()
    whole = disturb(folder, folder / "undisturbed")
    longest = 0.9 * (time.monotonic() - clock)  # a kill must not come too late
    expected = points(folder / "undisturbed")
    if whole.problems or len(expected) != 4:
        raise SystemExit(f"the undisturbed sweep does not end well: {whole}")
    lines = [f"Undisturbed: {longest / 0.9:.0f} s, {len(expected)} trials.", ""]
    lines += ["| sweep | killed | runs | outcome |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    failed = 0
    for number in range(sweeps):
        rng = random.Random(f"{seed}/{number}")
        outcome, found = killed(folder, f"sweep{number}", rng, longest, rng.randint(1, most))
        if found != expected:
            outcome.problems.append("its points differ")
        failed += bool(outcome.problems)
        told = "; ".join(outcome.problems) or "as undisturbed"
        lines.append(f"| {number} | {', '.join(outcome.kills)} | {outcome.runs} | {told} |")
        print(lines[-1], flush=True)
    lines += ["", f"{sweeps - failed} of {sweeps} ended with the points of the undisturbed sweep."]
    print(lines[-1])
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=3, help="kills a sweep")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sys.exit(min(1, main(given.sweeps, given.seed, given.most, given.out)))
