"""What a search saves against a grid, measured: the figures of reports/search/search.md.

    uv run python tools/search_bars.py --out reports/search/search.md

Searches and grids are run here one trial after another on one thread, each with five seeds; about half an
hour. ``curve``: on the Gaussian source, whose true curve is known, 16 trials against a grid of 16.
``optuna``: on digits, how near 15 trials come to the best of a grid of 41. ``target``: on digits, how many
trials until a rate is met within 3%.
"""

import argparse
import functools
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdbench import datasets
from rdbench.datasets import gaussian
from rdbench.numerics import theory
from rdbench.search.base import Search
from rdbench.search.curve import RATE_FLOOR
from rdbench.search.ended import FinishedTrial
from rdbench.search.running import begin
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import run_trial

SEEDS = range(5)
ENDS = (1e-4, 1e3)
GAUSSIAN: dict[str, Any] = {
    "name": "bars",
    "dataset": {"name": "gaussian", "train_images": 32768, "test_images": 65536},
    "variants": ["beta_vae"],
    "model": {"name": "linear", "latent": 12},
    "train": {"epochs": 16, "batch_size": 512, "lr": 1.5e-2, "weight_decay": 0.0},
}
LINEAR: dict[str, Any] = {
    "name": "bars",
    "dataset": "digits",
    "variants": ["bs_vae"],
    "model": {"name": "linear", "latent": 16},
    "train": {"epochs": 5, "batch_size": 64, "lr": 5e-3},
}
TARGET = LINEAR | {"train": {"epochs": 60, "batch_size": 64, "lr": 5e-3}}
QUICKSTART: dict[str, Any] = {
    "name": "bars",
    "dataset": "digits",
    "variants": ["bs_vae"],
    "train": {"epochs": 30, "batch_size": 64, "lr": 2e-3},
}

Curve = Iterable[tuple[float, float]]


@functools.cache
def _data(options: datasets.DatasetOptions) -> datasets.Dataset:
    return datasets.load(options, Path())


@functools.cache
def _trained(settings: str) -> FinishedTrial:
    trial = Trial.from_json(settings)
    tables = run_trial(trial, _data(trial.dataset), torch.device("cpu"))
    (row,) = tables["trials"]
    values: dict[str, float] = {}
    for point in tables.get("points", []):
        if point["split"] == "test":
            values |= {name: point[name] for name in ("rate", "mse")}
            values[f"elbo_{point['reading']}"] = point["elbo"]
    print(".", end="", file=sys.stderr, flush=True)
    return FinishedTrial(trial, row["status"], values, row["seconds"])


def grid(settings: dict[str, Any], betas: object, seed: int) -> dict[str, FinishedTrial]:
    """Train a grid; return its trials by id."""
    sweep = Sweep.model_validate(settings | {"beta": betas, "seeds": [seed]})
    return {trial.id: _trained(trial.to_json()) for trial in plan(sweep).trials}


def search(
    settings: dict[str, Any], betas: object, trained_with: int, **wanted: object
) -> dict[str, FinishedTrial]:
    """Run a search to its end; return its trials by id, in the order of the choices."""
    sweep = Sweep.model_validate(settings | {"beta": betas, "seeds": [trained_with], "search": wanted})
    with tempfile.TemporaryDirectory() as root:
        found: Search = begin(sweep, Path(root), ())
        ended: dict[str, FinishedTrial] = {}
        while todo := found.propose(ended):
            ended |= {trial.id: _trained(trial.to_json()) for trial in todo}
    return ended


def seconds(ended: dict[str, FinishedTrial]) -> float:
    """Return what trials cost."""
    return sum(each.seconds for each in ended.values())


def _place(rate: float, mse: float) -> tuple[float, float]:
    return math.log(max(rate, RATE_FLOOR)), mse


@functools.cache
def _truth() -> np.ndarray:
    eigenvalues = gaussian.spectrum(gaussian.GaussianOptions(name="gaussian"))
    found = [theory.predict("beta_vae", eigenvalues, 12, beta) for beta in np.geomspace(*ENDS, 20_001)]
    return np.array([_place(each.rate, each.sse / len(eigenvalues)) for each in found])


def gap_and_area(points: Curve) -> tuple[float, float]:
    """Return the largest gap of a curve and the area between it and the true one, in ranges of the plane."""
    truth, places = _truth(), np.array(sorted(points))
    ranges = np.ptp(truth, axis=0)
    gap = np.linalg.norm(np.diff(places, axis=0) / ranges, axis=1).max()
    order = np.argsort(truth[:, 0], kind="stable")
    rates, errors = truth[order].T
    area = np.trapezoid(abs(np.interp(rates, *places.T) - errors), rates) / ranges.prod()
    return float(gap), float(area)


def _needed(reached: Callable[[Curve], bool]) -> int:
    """Return how many points a grid on the true curve needs."""
    truth = _truth()
    for count in range(3, 1000):
        if reached(truth[np.linspace(0, len(truth) - 1, count).round().astype(int)].tolist()):
            return count
    return 1000


def curve_bar() -> list[str]:
    """``curve`` against a grid of as many trials, on the Gaussian source."""
    told = {}
    runs = {
        "grid of 16": [grid(GAUSSIAN, {"logspace": [*ENDS, 16]}, seed) for seed in SEEDS],
        "`search: curve`, 16 trials": [
            search(GAUSSIAN, {"logspace": [*ENDS, 5]}, seed, name="curve", trials=16, gap=0) for seed in SEEDS
        ],
    }
    lines = ["| | trials | largest gap | area error | seconds |", "|---|---|---|---|---|"]
    for name, found in runs.items():
        both = [
            gap_and_area(_place(each.values["rate"], each.values["mse"]) for each in run.values())
            for run in found
        ]
        gap, area = (statistics.median(values) for values in zip(*both, strict=True))
        told[name] = gap, area
        count = statistics.median(map(len, found))
        lines.append(
            f"| {name} | {count} | {gap:.3f} | {area:.4f} | {statistics.median(map(seconds, found)):.0f} |"
        )
    (grid_gap, grid_area), (gap, area) = told.values()
    needed = _needed(lambda points: gap_and_area(points)[0] <= gap)
    needed_area = _needed(lambda points: gap_and_area(points)[1] <= area)
    lines += [
        "",
        f"Medians of five seeds. The gap is {gap / grid_gap:.2f} of the grid's, the area"
        f" {area / grid_area:.2f}. On the true curve a grid needs {needed} points for that gap, and"
        f" {needed_area} for that area.",
    ]
    return lines


def optuna_bar() -> list[str]:
    """``optuna`` against a grid of 41 betas, on digits."""
    objective, beta = "elbo_optimal_shared", [0.01, 100]
    grids = [grid(LINEAR, {"logspace": [*beta, 41]}, seed) for seed in SEEDS]
    best = [max(each.values[objective] for each in run.values()) for run in grids]
    lines = [
        "| | trials until within 2% of the grid's best, by seed | shortfall after 15, median | seconds |",
        "|---|---|---|---|",
        f"| grid of 41 | | 0 | {statistics.median(map(seconds, grids)):.0f} |",
    ]
    for sampler in ("tpe", "gp", "random"):
        found = [
            search(
                LINEAR, beta, seed, name="optuna", trials=15, objective=objective, sampler=sampler, seed=seed
            )
            for seed in SEEDS
        ]
        first, short = [], []
        for run, goal in zip(found, best, strict=True):
            values = [each.values.get(objective, -math.inf) for each in run.values()]
            hit = [place for place, value in enumerate(values, 1) if goal - value <= 0.02 * abs(goal)]
            first.append(str(hit[0]) if hit else "never")
            short.append((goal - max(values)) / abs(goal))
        lines.append(
            f"| {sampler} | {', '.join(first)} | {statistics.median(short):.2%} |"
            f" {statistics.median(map(seconds, found)):.0f} |"
        )
    return lines


def target_bar(network: str, settings: dict[str, Any]) -> list[str]:
    """``target`` on digits: trials until 5 and 20 nats are met within 3%."""
    lines = []
    for rate in (5, 20):
        found = [
            search(settings, [0.01, 0.3, 10], seed, name="target", rate=rate, trials=8) for seed in SEEDS
        ]
        told = []
        for run in found:
            off = min(abs(each.values["rate"] / rate - 1) for each in run.values())
            told.append(f"{len(run)}" if off <= 0.03 else f"not in {len(run)} ({off:.1%} off)")
        cost = statistics.median(map(seconds, found))
        as_fine = statistics.median(_as_fine(run.values(), rate) for run in found)
        lines.append(f"| {network} | {rate} nats | {', '.join(told)} | {cost:.0f} | {as_fine:.0f} |")
    return lines


def _as_fine(run: Iterable[FinishedTrial], rate: float) -> float:
    """Return how many betas a grid over the same range has that cannot miss a rate by more than 3%.

    By the slope of the rate's logarithm over log beta between the two points next to the rate.
    """
    points = sorted((each.values["rate"], each.trial.beta) for each in run)
    below = max(point for point in points if point[0] <= rate)
    above = min(point for point in points if point[0] > rate)
    slope = abs(math.log(above[0] / below[0]) / math.log(above[1] / below[1]))
    betas = [beta for _, beta in points]
    return math.log(max(betas) / min(betas)) * slope / 0.06 + 1


def main(out: Path | None, only: str) -> None:
    """Measure everything, or the sections whose titles contain ``only``, and write it."""
    torch.set_num_threads(1)
    lines = ["# What a search saves", "", "```sh", "uv run python tools/search_bars.py", "```", ""]
    sections: dict[str, Callable[[], list[str]]] = {
        "The curve of the Gaussian source": curve_bar,
        "The best beta on digits (linear network)": optuna_bar,
        "A rate on digits": lambda: [
            "| network | target | trials until it is met within 3%, by seed | seconds | trials of a grid |",
            "|---|---|---|---|---|",
            *target_bar("linear", TARGET),
            *target_bar("convolutional, as in quickstart.yaml", QUICKSTART),
        ],
    }
    for title, measure in sections.items():
        if only not in title:
            continue
        lines += [f"## {title}", "", *measure(), ""]
        print("\n".join(lines), flush=True)
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="a part of a section's title")
    given = parser.parse_args()
    main(given.out, given.only)
