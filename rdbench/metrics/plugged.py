"""Metrics of one's own, as a sweep file names them: ``metrics: [my_metric.py:sharpness]``.

The simplest is a function of what it names, which returns a number::

    def sharpness(reconstructions):
        '''Mean squared difference of neighbouring pixels.'''
        return (reconstructions[..., 1:] - reconstructions[..., :-1]).square().mean()

It may name any of :data:`rdbench.metrics.base.INPUTS`. It returns a number; one number for each image or
sample, stored as their mean with its standard error; or ``{quantity: either of these}``. Keyword-only
parameters are its options: ``{name: my_metric.py:sharpness, gamma: 2}``. Above it may stand
``@rdbench.metric(better="higher")``, for the arrows and verdicts of a report. What needs more is a
:class:`rdbench.metrics.base.Metric`, as rdbench's own are, named as ``my_metric.py:METRIC``.

A value is known by the hash of the files it was computed from, so an edited metric is measured anew.
"""

import ast
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import Field, model_serializer

from rdbench.errors import SpecError
from rdbench.metrics.base import (
    INPUTS,
    OF_IMAGES,
    Better,
    Metric,
    MetricOptions,
    Quantity,
    TrainedModel,
    Value,
)
from rdbench.registry import plugins
from rdbench.registry.declaration import Option
from rdbench.registry.imports import last_name
from rdbench.registry.plugins import OptionError, Plugin

if TYPE_CHECKING:
    from rdbench.datasets import Dataset

SAMPLES = 10_000
USAGE = f"a metric is a function of any of {', '.join(INPUTS)}"

Target = TypeVar("Target", bound=Callable[..., Any])


def metric(*, better: "Better | Mapping[str, Better | None] | None" = None) -> Callable[[Target], Target]:
    """Say of a metric of one's own which way is better; write plain values, as they are also read.

    Args:
        better: "lower" or "higher"; None for neither; or one for each quantity: ``{"mean": "higher"}``.
    """
    return lambda target: target


class PluggedOptions(MetricOptions):
    """What a sweep asks of a metric of one's own, settled.

    Attributes:
        name: the function's, or that of the METRIC.
        source: where it is: "package.module:thing" or "file.py:thing".
        code: the hash of the files it runs from; "" where they are gone and its values are only read.
        options: all of its options.
    """

    source: str = ""
    code: str = ""
    options: dict[str, Any] = Field(default_factory=dict)

    @model_serializer(mode="plain")
    def _as_written(self) -> dict[str, Any]:
        return {"name": self.source or self.name, **self.options}

    def settings(self) -> dict[str, Any]:
        """Return the options, and the hash of the code."""
        return {**self.options, **({"code": self.code} if self.code else {})}

    @property
    def readings(self) -> tuple[str, ...]:
        """The readings it is asked for, of a METRIC that has them."""
        return tuple(self.options.get("readings", ("",)))

    def __hash__(self) -> int:
        return hash((self.name, self.code, json.dumps(self.options, sort_keys=True)))

    def __eq__(self, other: object) -> bool:
        """Tell whether two ask for the same, wherever each was found."""
        if not isinstance(other, PluggedOptions):
            return NotImplemented
        return (self.name, self.code, self.options) == (other.name, other.code, other.options)


def settle(
    reference: str,
    given: Mapping[str, Any],
    folders: Sequence[Path],
    taken: Iterable[str],
    stored: bool = False,
) -> PluggedOptions:
    """Return what is asked of the metric that a reference names.

    OptionError, or pydantic's ValidationError, of a METRIC: an option; SpecError: all else that is wrong.

    Args:
        reference: as in a sweep file; a relative path may start from ``folders``.
        given: its options.
        folders: where to look for its file.
        taken: names of rdbench's own.
        stored: it is of a results folder, whose options are complete: nothing is run. Else a METRIC is, where
            a function is only read.
    """
    plugin = plugins.find("metric", reference, folders)
    if stored:
        name = _record_name(plugin)
        return PluggedOptions(name=name, source=plugin.source, code=plugin.code, options=dict(given))
    record = _record(plugin)
    name = record.name if record else plugin.symbol
    if wrong := plugins.clash("metric", name, [*taken]):
        raise SpecError(f"{plugin.line}: {wrong}")
    if record:
        options = record.options.model_validate_json(json.dumps({**given, "name": record.name}), strict=True)
        settled = options.settings()
    else:
        _check_inputs(plugin)
        _directions(plugin)
        shared, given = _counts(plugin), dict(given)
        if given.get("images") == "all" and "images" in shared:
            given["images"] = None
        settled = plugin.settled(given, shared)
    return PluggedOptions(name=name, source=plugin.source, code=plugin.code, options=settled)


def _check_inputs(plugin: Plugin) -> None:
    if plugin.inputs is None:
        raise SpecError(f"{plugin.line}: {plugin.symbol} is no function and no METRIC; {USAGE}")
    unknown = [name for name in plugin.inputs[: plugin.required] if name not in INPUTS]
    if unknown:
        fix = f"put * before it if it is an option ({plugin.symbol}(..., *, {unknown[0]}: float = 1.0))"
        raise SpecError(f"{plugin.line}: there is no input {unknown[0]!r}; {USAGE}; {fix}")
    if not any(name in INPUTS for name in plugin.inputs):
        raise SpecError(f"{plugin.line}: {plugin.symbol} looks at nothing; {USAGE}")


def _inputs(plugin: Plugin) -> list[str]:
    return [name for name in plugin.inputs or () if name in INPUTS]


def _counts(plugin: Plugin) -> dict[str, Option]:
    """Return the options that say how many images and samples a function is given."""
    counts = {}
    if any(name in OF_IMAGES for name in _inputs(plugin)):
        counts["images"] = Option(int, None, "the first so many test images; all or null", {"ge": 1})
    if "samples" in _inputs(plugin):
        meaning, bounds = "how many to draw from the prior", {"ge": 1, "le": 1_000_000}
        counts["samples"] = Option(int, SAMPLES, meaning, bounds)
    if shared := counts.keys() & plugin.options.keys():
        name = shared.pop()
        raise SpecError(f"{plugin.line}: {name!r} is how many {name} it is given; call the option otherwise")
    return counts


def _directions(plugin: Plugin) -> dict[str, "Better | None"]:
    """Return which way is better by quantity, as the decorator above a function says; "" is any other."""
    for decorator in getattr(plugin.node, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and last_name(decorator.func) == "metric":
            example = 'write @rdbench.metric(better="higher"), "lower", None, or {"quantity": "higher"}'
            try:
                given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in decorator.keywords}
            except ValueError:
                given = {"": None}
            better = given.pop("better", None)
            ways = better if isinstance(better, dict) else {"": better}
            if given or decorator.args or not {*ways.values()} <= {*get_args(Better), None}:
                raise SpecError(f"{plugin.path}:{decorator.lineno}: {example}")
            return ways
    return {"": None}


def _record(plugin: Plugin) -> Metric | None:
    """Return the METRIC that a plug-in is, its files run; None of a function."""
    if isinstance(plugin.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return None

    def check(thing: object) -> str | None:
        if not isinstance(thing, Metric):
            return f"{plugin.symbol} is no Metric; {USAGE}"
        written = _record_name(plugin)
        return None if thing.name == written else f'write its name as plain text: Metric("{thing.name}", ...)'

    record: Metric = plugins.runnable(plugin, check)
    return record


def _record_name(plugin: Plugin) -> str:
    """Return the name of a METRIC as its source has it, or the symbol of a function; nothing is run."""
    call = getattr(plugin.node, "value", None)
    if not isinstance(call, ast.Call):
        return plugin.symbol
    named = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
    return next((str(one.value) for one in named if isinstance(one, ast.Constant)), plugin.symbol)


def of(options: PluggedOptions) -> Metric:
    """Return the metric that is asked for; it is not measured where its source is gone or was edited."""
    try:
        plugin = _settled(options.source, options.code)
        record = _record(plugin)
    except SpecError as error:
        why = str(error) if options.source else f"the file of metric {options.name} is gone"
        quantities = (Quantity(options.name, None, positive=False),)
        return Metric(options.name, "", PluggedOptions, _never, quantities, missing=lambda *given: why)
    if record is None:
        return _of_function(plugin)

    def own(options: PluggedOptions) -> Any:
        return record.options.model_validate_json(json.dumps({**options.options, "name": record.name}))

    return Metric(
        record.name,
        record.summary,
        PluggedOptions,
        lambda options, model: record.compute(own(options), model),
        record.quantities,
        record.protocols,
        lambda options, data, protocol: record.missing(own(options), data, protocol),
        record.needs,
        lambda options, data: record.left_out(own(options), data),
    )


@functools.lru_cache(maxsize=64)
def _settled(source: str, code: str) -> Plugin:
    return plugins.settled("metric", source, code)


def _never(options: Any, model: TrainedModel) -> list[Value]:
    raise AssertionError("it was said to be missing")


def _of_function(plugin: Plugin) -> Metric:
    inputs, ways = _inputs(plugin), _directions(plugin)
    quantities = tuple(Quantity(name or plugin.symbol, way, positive=False) for name, way in ways.items())

    def missing(options: Any, data: "Dataset", protocol: str) -> str | None:
        if "labels" in inputs and data.test.labels is None:
            return f"{data.name} has no labels, which it is a function of; leave it out"
        return None

    def compute(options: PluggedOptions, model: TrainedModel) -> list[Value]:
        from rdbench.metrics.calling import call

        return call(plugins.runnable(plugin), plugin.symbol, inputs, options.options, model, ways)

    return Metric(
        plugin.symbol,
        plugin.summary,
        PluggedOptions,
        compute,
        quantities,
        protocols=("clean",) if any(name in OF_IMAGES for name in inputs) else ("clean", "paper"),
        missing=missing,
        needs=("prior",) if "samples" in inputs else (),
    )


def placed(options: MetricOptions, error: BaseException, trace: str) -> str:
    """Return a traceback whose last line, which users see first, says where in their own file it began."""
    if not isinstance(options, PluggedOptions):
        return trace
    try:
        plugin = _settled(options.source, options.code)
    except SpecError:
        return trace
    return f"{trace.rstrip()}\n{error if isinstance(error, SpecError) else plugin.mistake(error)}\n"


__all__ = ["INPUTS", "OptionError", "PluggedOptions", "metric", "of", "placed", "settle"]
