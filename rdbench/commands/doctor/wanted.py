"""What one sweep needs of this machine: its data, metrics, arithmetic, GPUs and folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rdbench.commands.doctor import folders
from rdbench.commands.doctor.finding import Finding, State
from rdbench.errors import SpecError, UserError
from rdbench.machine import usable_cores
from rdbench.spec.sweep import Sweep, load_sweep
from rdbench.storage import paths


def sweep(
    spec: str | Path, overrides: Iterable[str], data: Path | None, results: str | None
) -> Iterator[Finding]:
    """Yield what a sweep file asks for, and whether it is to be had here."""
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
    files = [f"{each.name} runs {each.source}" for each in wanted.variants if each.source]
    counts = f"{len(whole.trials):,} trainings, {len(whole.done):,} done"
    return Finding("sweep", "; ".join([f"{wanted.name}: {counts}", *files]))


def _data(wanted: Sweep, root: paths.DataRoot) -> Iterator[Finding]:
    """Yield whether the data are there, and each metric; nothing is prepared or downloaded for it."""
    from rdbench import datasets
    from rdbench.commands.preflight import unmeasurable
    from rdbench.datasets.prepared import find

    name = wanted.dataset.name
    what, info = f"sweep: {name}", datasets.get(name)
    if info.source is not None:
        try:
            prepared = find(info, wanted.dataset, root)
        except UserError as error:
            found, _, mend = str(error).partition("; ")
            state: State = "note" if info.download else "problem"
            also = "a sweep tries to download them, or " if info.download else ""
            yield Finding(what, found, state, f"{also}{mend}")
            return
        if not prepared:
            yield Finding(what, "raw data there, prepared when the sweep starts")
            if wanted.metrics:
                mend = f"after 'rdbench data prepare {name}' doctor looks at them too"
                yield Finding("sweep: metrics", "not looked at before the data are prepared", "note", mend)
            return
    ready = datasets.load(wanted.dataset, root)
    counts = f"{len(ready.train.images):,} training and {len(ready.test.images):,} test images"
    remarks = "; ".join(ready.notes)
    yield Finding(what, f"ready: {counts}{'; ' if remarks else ''}{remarks}", "note" if remarks else "ok")
    missing = unmeasurable(wanted.metrics, ready, wanted.protocol)
    for asked in wanted.metrics:
        found, _, mend = missing.get(asked, "can be measured").partition("; ")
        yield Finding(f"sweep: {asked.name}", found, "problem" if asked in missing else "ok", mend)


def _precision(wanted: Sweep) -> Finding:
    from rdbench.numerics.precision import check_precision, resolve_device

    what, precision, device = "sweep: precision", wanted.train.precision, resolve_device("auto")
    try:
        check_precision(precision, device)
    except SpecError as error:
        found, _, mend = str(error).partition("; ")
        return Finding(what, found, "problem", mend)
    if precision != "float32" and device == "cuda":
        import torch

        if torch.cuda.get_device_capability()[0] < 8:
            mend = "train.precision: float32 is as fast there, and exact"
            return Finding(what, f"{precision}, which this GPU has no units for", "note", mend)
    if precision == "bf16" and device == "cpu":
        return Finding(what, "bf16 on the CPU", "note", "float32 is faster on most CPUs, and exact")
    return Finding(what, f"{precision} on {'the GPU' if device == 'cuda' else 'the CPU'}")


def _resources(wanted: Sweep) -> Finding:
    import torch

    asked, gpus = wanted.resources, torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = f"cpus: {asked.cpus}, gpus: {asked.gpus}; here are {usable_cores()} and {gpus}"
    if asked.gpus != "auto" and asked.gpus > gpus:
        mend = "use resources: {gpus: auto}, or join a cluster that has them by --address"
        return Finding("sweep: resources", found, "problem", mend)
    if asked.cpus > usable_cores():
        mend = "threads that share cores are many times slower: use fewer resources.cpus"
        return Finding("sweep: resources", found, "note", mend)
    return Finding("sweep: resources", found)
