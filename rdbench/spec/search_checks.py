"""Whether a search, and early stopping, fit the rest of their sweep.

Checked as the file is read; every problem is placed at its key. What may be written at all is in
:mod:`rdbench.spec.search_options`.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rdbench import metrics
from rdbench.metrics.base import MetricOptions
from rdbench.metrics.plugged import PluggedOptions
from rdbench.numerics.likelihood import OWN
from rdbench.spec.errors import explained, fail, problems_at, wrong_type
from rdbench.spec.fields import Beta, option_value
from rdbench.spec.search_options import (
    MEASURES,
    OF_MODEL,
    OF_TRAINING,
    AshaStop,
    CurveSearch,
    MedianStop,
    OptunaSearch,
    PlateauStop,
    TargetSearch,
    constraint,
    direction,
    metric_of,
    needed_metrics,
    searched_type,
)
from rdbench.spec.settings import ModelSpec, SweepSettings, TrainSpec, fit_to_images
from rdbench.spec.yaml import kind
from rdbench.text import choose

# Beginnings of the measures of points that can be zero or less, where a logarithm has no place for them.
_NOT_POSITIVE = ("psnr", "elbo_", "distortion_")


def check_search(sweep: SweepSettings, *, stored: bool = False) -> None:
    """Refuse a search, or early stopping, that does not fit the rest of its sweep.

    ``stored``: it is of a results folder, to be read: what this machine lacks does not matter.
    """
    search, stop = sweep.search, sweep.stop
    with problems_at("stop"):
        if isinstance(stop, PlateauStop):
            _check_plateau(sweep, stop)
        elif stop:
            _check_peers(sweep, stop)
    if not search:
        return
    for index, variant in enumerate(sweep.variants):
        if (declaration := variant.declaration) is not None and declaration.curve:
            once = f"{variant.name} trains once for all betas, so there is nothing to search"
            fail(f"{once}; remove it here, or remove search", "variants", index)
    if sweep.dataset.validation and (needed := needed_metrics(search)):
        fix = "choose by rate, mse, psnr or an ELBO, or remove it"
        fail(
            f"the search goes by {min(needed)}, which is measured on test images; {fix}",
            "dataset",
            "validation",
        )
    with problems_at("search"):
        if isinstance(search, OptunaSearch):
            _check_optuna(sweep, search, stored)
        else:
            _check_start_grid(sweep, search)


def _check_start_grid(sweep: SweepSettings, search: CurveSearch | TargetSearch) -> None:
    if isinstance(search, CurveSearch):
        _check_plane(search.plane, sweep.metrics)
    variants, betas, seeds = len(sweep.variants), len(sweep.beta), len(sweep.seeds)
    if betas < 2:
        fail("the sweep names one beta; give the ends of the range to search: beta: [0.01, 100]")
    if search.trials is not None and search.trials < variants * betas * seeds:
        need = f"{variants * betas * seeds} for the start grid ({variants} x {betas} x {seeds})"
        fail(f"{search.trials} trials are fewer than {need}; allow more, or name fewer betas", "trials")


def check_measure(measure: str, asked: Sequence[MetricOptions], *path: str | int) -> None:
    """Refuse the name of a measure that the sweep's trials will not have, or will have two of."""
    ours = [each for each in asked if not isinstance(each, PluggedOptions)]
    own = [name for each in ours for name in metrics.get(each.name).value_names(each)]
    plugged = [each.name for each in asked if isinstance(each, PluggedOptions)]
    if ":" in measure or any(f"{measure}_".startswith(f"{name}_") for name in plugged):
        fail(f"a search cannot rest on a metric of your own, {measure!r}; name one of rdbench's", *path)
    if own.count(measure) > 1:
        twice = f"{metric_of(measure)} is asked for with different settings, so there are two {measure}"
        fail(f"{twice}; keep one of them in metrics", *path)
    if measure in MEASURES or measure in own:
        return
    known = list(dict.fromkeys([*(name for name in MEASURES if not name.endswith(f"_{OWN}")), *own]))
    if f"{measure}_optimal_shared" in MEASURES:
        fail(f"no measure named {measure!r}; did you mean '{measure}_optimal_shared'?", *path)
    metric = measure if measure in metrics.names() else metric_of(measure)
    if metric and metric not in [each.name for each in asked]:
        fail(f"metric {metric!r} is not measured; add it: metrics: [{metric}]", *path)
    # A metric of several values, or a value that the metric is not asked for.
    near = [name for name in known if metric and metric_of(name) == metric]
    fix = f"choose from {', '.join(near)}" if near else choose(measure, known)
    fail(f"no measure named {kind(measure)}; {fix}", *path)


def _check_plane(plane: Sequence[str], asked: Sequence[MetricOptions]) -> None:
    axes = [name.removeprefix("log_") for name in plane]
    for index, (name, measure) in enumerate(zip(plane, axes, strict=True)):
        check_measure(measure, asked, "plane", index)
        quantity = metrics.quantity(measure)
        positive = quantity.positive if quantity else not measure.startswith(_NOT_POSITIVE)
        if name != measure and not positive:
            fail(f"{measure} can be zero or less, and has no logarithm then; write {measure}", "plane", index)
        if measure in axes[:index]:
            fail(f"{measure!r} is there twice; name another measure", "plane", index)


def _check_optuna(sweep: SweepSettings, search: OptunaSearch, stored: bool) -> None:
    for index, name in enumerate(search.objective):
        check_measure(name, sweep.metrics, "objective", index)
        if direction(name) is None:
            fail(f"of {name!r} neither more nor less is better; choose another", "objective", index)
        if name in search.objective[:index]:
            fail(f"{name!r} is there twice; remove one of them", "objective", index)
    for index, text in enumerate(search.constraints):
        check_measure(constraint(text).measure, sweep.metrics, "constraints", index)
    if search.sampler == "cmaes" and len(search.objective) > 1:
        fail("cmaes has one objective; use sampler: nsgaii or tpe", "sampler")
    if search.sampler == "cmaes" and not stored and importlib.util.find_spec("cmaes") is None:
        fail("cmaes needs the package cmaes; run 'uv pip install cmaes', or use tpe", "sampler")
    _check_space(sweep, search)


def _check_space(sweep: SweepSettings, search: OptunaSearch) -> None:
    """Check the names that are searched, the number of trials, then every value that is searched."""
    options = _option_types(sweep)
    known = ["beta", *OF_TRAINING, *OF_MODEL, *options]
    for name in search.over:
        if name not in known:
            fail(f"no setting named {kind(name)}; {choose(name, known)}", "over", name)
    if not search.over and len(sweep.beta) == len(sweep.variants) == 1:
        fail("there is nothing to search; add over: {lr: [1e-4, 1e-2]}, or a second beta")
    seeds = len(sweep.seeds)
    if search.trials < seeds:
        fail(f"one proposal trains {seeds} seeds; allow {seeds} trials or more", "trials")
    for name, given in search.over.items():
        _check_range(name, given, searched_type(name, options), lambda key, v: _with_value(sweep, key, v))


def _option_types(sweep: SweepSettings) -> dict[str, type]:
    return {name: type(value) for variant in sweep.variants for name, value in variant.options.items()}


def _with_value(sweep: SweepSettings, name: str, value: Any) -> object:
    """Return the part of the settings that ``name`` belongs to, with another value."""
    if name == "beta":
        return TypeAdapter(Beta).validate_python(value)
    if name in TrainSpec.model_fields:
        return TrainSpec.model_validate(sweep.train.model_dump() | {name: value})
    if name in ModelSpec.model_fields:
        model = ModelSpec.model_validate(sweep.model.model_dump() | {name: value})
        return fit_to_images(model, sweep.dataset)
    for variant in sweep.variants:
        if (declaration := variant.declaration) and name in declaration.options:
            option_value(value, declaration.options[name], name)
    return value


def _check_range(name: str, given: Any, expected: type, rebuild: Callable[[str, Any], object]) -> None:
    at: tuple[str | int, ...] = ("over", name)
    values = given
    if isinstance(given, dict):
        at, values = (*at, "choices"), given["choices"]
        if len(values) < 2:
            fail("one choice is nothing to search; name two or more, or set it outside of search", *at)
    if expected is tuple and {int} <= {type(value) for value in values} <= {int, list}:
        widths = [[value] if type(value) is int else value for value in values[:4]]
        shown = ", ".join(map(str, widths)) + (", ..." if len(values) > 4 else "")
        fail(f"each choice of {name} is a list of widths; write {{choices: [{shown}]}}", "over", name)
    if not isinstance(given, dict) and expected not in (int, float):
        fail(f"{name} is no number; write {{choices: [...]}}", "over", name)
    seen = []
    for index, value in enumerate(values):
        typed = float(value) if expected is float and type(value) is int else value
        typed = tuple(typed) if isinstance(typed, list) else typed
        if type(typed) is not expected:
            fail(wrong_type(value, expected.__name__), *at, index)
        if typed in seen:
            shown = str(value) if isinstance(value, list) else kind(value)
            fail(f"{shown} is there twice; remove one of them", *at, index)
        seen.append(typed)
        try:
            rebuild(name, value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            fail(explained(first), *at, index, *first["loc"][1:])


def _check_plateau(sweep: SweepSettings, stop: PlateauStop) -> None:
    if len(sweep.seeds) > 1 and not isinstance(sweep.search, OptunaSearch):
        kept = "plateau would keep the seeds that go on improving, and bias their mean"
        fail(f"{kept}; name one seed: seeds: [0], or remove stop")
    if "epochs" not in sweep.searched:
        epochs = sweep.grid.get("train.epochs", [sweep.train.epochs])
        _check_shorter("patience", stop.patience, min(epochs))


def _check_peers(sweep: SweepSettings, stop: MedianStop | AshaStop) -> None:
    """Refuse to judge trials by their peers where none have any, or they do not compare."""
    search, over = sweep.search, sweep.searched
    if "epochs" in over:
        fail(f"{stop.name} compares losses epoch by epoch, so epochs cannot be searched; remove it from over")
    if not isinstance(search, OptunaSearch) or over.keys().isdisjoint((*OF_TRAINING, *OF_MODEL)):
        fail(
            f"{stop.name} judges trials of one variant and beta that differ in training or network, and there"
            " are none; search some: search: {name: optuna, over: {lr: [1e-4, 1e-2]}}, or use stop: plateau"
        )
    if isinstance(over["beta"], list) if "beta" in over else len(sweep.beta) > 1:
        fail(
            f"{stop.name} judges trials of one beta, and a range of betas has hardly two alike; name one"
            " beta, or over: {beta: {choices: [...]}}, or use stop: plateau"
        )
    options = _option_types(sweep)
    if ranges := [name for name in over if name in options and isinstance(over[name], list)]:
        fail(
            f"{stop.name} judges trials of equal options, and a range of {ranges[0]} has hardly two alike;"
            f" write over: {{{ranges[0]}: {{choices: [...]}}}}, or use stop: plateau"
        )
    # A batch is judged by those before it.
    if 1 <= search.trials // len(sweep.seeds) <= search.at_a_time:
        fail(
            f"{stop.name} judges trials by those that ended before they were proposed, and {search.at_a_time}"
            f" at a time propose all {search.trials} trials at once; lower at_a_time, or allow more trials"
        )
    _check_shorter("grace", stop.grace, sweep.train.epochs)


def _check_shorter(name: str, given: int | None, epochs: int) -> None:
    if given is not None and given >= epochs:
        none = f"{given} is not less than train.epochs, {epochs}, so no trial would be stopped"
        fail(f"{none}; use less, or leave it out", name)
