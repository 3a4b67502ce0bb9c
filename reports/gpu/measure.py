"""Everything rdbench claims of a GPU, measured by one command in a given time; what matters most comes first.

    uv run python reports/gpu/measure.py --data DIR --minutes 14   # DIR holds MNIST in torchvision's layout
    uv run python reports/gpu/measure.py --carry FOLDER            # what a machine with torch alone lacks
    uv run python reports/gpu/measure.py --commit OUT RESULTS      # its Table 1 as a results folder

It needs torch, numpy, Pillow and what ``--carry`` fetches (for Python 3.12 on Linux, onto PYTHONPATH); no
network, no Ray. To try that without such a machine::

    uv venv --python 3.12 VENV && uv pip install --python VENV/bin/python torch==2.11.* numpy pillow
    uv run python reports/gpu/measure.py --carry FOLDER
    PYTHONPATH=FOLDER VENV/bin/python reports/gpu/measure.py --smoke --out OUT

Each result is a line of OUT/rows.jsonl, written at once: a run that is killed leaves what it
has measured. One contender is in memory at a time. ``--smoke`` goes through all of it on any machine in two
minutes, with tiny networks; it says nothing about speed.
"""

import argparse
import contextlib
import dataclasses
import functools
import gc
import importlib.metadata
import importlib.util
import json
import math
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import failed_capture  # noqa: E402

from rdbench import datasets, machine  # noqa: E402
from rdbench.commands.bench.roofline import cost_per_image, memory_bandwidth, peak_flops  # noqa: E402
from rdbench.datasets import Dataset, DatasetOptions  # noqa: E402
from rdbench.errors import NotCapturable, UserError  # noqa: E402
from rdbench.numerics.precision import exact_float32  # noqa: E402
from rdbench.registry import variants  # noqa: E402
from rdbench.registry.source import shipped  # noqa: E402
from rdbench.spec.plan import Trial, plan  # noqa: E402
from rdbench.spec.sweep import Sweep, VariantSpec, dump_sweep, load_sweep  # noqa: E402
from rdbench.trial.job import Outputs  # noqa: E402
from rdbench.trial.rows import Tables  # noqa: E402
from rdbench.trial.run import Hooks, run_pack  # noqa: E402
from rdbench.trial.throughput import repeat_epochs, synthetic  # noqa: E402
from rdbench.vae import cuda_graph, fused, models, training  # noqa: E402
from rdbench.vae.checkpoints import Checkpointer, Keeping, Stopped  # noqa: E402
from rdbench.vae.cuda_graph import Captured  # noqa: E402

CARRIED = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "ruamel.yaml",
    "platformdirs", "safetensors",
)  # fmt: skip
NETWORKS = {"mnist": "mnist_table1", "celeba": "celeba_rd"}
TINY = ("train.batch_size=8", "model.channels=[4,8]", "model.latent=4", "train.epochs=2")
DIVERGES = 3e38  # a beta whose loss overflows
HELD_BYTES = 2**26  # of a GPU, that other programs on it may have come to hold meanwhile
METRICS = "metrics=[fd_classifier, prdc, latents, iwae]"
Row = dict[str, Any]


@dataclasses.dataclass
class Bench:
    """What is asked for, and the file of the results."""

    out: Path
    data: Path
    smoke: bool
    minutes: float
    began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def device(self) -> torch.device:
        """The GPU; in a smoke run whatever there is."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def seconds_left(self) -> float:
        """Until the run has to be over."""
        return 60 * self.minutes - (time.perf_counter() - self.began)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those the device has, the fastest first."""
        return ("bf16", "tf32", "float32") if self.device.type == "cuda" else ("bf16", "float32")

    def sweep(self, network: str, *overrides: str) -> Sweep:
        """Return the sweep of a network, without metrics; its small likeness in a smoke run."""
        tiny = TINY if self.smoke else ()
        return load_sweep(ROOT / "sweeps" / f"{NETWORKS[network]}.yaml", ["metrics=[]", *tiny, *overrides])

    def trial(self, network: str, *overrides: str) -> Trial:
        """Return bs_vae's trial at beta 1 and seed 0."""
        trial = next(
            one for one in plan(self.sweep(network, *overrides)).trials if one.variant.name == "bs_vae"
        )
        return trial.model_copy(update={"beta": 1.0, "seed": 0})

    def made_up(self, trial: Trial, batches: int = 2) -> Dataset:
        """Return random images of a trial's shape, augmented as its own."""
        return synthetic(trial, batches * trial.train.batch_size)

    def row(self, stage: str, **values: Any) -> None:
        """Print a result and append it to the file."""
        row = {"stage": stage, "at_s": round(time.perf_counter() - self.began, 1), **values}
        print(*(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
        with (self.out / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


# Speed


def ceilings(bench: Bench) -> Iterator[Row]:
    """Yield what the device can do at most, and what an image of each network asks of it."""
    on_gpu = bench.device.type == "cuda"
    yield {
        "device": machine.device_name(bench.device), "host": platform.node(), "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None, "smoke": bench.smoke,
    }  # fmt: skip
    yield {"copy_bytes_per_s": memory_bandwidth(bench.device)}
    for precision in bench.precisions:
        yield {"precision": precision, "product_flop_per_s": peak_flops(bench.device, precision)}
    for network in NETWORKS:
        trial = bench.trial(network)
        flops, traffic = cost_per_image(trial, bench.made_up(trial).shape)
        yield {"network": network, "flop_per_image": flops, "float32_bytes_per_image": traffic}


def speed(bench: Bench, trial: Trial, size: int) -> Row:
    """Return images a second, summed over a pack: the median of epochs after the first."""
    steps, repetitions = (2, 2) if bench.smoke else (40, 5)
    speeds: list[float] = []
    peak = repeat_epochs(trial, size, bench.device, steps, repetitions, speeds.append)
    return {"images_per_s": statistics.median(speeds[1:]), "peak_bytes": peak, "pack": size}


def dense(bench: Bench) -> Iterator[Row]:
    """Yield the speed of one network alone, captured."""
    for network in NETWORKS:
        for precision in bench.precisions:
            trial = bench.trial(network, f"train.precision={precision}")
            yield {"network": network, "precision": precision} | speed(bench, trial, 1)


def fused_layers(bench: Bench) -> Iterator[Row]:
    """Yield the speed of one network alone with BatchNorm, activation and bias as one layer, beside dense's.

    First how far a gradient is from that of torch's layers: their rounding apart, they are the same.
    """
    before, trial = fused.FUSED_ON, bench.trial("mnist")
    images = torch.rand(trial.train.batch_size, 1, 28, 28, device=bench.device)
    found = []
    try:
        for fused.FUSED_ON in (before, frozenset({bench.device.type})):
            model = models.build(trial, (1, 28, 28), len(images)).to(bench.device)
            noise = torch.zeros(len(images), trial.model.latent, device=bench.device)
            with exact_float32():
                model.loss(images, model(images, noise), trial.beta).mean().backward()
            found.append(torch.cat([value.grad.flatten() for value in model.parameters()]))
        error = float((found[0] - found[1]).norm() / found[0].norm())
        yield {"fused": True, "holds": error < 1e-3, "relative_error": error}
        for row in dense(bench):
            yield {"fused": True} | row
    finally:
        fused.FUSED_ON = before


def packs(bench: Bench) -> Iterator[Row]:
    """Yield the speed of packs, by lanes and by size."""
    before, sizes = cuda_graph.LANES, (2,) if bench.smoke else (16, 8, 4, 2)
    for network, precision in (("mnist", "bf16"), ("celeba", "bf16"), ("mnist", "float32")):
        trial = bench.trial(network, f"train.precision={precision}")
        for count, size in [
            (2, sizes[0]),
            (4, sizes[0]),
            (8, sizes[0]),
            *((before, size) for size in sizes[1:]),
        ]:
            cuda_graph.LANES = count
            try:
                yield {"network": network, "precision": precision, "lanes": count} | speed(bench, trial, size)
            finally:
                cuda_graph.LANES = before


def plain(bench: Bench) -> Iterator[Row]:
    """Yield the speed of the loop that is written first, in torch's own precision and in float32.

    Without torchvision its images are numbers, not pictures to be augmented: it is faster than with it.
    """
    from rdbench.commands.bench.plain import PlainLoop

    augmented = importlib.util.find_spec("torchvision") is not None
    for network in NETWORKS:
        trial = bench.trial(network)
        data = bench.made_up(trial, 8)
        if not augmented:
            numbers = dataclasses.replace(data.train, images=data.train.images.astype("float32") / 255)
            data = dataclasses.replace(data, train=numbers)
        for name in ("torch's default: TF32 in convolutions", "float32"):
            loop = PlainLoop(trial, data, bench.device)
            run = exact_float32()(loop.images_per_second) if name == "float32" else loop.images_per_second
            speeds = [run(2 if bench.smoke else 20) for _ in range(3)]
            images_per_s = statistics.median(speeds[1:])
            yield {
                "network": network, "precision": name, "augmented": augmented, "images_per_s": images_per_s,
            }  # fmt: skip


# Correctness


def figures(bench: Bench, pack: Sequence[Trial], data: Dataset, **more: Any) -> list[tuple[str, str]]:
    """Train and measure a pack; return each trial's history and points, and its weights, as text."""
    weights: dict[str, str] = {}
    hooks = Hooks(on_network=lambda trial, model: weights.update({trial.id: models.to_bytes(model).hex()}))
    return [
        (without_times(tables), weights.get(trial.id, ""))
        for trial, tables in zip(pack, run_pack(pack, data, bench.device, hooks=hooks, **more), strict=True)
    ]


def without_times(tables: Tables) -> str:
    """Return a trial's history and points as text, but for how long its epochs took."""
    times = {"seconds", "images_per_second"}
    rows = [tables.get(name, []) for name in ("history", "points")]
    return json.dumps([[{k: v for k, v in row.items() if k not in times} for row in table] for table in rows])


def pack_of(bench: Bench, *overrides: str, epochs: int = 2) -> list[Trial]:
    """Return four trials that differ in variant, beta and seed; a graph is replayed in the second epoch."""
    trial = bench.trial("mnist", f"train.epochs={epochs}", *overrides)
    asked = [("bs_vae", 1.0, 0), ("student_t", 0.5, 1), ("geco", 0.1, 0), ("beta_vae", 4.0, 1)]
    return [
        trial.model_copy(update={"variant": VariantSpec(name=name), "beta": beta, "seed": seed})
        for name, beta, seed in asked
    ]


def gradients(bench: Bench) -> Row:
    """Compare a float32 gradient on the device with one in float64 on the host."""
    trial = bench.trial("mnist")
    images = torch.rand(trial.train.batch_size, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(len(images), trial.model.latent, generator=torch.Generator().manual_seed(1))
    found = []
    for device, kind in ((bench.device, torch.float32), (torch.device("cpu"), torch.float64)):
        model = models.build(trial, (1, 28, 28), len(images)).to(device, kind)
        pixels = images.to(device, kind)
        with exact_float32():
            model.loss(pixels, model(pixels, noise.to(device, kind)), trial.beta).mean().backward()
        found.append(torch.cat([value.grad.flatten().cpu().double() for value in model.parameters()]))
    error = float((found[0] - found[1]).norm() / found[1].norm())
    return {"holds": error < 1e-3, "relative_error": error}


def captured_is_eager(bench: Bench) -> Row:
    """Compare a pack that was captured with one that was not."""
    pack = pack_of(bench, epochs=1 if bench.smoke else 2)
    data = bench.made_up(pack[0], 4)
    captured = figures(bench, pack, data)
    training.Captured = lambda step, device, refused: step  # type: ignore[assignment, misc]
    try:
        return {"holds": captured == figures(bench, pack, data)}
    finally:
        training.Captured = Captured  # type: ignore[misc]


def member_is_alone(bench: Bench) -> Row:
    """Compare the members of a pack with their trials alone, in each precision."""
    holds = {}
    for precision in bench.precisions:
        pack = pack_of(bench, f"train.precision={precision}", epochs=1 if bench.smoke else 2)
        data = bench.made_up(pack[0], 4)
        alone = [figures(bench, [trial], data)[0] for trial in pack]
        holds[precision] = figures(bench, pack, data) == alone
    return {"holds": all(holds.values()), **holds}


def a_diverging_member_is_apart(bench: Bench) -> Row:
    """Compare the others of a pack in which one member's loss overflows."""
    pack = pack_of(bench, epochs=1 if bench.smoke else 2)
    data = bench.made_up(pack[0], 4)
    calm = figures(bench, pack, data)
    wild = figures(bench, [pack[0], pack[1].model_copy(update={"beta": DIVERGES}), *pack[2:]], data)
    return {"holds": calm[:1] + calm[2:] == wild[:1] + wild[2:] and not wild[1][1]}


def resumed_is_undisturbed(bench: Bench) -> Row:
    """Compare a pack that was interrupted after its first epoch."""
    pack = pack_of(bench)
    data = bench.made_up(pack[0], 6)
    with tempfile.TemporaryDirectory() as folder:

        def kept(stop: bool) -> Checkpointer:
            return Checkpointer(Keeping(Path(folder), stop=lambda: stop), pack, bench.device)

        try:
            figures(bench, pack, data, checkpointer=kept(True))
        except Stopped:
            return {
                "holds": figures(bench, pack, data) == figures(bench, pack, data, checkpointer=kept(False))
            }
    return {"holds": False}


def what_cannot_be_captured_trains(bench: Bench) -> Row:
    """Have a step wait for the device: alone it trains without a graph, in a pack it is refused."""
    trial = bench.trial("mnist", "train.epochs=1")
    data = bench.made_up(trial, 6)

    class Waits(models.Model):
        capturable = True

        def loss(self, images: torch.Tensor, terms: models.Terms, beta: float) -> torch.Tensor:
            return terms.sse * (1.0 if terms.rate.sum().item() > -1 else 2.0)

    def built(count: int) -> list[models.Model]:
        return [Waits(models.about(trial, data.shape, len(data.train.images))) for _ in range(count)]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained = training.train(built(1), [trial], data, bench.device) == [None]
    told = any("without a CUDA graph" in str(warning.message) for warning in caught)
    try:
        training.train(built(2), [trial, trial], data, bench.device)
        refused = False
    except NotCapturable:
        refused = True
    on_gpu = bench.device.type == "cuda"
    return {"holds": trained and told == refused == on_gpu, "told": told, "refused": refused}


def what_breaks_off_a_recording_trains_without(bench: Bench) -> Row:
    """Have a recording break off: another process trains the trial without one, and all memory is free again.

    The verdict is remembered, and the numbers are those of a step that was never to be recorded.
    """
    if bench.device.type != "cuda":
        return {"skipped": "needs a GPU"}
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name, "breaks_off.py")
        file.write_text(failed_capture.VARIANT)
        (trial, *_) = plan(bench.sweep("mnist", f"variants=['{file}:breaks_off']", "train.epochs=2")).trials
        data = bench.made_up(trial, 6)
        _free()
        free = torch.cuda.mem_get_info(bench.device)[0]
        said = failed_capture.attempts(folder, trial, len(data.train.images), bench.device)
        held = free - torch.cuda.mem_get_info(bench.device)[0] + sum(one["bytes_of_graphs"] for one in said)
        variants.get(trial.variant).target.capturable = False  # type: ignore[attr-defined]
        same = without_times(failed_capture.tables(folder)) == figures(bench, [trial], data)[0][0]
        verdicts = failed_capture.verdicts(folder)
    broke_off = "CaptureFailed" in said[0].get("retry", "") and not said[0]["counts"] and not said[0]["told"]
    went_on = [(one.get("status"), len(one["told"])) for one in said[1:]] == [("done", 1)]
    holds = broke_off and went_on and same and len(verdicts) == 1 and held < HELD_BYTES
    return {"holds": holds, "same": same, "held_bytes": held, "attempts": said, "verdicts": verdicts}


def want_of_memory_halves(bench: Bench) -> Row:
    """Have a pack ask for more memory than there is: it is run in halves, and all trials end."""
    if bench.device.type != "cuda":
        return {"skipped": "needs a GPU"}
    trial = bench.trial("celeba", "train.epochs=1", *(() if bench.smoke else ("train.batch_size=1024",)))
    data = bench.made_up(trial, 4)
    sizes: list[int] = []

    def run(pack: list[Trial]) -> None:
        sizes.append(len(pack))
        try:
            run_pack(pack, data, bench.device)
        except torch.OutOfMemoryError:
            half = len(pack) // 2
            gc.collect()
            torch.cuda.empty_cache()
            if not half:
                raise
            run(pack[:half])
            run(pack[half:])

    single = repeat_epochs(trial, 1, bench.device, 4, 1, lambda speed: None)
    total = torch.cuda.get_device_properties(bench.device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2.2 * single / total))
    try:
        run([trial.model_copy(update={"seed": seed}) for seed in range(8)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {"holds": len(sizes) > 1, "sizes": sizes}


def correctness(bench: Bench) -> Iterator[Row]:
    """Yield whether each promise holds on this device, and each variant trains."""
    checks: tuple[Callable[[Bench], Row], ...] = (
        gradients, captured_is_eager, member_is_alone, a_diverging_member_is_apart, resumed_is_undisturbed,
        what_cannot_be_captured_trains, what_breaks_off_a_recording_trains_without, want_of_memory_halves,
    )  # fmt: skip
    for check in checks:
        try:
            yield {"check": check.__name__} | check(bench)
        except Exception as error:
            yield {"check": check.__name__, "holds": False, "error": traceback.format_exc(limit=4)}
            if "CUDA error" in str(error):
                raise  # the device is in no state for more
        _free()
    for name in sorted(shipped()):
        if not variants.declared(name).closed_form and name != "codec":
            yield {"check": "variant", "variant": name} | one_epoch(bench, name)


def one_epoch(bench: Bench, name: str) -> Row:
    """Train a variant for an epoch; return how it ended, and whether a graph was replayed."""
    trial = bench.trial("mnist", "train.epochs=1").model_copy(update={"variant": VariantSpec(name=name)})
    options: dict[str, dict[str, Any]] = {"multi_rate": {"betas": [0.1, 1.0]}}
    if bench.smoke:
        options["two_stage"] = {"second_epochs": 1, "width": 8}
    if name in options:
        spec = VariantSpec.model_construct(name=name, options=options[name], code="", source="")
        trial = trial.model_copy(update={"variant": spec})
    replays: list[int] = []
    call = Captured.__call__

    def counted(captured: Captured, *inputs: torch.Tensor) -> None:
        call(captured, *inputs)
        replays.append(captured._graph is not None)

    Captured.__call__ = counted  # type: ignore[method-assign]
    try:
        (tables,) = run_pack([trial], bench.made_up(trial, 6), bench.device)
    finally:
        Captured.__call__ = call  # type: ignore[method-assign]
    row = tables["trials"][0]
    return {"status": row["status"], "error": row["error"], "captured": any(replays)}


# Numbers


def images_of(bench: Bench, options: DatasetOptions, trial: Trial) -> Dataset:
    """Return MNIST; in a smoke run made-up images."""
    return bench.made_up(trial, 4) if bench.smoke else datasets.load(options, bench.data)


def precision(bench: Bench) -> Iterator[Row]:
    """Yield bs_vae's test ELBO at beta 1 in bf16 and float32, five seeds each, as one pack."""
    for name in ("bf16", "float32"):
        sweep = bench.sweep("mnist", f"train.precision={name}")
        trial = bench.trial(
            "mnist", f"train.precision={name}", *(() if bench.smoke else ("train.epochs=10",))
        )
        pack = [trial.model_copy(update={"seed": seed}) for seed in range(5)]
        results = run_pack(pack, images_of(bench, sweep.dataset, trial), bench.device)
        points = [row for tables in results for row in tables.get("points", [])]
        elbos = [row["elbo"] for row in points if row["split"] == "test" and row["native"]]
        half = (
            2.776 * statistics.stdev(elbos) / math.sqrt(5) if len(elbos) == 5 else None
        )  # Student's t, 4 dof
        yield {"precision": name, "epochs": trial.train.epochs, "elbo": elbos, "half_interval_95": half}


def table1(bench: Bench) -> Iterator[Row]:
    """Train the paper's MNIST Table 1, beta by beta; keep each trial's tables, and yield what it took."""
    sweep = bench.sweep("mnist", *(() if bench.smoke else (METRICS, "train.precision=bf16")))
    trials = [trial for trial in plan(sweep).trials if variants.declared(trial.variant.name).packs]
    data = images_of(bench, sweep.dataset, trials[0])
    (bench.out / "table1.yaml").write_text(dump_sweep(sweep))
    for beta in sweep.beta:
        pack = [trial for trial in trials if trial.beta == beta]
        start = time.perf_counter()
        results = run_pack(pack, data, bench.device, Outputs(metrics=sweep.metrics))
        with (bench.out / "table1.jsonl").open("a") as file:
            for trial, tables in zip(pack, results, strict=True):
                kept = {name: rows for name, rows in tables.items() if name != "images"}
                file.write(json.dumps({"trial": trial.to_json(), "tables": kept}, default=str) + "\n")
        statuses = [tables["trials"][0]["status"] for tables in results]
        yield {"beta": beta, "trials": len(pack), "seconds": time.perf_counter() - start, "status": statuses}


# The share of the time that a stage may end at; the last has what is left.
STAGES: dict[str, tuple[Callable[[Bench], Iterator[Row]], float]] = {
    "ceilings": (ceilings, 0.1),
    "dense": (dense, 0.2),
    "fused": (fused_layers, 0.3),
    "packs": (packs, 0.42),
    "correctness": (correctness, 0.6),
    "precision": (precision, 0.7),
    "plain": (plain, 0.8),
    "table1": (table1, 1.0),
}


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Leave alone what does not change: imported objects when memory is collected, and what is installed."""
    gc.freeze()
    installed = importlib.metadata.entry_points
    importlib.metadata.entry_points = functools.cache(installed)  # type: ignore[assignment]
    try:
        yield
    finally:
        importlib.metadata.entry_points = installed
        gc.unfreeze()


def run(bench: Bench, names: Sequence[str]) -> None:
    """Run stages in order; one that is over its time ends after the result under way."""
    for name in names:
        stage, share = STAGES[name]
        try:
            for row in stage(bench):
                bench.row(name, **row)
                _free()
                if bench.seconds_left < 60 * bench.minutes * (1 - share):
                    bench.row(name, cut="no time for more")
                    break
        except (Exception, SystemExit) as error:
            line = str(error).partition("\n")[0]
            bench.row(name, error=f"{type(error).__name__}: {line}")
            if not isinstance(error, UserError):
                traceback.print_exc()
        _free()
    bench.row("end", seconds_left=bench.seconds_left)


def carry(folder: Path) -> None:
    """Fetch what a machine with torch lacks, of the versions that are installed here."""
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in CARRIED]
    python = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux2014"]
    where = ["--target", str(folder), "--no-deps", "--only-binary", ":all:"]
    subprocess.run(["uv", "pip", "install", *python, *where, *pinned], check=True)


def commit(out: Path, results: Path) -> None:
    """Write the trials of Table 1 into a results folder."""
    import datetime

    from rdbench.results.store import ResultsFolder

    ResultsFolder(results).save_sweep(load_sweep(out / "table1.yaml"))
    for line in (out / "table1.jsonl").read_text().splitlines():
        kept = json.loads(line)
        (row,) = kept["tables"]["trials"]
        row["started"] = datetime.datetime.fromisoformat(row["started"])
        ResultsFolder(results).commit(Trial.from_json(kept["trial"]).id, kept["tables"])


def main() -> None:
    """Measure, or do what else was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="root of the raw data")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the figures")
    parser.add_argument("--minutes", type=float, default=14, help="the run ends by then")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"of {', '.join(STAGES)}")
    parser.add_argument("--smoke", action="store_true", help="tiny, on any machine; no claim of speed")
    parser.add_argument("--carry", type=Path, metavar="FOLDER", help="fetch what a machine with torch lacks")
    parser.add_argument(
        "--commit", type=Path, nargs=2, metavar=("OUT", "RESULTS"), help="keep Table 1's trials"
    )
    asked = parser.parse_args()
    if asked.carry:
        carry(asked.carry)
        return
    if asked.commit:
        commit(*asked.commit)
        return
    names = asked.stages.split(",")
    if unknown := sorted(set(names) - STAGES.keys()):
        parser.error(f"--stages: there is no {unknown[0]}; choose of {', '.join(STAGES)}")
    if not torch.cuda.is_available() and not asked.smoke:
        parser.error("torch sees no GPU here; --smoke goes through the same without one")
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with settled():
        run(Bench(asked.out, asked.data, asked.smoke, asked.minutes), names)


if __name__ == "__main__":
    main()
