"""The registry of proxy metrics: one file a metric in this folder, which its name is read from.

May import ``datasets``, ``registry`` and what is below. Start with ``base``, then ``latents``, a short one.

A metric is a number about a trained model besides its rate and distortion. Its file holds one
:class:`Metric`: what a sweep file may ask of it, and the function that measures it. A sweep file is validated
without torch, so a metric's file imports torch within ``compute`` only.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import math
import pkgutil
import traceback
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rdbench.errors import SpecError, StorageError, UserError, lacking
from rdbench.metrics import plugged, stored
from rdbench.metrics.base import (
    NEEDS,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
    undefined_value,
    value_name,
)
from rdbench.metrics.failures import TRIES, way
from rdbench.metrics.features.own import OwnFeatures
from rdbench.metrics.plugged import PluggedOptions
from rdbench.registry import plugins
from rdbench.registry.plugins import Plugin
from rdbench.text import choose

if TYPE_CHECKING:
    from rdbench.datasets import Dataset


def needs_inception(asked: MetricOptions) -> bool:
    """Tell whether a metric looks at images through Inception, under these options."""
    return "weights" in type(asked).model_fields and getattr(asked, "features", "inception") == "inception"


def own_features(asked: MetricOptions) -> OwnFeatures | None:
    """Return the feature network of the user's own that a metric looks through; None if it has none."""
    features = getattr(asked, "features", None)
    return features if isinstance(features, OwnFeatures) else None


def plugin_of(asked: MetricOptions) -> Plugin | None:
    """Return what a metric runs that is the user's own code: itself, or its features; None if nothing.

    SpecError: it was edited since the sweep was read.
    """
    if isinstance(asked, PluggedOptions):
        return plugins.settled("metric", asked.source, asked.code) if asked.code else None
    own = own_features(asked)
    return own.plugin if own and own.code and not own.is_script else None


@functools.cache
def _quantities() -> dict[str, Quantity]:
    return {value_name(name, one.name, None): one for name in names() for one in get(name).quantities}


def quantity(measure: str) -> Quantity | None:
    """Return what a metric's value is, by its name: ``fid``, ``prdc_recall``, ``iwae_half_2``.

    It may end in a reading, and in a number that tells two measures apart. None: no metric has such a value.
    """
    known = [name for name in _quantities() if f"{measure}_".startswith(f"{name}_")]
    return _quantities()[max(known, key=len)] if known else None


_MODULES = {"coded": "constriction", "bits_back": "constriction", "reconstruction": "torchmetrics"}
"""What a metric needs of the extra ``metrics``; what looks through Inception needs clean-fid."""


def missing(options: MetricOptions, data: "Dataset", protocol: str) -> str | None:
    """Return what keeps a metric from being measured here, with the fix, in one line; None for nothing."""
    module = _MODULES.get(options.name) or ("cleanfid" if needs_inception(options) else "")
    lacks = lacking("metrics", module) if module else ""
    return lacks or of(options).missing(options, data, protocol)


# Beside the metrics in this folder.
_SHARED = ("base", "calling", "failures", "features", "plugged", "stored")

_OF_VALUES = {"variance", "lower", "upper", "without_error", "test_accuracy", "kl_by_latent"}
_OF_VALUES |= {"curve", "ess", "acceptance", "at_slope", "prior"}
FINDINGS = _OF_VALUES | {"bound", "versions", "warning", "error", "failures", "undefined", "better"}
"""Settings of a value that were measured rather than asked for: values that differ in them alone compare."""

SIGNS = {"lower": "≥", "upper": "≤"}
"""How a value is written that is a bound of what it measures."""

PACKAGES = ("torch", "torchvision", "clean-fid", "torchmetrics", "scipy")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that metrics are computed with."""
    known = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of an extra
            known[package] = importlib.metadata.version(package)
    return known


def names() -> list[str]:
    """Return the names a sweep file may use, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _SHARED)


def get(name: str) -> Metric:
    """Return the metric ``name``. Raises SpecError if there is none."""
    if name not in names():
        raise SpecError(f"unknown metric {name!r}; {choose(name, names())}")
    metric: Metric = importlib.import_module(f"{__name__}.{name}").METRIC
    return metric


@functools.cache
def unit(name: str, quantity: str) -> str | None:
    """Return the unit of a quantity of a metric of this folder; None for a pure number, and of any other."""
    return stored.unit(get(name).quantities, quantity) if name in names() else None


def of(asked: MetricOptions) -> Metric:
    """Return the metric that is asked for: one of this folder, or one of the user's own."""
    return plugged.of(asked) if isinstance(asked, PluggedOptions) else get(asked.name)


def sign(name: str, settings: dict[str, Any], error: float | None) -> str:
    """Return "≥" or "≤" for a value that is known as a bound only, else "".

    Args:
        name: the metric's.
        settings: of the value's row.
        error: its standard error; None or NaN where it has none.
    """
    from rdbench.metrics import latents

    error = None if error is None or math.isnan(error) else error
    kind = latents.bound(settings, error) if name == "latents" else str(settings.get("bound", ""))
    return SIGNS.get(kind, "")


def rows(asked: Iterable[MetricOptions], model: TrainedModel) -> list[dict[str, Any]]:
    """Measure a model and return rows of the ``metrics`` table.

    A metric that raises, or whose value is not finite, leaves one row whose value is null, with the traceback
    as ``error`` among its settings, and the number of ``failures``. Unless the machine or the user's settings
    are at fault, it is tried again at once, while the model is in memory. StorageError: the results cannot be
    written now.
    """
    return [_row(options, value, model.protocol) for options in asked for value in _measure(options, model)]


def undefined(asked: Iterable[MetricOptions], protocol: str, why: str) -> list[dict[str, Any]]:
    """Return rows of the ``metrics`` table that say why metrics have no meaning for a trial."""
    return [_row(options, undefined_value(why), protocol) for options in asked]


def failed(asked: Iterable[MetricOptions], protocol: str, error: str) -> list[dict[str, Any]]:
    """Return rows of the ``metrics`` table that say what kept metrics from being measured this time."""
    return [_row(options, _failure(error), protocol) for options in asked]


def _failure(error: str, failures: int = 1) -> Value:
    return Value(None, settings={"error": error, "failures": failures})


def _row(options: MetricOptions, value: Value, protocol: str) -> dict[str, Any]:
    known = replace(value, settings=value.settings | {"versions": versions()})
    asked = _asked(options, value.settings)
    return stored.row(options.name, known, asked, of(options).quantities, protocol)


def _measure(options: MetricOptions, model: TrainedModel, known: str = "") -> list[Value]:
    from rdbench.errors import of_the_machine

    metric = of(options)
    try:
        if reason := missing(options, model.data, model.protocol):
            return [_failure(reason)]  # of this machine: where trials start, it was asked before
        for need in metric.needs:
            if need in model.lacks:
                return [undefined_value(f"it has no {NEEDS[need]}")]
        return _finite(metric.compute(options, model), options)
    except StorageError:
        raise  # its state cannot be kept as the user asks to stop: nor could a row be
    except Exception as error:
        text = plugged.placed(options, error, traceback.format_exc())
        if isinstance(error, UserError) or of_the_machine(error):
            return [_failure(text)]
    if known and way(known) == way(text):
        return [_failure(text, TRIES)]
    return [_failure(text)] if known else _measure(options, model, text)


def _finite(values: list[Value], options: MetricOptions) -> list[Value]:
    """Return values, or raise ValueError for one that has a meaning and is not finite."""
    for value in values:
        if value.settings.get("undefined", False):
            continue
        if value.value is None or not math.isfinite(value.value):
            raise ValueError(f"{options.name} is {value.value} with {value.settings}")
    return values


def of_quantity(name: str, quantity: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return those settings of the metric ``name`` that a value of one quantity rests on.

    Options of other quantities alone (:attr:`Quantity.options`) are left out; none are for ``quantity`` None,
    which stands for a row without a value.
    """
    if quantity is None or name not in names():
        return settings
    known = get(name).quantities
    own = {option for one in known if one.name == quantity for option in one.options}
    others = {option for one in known for option in one.options} - own
    return {option: value for option, value in settings.items() if option not in others}


def _asked(options: MetricOptions, settings: dict[str, Any]) -> dict[str, Any]:
    return of_quantity(options.name, settings.get("quantity"), options.settings())


def _own_quantities(asked: MetricOptions) -> tuple[Quantity, ...]:
    """Return the quantities of one of rdbench's own; of the user's none, as that could run their code."""
    return () if isinstance(asked, PluggedOptions) else get(asked.name).quantities


def answers(asked: MetricOptions, row: dict[str, Any]) -> bool:
    """Tell whether a row of the ``metrics`` table is about what is asked."""
    return row["name"] == asked.name and _answers(asked, stored.settings(row))


def _answers(asked: MetricOptions, settings: dict[str, Any], complete: bool = True) -> bool:
    """Tell whether a row's settings are what is asked.

    Not ``complete``: a row from before an option was there answers whatever that asks for, and one of fewer
    readings is enough, as there once were fewer.
    """
    wanted = _asked(asked, settings)
    if not complete and (later := asked.before.keys() - asked.omitted - settings.keys()):
        wanted = {name: value for name, value in wanted.items() if name not in later}
        if not set(settings.get("readings", ())) <= set(wanted.pop("readings", ())):
            return False
    if "quantity" not in settings:  # a failure may be older than an option of some quantities
        of_some = {option for one in _own_quantities(asked) for option in one.options}
        wanted = {name: value for name, value in wanted.items() if name in settings or name not in of_some}
    as_before = {name: asked.before[name] for name in asked.omitted}
    return {**as_before, **wanted}.items() <= {**asked.before, **settings}.items()


def is_measured(
    asked: MetricOptions, rows: Iterable[dict[str, Any]], or_failed: bool = False, complete: bool = False
) -> bool:
    """Tell whether rows of the ``metrics`` table of one trial hold what is asked.

    A row without a value does not count, as its cause may have been fixed, unless the metric has no meaning
    for the variant; with ``or_failed``, one counts too that failed in the same way so often that it is given
    up. A quantity, option or reading that the metric had not when the trial was measured is lacking with
    ``complete`` only: it is no reason to train again.
    """
    of_it = [(row, stored.settings(row)) for row in rows if row["name"] == asked.name]
    valued = False
    for row, settings in of_it:
        if _answers(asked, settings, complete):
            given_up = or_failed and settings.get("failures", 0) >= TRIES
            if settings.get("undefined", False) or given_up:
                return True
            valued = valued or row["value"] is not None
    return valued and not _other_options(asked, [settings for _, settings in of_it], complete)


def _other_options(asked: MetricOptions, rows: Iterable[dict[str, Any]], complete: bool) -> bool:
    """Tell whether a quantity with options of its own was measured under others only, or not ``complete``."""
    for quantity in _own_quantities(asked):
        wanted = of_quantity(asked.name, quantity.name, asked.settings())
        alike = {option: value for option, value in wanted.items() if option not in quantity.options}
        of_it = [row for row in rows if row.get("quantity") == quantity.name and alike.items() <= row.items()]
        answered = any(wanted.items() <= row.items() for row in of_it)
        if quantity.options and not answered and (complete or of_it):
            return True
    return False
