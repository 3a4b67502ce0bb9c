"""The public functions that do work: train a sweep, load one of its networks, write its report."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rdbench.commands.plan import open_plan
from rdbench.commands.results import Results, load_results
from rdbench.commands.status import default_results
from rdbench.errors import ResultsError, SpecError
from rdbench.report import make_report
from rdbench.spec.plan import Plan
from rdbench.spec.sweep import Sweep, load_sweep
from rdbench.storage import paths
from rdbench.storage.places import Place, place
from rdbench.trial.scheduler import RunOptions, Scheduler

if TYPE_CHECKING:
    from rdbench.spec.plan import Trial
    from rdbench.vae.models import Model
    from rdbench.vae.training import Epoch

PathLike = str | os.PathLike[str] | Place
FEW = 20  # trainings: so many run in this process, where starting Ray gains nothing
_NESTED = ("train", "model", "resources")  # an override names some of their settings


def run(
    sweep: Sweep | PathLike,
    results: PathLike | None = None,
    *,
    scheduler: Literal["auto", "serial", "ray"] = "auto",
    data: str | os.PathLike[str] | None = None,
    on_epoch: "Callable[[Trial, Epoch], None] | None" = None,
    **overrides: Any,
) -> Results:
    """Train what a sweep has left to do, as ``rdbench sweep`` does, and return its results.

    It needs no ``if __name__ == "__main__"``, and trains nothing twice.

    Args:
        sweep: a :class:`rdbench.Sweep`, a sweep file, or the name of a sweep that ships ("quickstart").
        results: the results folder or its address; default: ``results/<name>``.
        scheduler: "serial" trains one trial after another in this process, "ray" many at a time. "auto" is
            serial in a notebook, and for at most 20 trainings; else Ray.
        data: folder of the raw data; default: RDBENCH_DATA.
        on_epoch: called with the trial (its settings) and an :class:`rdbench.Epoch` as each epoch ends, of
            the epochs that this call trains. It is called in this process, so trials train one after
            another: "auto" is then serial, and "ray" refused. What it raises stops the run; called again,
            the trial goes on from its checkpoint.
        overrides: settings that replace the sweep's: ``run("quickstart", seeds=3, train={"epochs": 5})``.

    Returns:
        The results, also where trials or metrics failed: ``results.trials`` has their status and error, and
        what is missing is printed.

    Raises:
        UserError: as one line, what is wrong with the sweep, its data or its folder, and the fix.
    """
    from rdbench.commands.sweep import run_sweep
    from rdbench.trial.notebook import in_a_notebook, told

    if scheduler not in ("auto", "serial", "ray"):
        raise SpecError(f"scheduler {scheduler!r} is not known; use 'auto', 'serial' or 'ray'")
    if on_epoch and scheduler == "ray":
        raise SpecError(
            "on_epoch is called in this process, which Ray's workers cannot reach; use scheduler='serial', or"
            " read results.history when the trials have ended"
        )
    wanted = _overridden(sweep, overrides) if isinstance(sweep, Sweep) else _read(sweep, overrides)
    root = default_results(wanted) if results is None else place(results)
    whole = open_plan(root, wanted)
    few = wanted.search is None and len(whole.todo) <= FEW
    in_process = scheduler == "serial" or (scheduler == "auto" and (few or on_epoch or in_a_notebook()))
    options = RunOptions(None if data is None else paths.local(data))
    with told() as console:
        if in_process:
            with torch_as_it_was():
                account = run_sweep(whole, root, console, options, _serial(on_epoch))
        else:
            account = run_sweep(whole, root, console, options)
        for line in account.what_is_missing(root):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return load_results(root)


def plan(sweep: Sweep | PathLike, results: PathLike | None = None, **overrides: Any) -> Plan:
    """Return what :func:`run` would train, without training it: ``print(plan.summary())``, ``plan.todo``.

    Arguments and errors as of :func:`run`.
    """
    wanted = _overridden(sweep, overrides) if isinstance(sweep, Sweep) else _read(sweep, overrides)
    return open_plan(default_results(wanted) if results is None else place(results), wanted)


def _serial(on_epoch: "Callable[[Trial, Epoch], None] | None") -> Scheduler:
    from rdbench.numerics.precision import resolve_device
    from rdbench.trial.serial import SerialScheduler
    from rdbench.trial.worker import no_callback

    return SerialScheduler(resolve_device("auto"), on_epoch or no_callback)


@contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Restore what a trial sets for the whole process: the caller's own code goes on in it."""
    import torch

    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


def _read(file: PathLike, overrides: Mapping[str, Any]) -> Sweep:
    """Return a sweep file's sweep, with the overrides in place of what it says."""
    import json

    texts, written = [], {}
    for key, value in overrides.items():
        nested = key in _NESTED and isinstance(value, Mapping)
        for name, inner in {f"{key}.{n}": v for n, v in value.items()}.items() if nested else [(key, value)]:
            try:
                texts.append(f"{name}={json.dumps(inner)}")
            except (TypeError, ValueError):
                raise SpecError(f"{name}: {inner!r} is no text, number, list or dict; write one") from None
            written[texts[-1]] = "rdbench.run"
    return load_sweep(file, texts, written=written)


def _overridden(sweep: Sweep, overrides: Mapping[str, Any]) -> Sweep:
    """Return a sweep with other settings; those that it leaves to the dataset follow another dataset."""
    settings: dict[str, Any] = {name: getattr(sweep, name) for name in sweep.model_fields_set}
    for key, value in overrides.items():
        if key in _NESTED and isinstance(value, Mapping) and key in settings:
            value = {**settings[key].model_dump(mode="json", exclude_unset=True), **value}
        settings[key] = value
    return Sweep(**settings) if overrides else sweep


def load_model(
    results: Results | PathLike,
    trial: str,
    *,
    data: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> "Model":
    """Return the trained network of a trial, whose sweep had ``keep_weights: true``, in evaluation mode.

    Its methods: ``encode(images)`` gives the posterior's mean and log variance, each (batch, latent);
    ``sample(posterior, noise)`` latents; ``mean(decode(latents))`` images (batch, channels, height, width);
    ``model(images, noise)`` all of it as :class:`rdbench.Terms`; ``prior(count, generator)`` latents to draw
    new images from. ``noise`` is standard normal, (batch, latent).

    Args:
        results: the results, their folder or its address.
        trial: its id (or the beginning of it), or what the console calls it: "bs_vae beta 1 seed 0".
        data: folder of the raw data; read only for results that do not say how many images they rest on.
        device: "cpu", "cuda", or "auto" for the GPU if there is one.

    Raises:
        ResultsError: there is no such trial, or its network was not kept or is damaged.
        SpecError: there is no such device, or only the trial function could build the network.
    """
    from rdbench.commands.sample import find, load_network

    root = _root(results)
    found, name = find(root, trial)
    return load_network(root, found, name, paths.chosen_data_root(data), device)


def write_report(
    results: Results | PathLike | Sequence[Results | PathLike],
    out: PathLike = "report.html",
    title: str = "",
    reference: PathLike | Sequence[PathLike] = (),
) -> Path | Place:
    """Write the HTML page of one or more results, as ``rdbench report`` does, and return its place.

    Args:
        results: loaded results, results folders or addresses, one or a list.
        out: the file to write or replace.
        title: the page's heading; default: the names of the sweeps.
        reference: files of curves to show and compare with, one or a list, see
            :mod:`rdbench.report.references`.

    Raises:
        ResultsError: one is not a results folder, a curve's file is none, or ``out`` cannot be written.
    """
    several = [results] if isinstance(results, Results | str | os.PathLike | Place) else list(results)
    files = [reference] if isinstance(reference, str | os.PathLike | Place) else list(reference)
    return make_report([_root(one) for one in several], out, title, references=files)


def _root(results: Results | PathLike) -> Place:
    if isinstance(results, Results):
        return results.root
    try:
        return place(results)
    except TypeError:
        raise ResultsError(
            f"{results!r} is no results folder; give its path, or what run() returned"
        ) from None
