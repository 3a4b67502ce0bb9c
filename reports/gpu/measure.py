"""Everything rdbench claims of a GPU, measured by one command, in about 25 minutes on an H200.

    uv run python reports/gpu/measure.py --data DIR      # DIR holds MNIST in torchvision's layout

writes beside this file, with the machine's name on each:

    mnist_bench.json    the paper's MNIST setting: a plain PyTorch loop against packs, by precision
    celeba_bench.json   the CelebA shape with its augmentation, on random bytes
    precision.json      test ELBO of bs_vae at beta 1: bf16 against float32, five seeds each
    profile.txt         where the time of a training step goes, at the best pack

``--smoke`` goes through the same on any machine, with digits and seconds instead of minutes; it says nothing
about speed and writes where ``--out`` says.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from rdbench import datasets
from rdbench.commands.bench import bench
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial import throughput
from rdbench.trial.run import run_pack

ROOT = Path(__file__).parents[2]
SEEDS = 5
PRECISIONS = {"cuda": ("float32", "tf32", "bf16"), "cpu": ("float32", "bf16")}


def trial_of(sweep: str, *overrides: str) -> Trial:
    """Return bs_vae's trial nearest beta 1 of a sweep that ships."""
    trials = plan(load_sweep(ROOT / "sweeps" / f"{sweep}.yaml", overrides)).trials
    return min(
        (trial for trial in trials if trial.variant.name == "bs_vae"),
        key=lambda trial: abs(math.log(trial.beta)),
    )


def benchmarks(sweep: str, device: str, packs: list[int], steps: int, repetitions: int) -> dict:
    """Return the benchmark of a sweep's models in each precision of a device."""
    found = {}
    for precision in PRECISIONS[device]:
        trial = trial_of(sweep, f"train.precision={precision}")
        measured = bench.run(trial, packs, device, bench.Effort(steps, repetitions))
        print(bench.table(measured), "\n", flush=True)
        found[precision] = measured.to_json()
    return found


def precisions(sweep: str, data_root: Path, device: str, *overrides: str) -> dict:
    """Train five seeds in float32 and in bf16, each a pack; return the test ELBOs and their intervals."""
    found = {}
    for precision in ("float32", "bf16"):
        trial = trial_of(sweep, f"train.precision={precision}", *overrides)
        pack = [trial.model_copy(update={"seed": seed, "beta": 1.0}) for seed in range(SEEDS)]
        results = run_pack(pack, datasets.load(trial.dataset, data_root), torch.device(device))
        elbos = [
            row["elbo"]
            for tables in results
            for row in tables.get("points", [])
            if row["split"] == "test" and row["native"]
        ]
        error = statistics.stdev(elbos) / math.sqrt(len(elbos))
        found[precision] = {
            "elbo": elbos,
            "mean": statistics.mean(elbos),
            "half_interval_95": 2.776 * error,  # Student's t, 4 degrees of freedom
            "seconds": sum(tables["trials"][0]["seconds"] for tables in results),
        }
        print(precision, found[precision], flush=True)
    return found


def step_profile(sweep: str, device: str, pack: int, steps: int, *overrides: str) -> str:
    """Return the profiler's table of some training steps."""
    trial = trial_of(sweep, *overrides)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as profiled:
        throughput.measure_training(trial, pack, torch.device(device), steps)
    by = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    table: str = profiled.key_averages().table(sort_by=by, row_limit=40)
    return f"{sweep}, pack {pack}, {steps} steps\n{table}\n"


def best_pack(found: dict) -> int:
    """Return the pack of the fastest contender."""
    ours = [one for one in found["contenders"][1:] if "median_images_per_second" in one]
    return int(max(ours, key=lambda one: one["median_images_per_second"])["pack"])


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="root of the raw data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the figures")
    parser.add_argument("--smoke", action="store_true", help="seconds on any machine; no claim of speed")
    asked = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not asked.smoke:
        parser.error("torch sees no GPU here; --smoke goes through the same without one")
    asked.out.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: str) -> None:
        (asked.out / name).write_text(content)
        print(f"written to {asked.out / name}", flush=True)

    if asked.smoke:
        torch.set_num_threads(1)
        figures = benchmarks("quickstart", device, [1], steps=2, repetitions=2)
        write("mnist_bench.json", json.dumps(figures, indent=1))
        write("celeba_bench.json", json.dumps(figures, indent=1))
        compared = precisions("quickstart", asked.data, device, "train.epochs=1")
        write("precision.json", json.dumps(compared, indent=1))
        write("profile.txt", step_profile("quickstart", device, 2, 2))
        return
    packs = [1, 4, 16, 32, 64, 128]
    mnist = benchmarks("mnist_table1", device, packs, steps=50, repetitions=5)
    write("mnist_bench.json", json.dumps(mnist, indent=1))
    celeba = benchmarks("celeba_rd", device, [1, 4, 16, 32], steps=30, repetitions=5)
    write("celeba_bench.json", json.dumps(celeba, indent=1))
    profiles = [
        step_profile(sweep, device, best_pack(found[precision]), 20, f"train.precision={precision}")
        for sweep, found in (("mnist_table1", mnist), ("celeba_rd", celeba))
        for precision in ("float32", "bf16")
    ]
    write("profile.txt", "\n".join(profiles))
    write("precision.json", json.dumps(precisions("mnist_table1", asked.data, device), indent=1))


if __name__ == "__main__":
    main()
