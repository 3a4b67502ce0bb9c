"""What one sweep needs of this machine: its data, metrics, arithmetic, GPUs and folder."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from rdbench.commands.doctor import folders
from rdbench.commands.doctor.finding import Finding, problem
from rdbench.errors import SpecError, UserError
from rdbench.machine import usable_cores
from rdbench.spec.sweep import Sweep, load_sweep
from rdbench.storage import paths


def sweep(
    spec: str | Path, overrides: Iterable[str], data: Path | None, results: str | None
) -> Iterator[Finding]:
    """Yield what a sweep file asks for, and whether this machine has it."""
    wanted = load_sweep(spec, list(overrides))
    where = f"results/{wanted.name}" if results is None else results
    yield from folders.results(where)
    yield _plan(wanted, where)
    yield from _data(wanted, paths.chosen_data_root(data))
    yield _precision(wanted)
    yield _resources(wanted)


def _plan(wanted: Sweep, where: str) -> Finding:
    from rdbench.commands.plan import open_plan
    from rdbench.storage.places import place

    whole = open_plan(place(where), wanted)  # raises where the folder holds another sweep
    files = [f"{variant.name} runs {variant.source}" for variant in wanted.variants if variant.source]
    counts = f"{len(whole.trials):,} trainings, {len(whole.done):,} done"
    return Finding("sweep", "; ".join([f"{wanted.name}: {counts}", *files]))


def _data(wanted: Sweep, root: paths.DataRoot) -> Iterator[Finding]:
    """Yield whether the data are there, and each metric; nothing is prepared or downloaded for it."""
    from rdbench import datasets
    from rdbench.commands.preflight import unmeasurable
    from rdbench.datasets.prepared import find

    name = wanted.dataset.name
    what, info = f"sweep: {name}", datasets.of(wanted.dataset)
    if info.source is not None:
        try:
            prepared = find(info, wanted.dataset, root)
        except UserError as error:
            row = problem(what, error)
            if info.download:
                row = replace(row, state="note", fix=f"a sweep tries to download them, or {row.fix}")
            yield row
            return
        if not prepared:
            yield Finding(what, "raw data there, prepared when the sweep starts")
            if wanted.metrics:
                fix = f"run 'rdbench data prepare {name}' first"
                yield Finding("sweep: metrics", "not checked before the data are prepared", "note", fix)
            return
    ready = datasets.load(wanted.dataset, root)
    counts = f"{len(ready.train.images):,} training and {len(ready.test.images):,} test images"
    yield Finding(what, "; ".join([f"ready: {counts}", *ready.notes]), "note" if ready.notes else "ok")
    missing = unmeasurable(wanted.metrics, ready, wanted.protocol)
    for metric in wanted.metrics:
        what = f"sweep: {metric.name}"
        yield problem(what, missing[metric]) if metric in missing else Finding(what, "can be measured")


def _precision(wanted: Sweep) -> Finding:
    from rdbench.numerics.precision import check_precision, resolve_device

    what, precision, device = "sweep: precision", wanted.train.precision, resolve_device("auto")
    try:
        check_precision(precision, device)
    except SpecError as error:
        return problem(what, error)
    if precision != "float32" and device == "cuda":
        import torch

        if torch.cuda.get_device_capability()[0] < 8:
            fix = "train.precision: float32 is as fast there, and exact"
            return Finding(what, f"{precision}, which this GPU has no units for", "note", fix)
    if precision == "bf16" and device == "cpu":
        return Finding(what, "bf16 on the CPU", "note", "float32 is faster on most CPUs, and exact")
    return Finding(what, f"{precision} on {'the GPU' if device == 'cuda' else 'the CPU'}")


def _resources(wanted: Sweep) -> Finding:
    import torch

    needs, gpus = wanted.resources, torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = f"cpus: {needs.cpus}, gpus: {needs.gpus}; here are {usable_cores()} and {gpus}"
    no_gpus = "use resources: {gpus: auto}, or join a cluster that has them by --address"
    few_cores = "threads that share cores are many times slower: use fewer resources.cpus"
    row = Finding("sweep: resources", found).graded(usable_cores(), (needs.cpus, "note", few_cores))
    return row if needs.gpus == "auto" else row.graded(gpus, (needs.gpus, "problem", no_gpus))
