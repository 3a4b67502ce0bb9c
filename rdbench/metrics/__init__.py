"""The registry of proxy metrics: one file a metric in this folder, named after it.

A metric is a number about a trained model besides its rate and distortion. Its file holds one
:class:`Metric`: what a sweep file may ask of it, and the function that measures it::

    METRIC = Metric("iwae", "the importance-weighted bound", IwaeOptions, compute)

The names are read from the folder. A sweep file is validated without torch, so a metric's file imports
torch within ``compute`` only.
"""

import functools
import importlib
import importlib.metadata
import json
import math
import pkgutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from rdbench import paths
from rdbench.errors import SpecError, UserError, choose
from rdbench.failures import TRIES, way

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from rdbench.datasets import Dataset


Better = Literal["lower", "higher"]


class MetricOptions(BaseModel):
    """What a sweep may say about any metric; a metric's own class adds its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str

    def settings(self) -> dict[str, Any]:
        """Return the options but for the name, as JSON values."""
        return self.model_dump(mode="json", exclude={"name"})


def _all(value: object) -> object:
    return None if value == "all" else value


ImageCount = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_all)]
"""The first so many test images; ``all`` or null for every one."""


def _of_inception(value: object, info: ValidationInfo) -> object:
    """Settle a path here, as workers run in another folder; refuse one that would go unused.

    It is looked for beside the sweep file, then in the working directory.
    """
    if not isinstance(value, str | Path):
        return value
    if info.data.get("features", "inception") != "inception":
        raise ValueError("these are weights of Inception; use features: inception, or leave weights out")
    context = info.context or {}
    try:
        tried = paths.candidates(value, () if context.get("stored") else context.get("folders", ()))
    except UserError as error:
        raise ValueError(str(error)) from None
    found = next((path for path in tried if path.exists()), tried[0])
    if str(found) != paths.as_text(found):
        raise ValueError("the path is not UTF-8, which results are; link to the file from another place")
    return str(found) if info.mode == "json" else found  # what strict takes for a path


InceptionWeights = Annotated[Path | None, BeforeValidator(_of_inception)]
"""A local file of weights, in place of the published ones. A class declares it after its ``features``."""


def needs_inception(asked: MetricOptions) -> bool:
    """Tell whether a metric looks at images through Inception, under these options."""
    return "weights" in type(asked).model_fields and getattr(asked, "features", "inception") == "inception"


@dataclass(frozen=True)
class TrainedModel:
    """What a metric may look at: a trained network in evaluation mode, and the images it is tested on.

    Attributes:
        encode: images (batch, channels, height, width) -> mean and log variance of q(z|x), (batch, latent).
        decode: latents (batch, latent) -> the decoder's mean, shaped as images.
        latent: size of a latent.
        data: the dataset, as it is stored.
        test_images: indices (batch,) -> these test images as they are, float32 on ``device``.
        n_test: how many test images there are.
        test_sse: squared error of the test images as the trial measured it, which the reading
            ``optimal_shared`` takes its variance from.
        beta: the trial's.
        seed: the trial's.
        protocol: the trial's.
        device: where the network is.
        prior: (count, generator) -> latents of p(z), (count, latent); None: standard normal.
        reconstruct: (images, standard normal noise (batch, latent)) -> the decoder's mean at a sample of
            q(z|x); None: of the Gaussian posterior that ``encode`` gives.
        lacks: what the model has not got of :data:`NEEDS`.
    """

    encode: "Callable[[Tensor], tuple[Tensor, Tensor]]"
    decode: "Callable[[Tensor], Tensor]"
    latent: int
    data: "Dataset"
    test_images: "Callable[[Tensor], Tensor]"
    n_test: int
    test_sse: "npt.NDArray[np.float64]"
    beta: float
    seed: int
    protocol: str
    device: "torch.device"
    prior: "Callable[[int, torch.Generator], Tensor] | None" = None
    reconstruct: "Callable[[Tensor, Tensor], Tensor] | None" = None
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Value:
    """One measured number.

    Attributes:
        value: the number.
        standard_error: its own, null where it has none.
        settings: what tells it from the metric's other values, and what else a reader should know.
        feature_hash: of the weights of a feature network, where one was used.
    """

    value: float | None
    standard_error: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    feature_hash: str | None = None


def mean_value(per_image: "Tensor", **settings: Any) -> Value:
    """Return the mean over images as a value, with its standard error where there are two images or more.

    Args:
        per_image: float64 (images,).
        settings: of the value; ``n_images`` is added, where it is not among them.
    """
    count = len(per_image)
    error = float(per_image.std() / math.sqrt(count)) if count > 1 else None
    return Value(float(per_image.mean()), error, {**settings, "n_images": settings.get("n_images", count)})


NEEDS = {
    "gaussian": "diagonal Gaussian posterior with a standard normal prior",
    "prior": "prior to sample from",
}
"""What a metric may rest on that not every model has: a name, and how a reader is told."""


@dataclass(frozen=True)
class Metric:
    """A proxy metric.

    Attributes:
        name: what a sweep file calls it.
        summary: what it is, in one line.
        options: the class of its options.
        compute: takes an instance of ``options`` and the model; returns one value or more.
        protocols: those it has a meaning under.
        missing: takes options, the dataset and the protocol, and returns what the metric needs and this
            machine or that dataset lacks, with the mend, in one line; None if it can be measured. Asked
            before anything is trained; imports no torch.
        needs: what it rests on, of :data:`NEEDS`.
        better: which way each of its quantities is better, by the ``quantity`` of its settings, or by the
            metric's name where a value names none. What is not listed is neither.
        neither: its quantities that are not listed there.
        no_percent: those of which a change in per cent says nothing: their zero depends on the unit, or they
            lie about it.
        not_positive: those that can be zero or less, and then have no logarithm.

    Raises:
        ValueError: one of the last two names a quantity that it has not.
    """

    name: str
    summary: str
    options: type[MetricOptions]
    compute: Callable[[Any, TrainedModel], list[Value]]
    protocols: tuple[str, ...] = ("clean", "paper")
    missing: "Callable[[Any, Dataset, str], str | None]" = lambda options, data, protocol: None
    needs: tuple[str, ...] = ()
    better: Mapping[str, Better] = field(default_factory=dict)
    neither: tuple[str, ...] = ()
    no_percent: tuple[str, ...] = ()
    not_positive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := {*self.no_percent, *self.not_positive} - {*self.better, *self.neither}:
            raise ValueError(f"metric {self.name} has no {', '.join(sorted(unknown))}")

    def value_names(self, options: MetricOptions) -> dict[str, Better | None]:
        """Return the names of the values it may have under some options, and which way each is better."""
        quantities = dict(self.better) | dict.fromkeys(self.neither)
        readings = getattr(options, "readings", ("",))
        return {
            value_name(self.name, each, reading): way
            for each, way in quantities.items()
            for reading in readings
        }


def value_name(name: str, quantity: str | None, reading: str | None) -> str:
    """Return what a value of a metric is called: ``fid``, ``prdc_recall``, ``iwae_half``."""
    return "_".join(dict.fromkeys(part for part in (name, quantity, reading) if part))


def better(name: str, quantity: str) -> Better | None:
    """Return which way a metric's quantity is better; None where neither way is, or the name is not known."""
    return get(name).better.get(quantity) if name in names() else None


@functools.cache
def beginnings(of: Literal["no_percent", "not_positive"]) -> tuple[str, ...]:
    """Return how the names of all metrics' values begin that are declared so; a reading may follow."""
    return tuple(value_name(name, quantity, None) for name in names() for quantity in getattr(get(name), of))


FINDINGS = frozenset(
    {
        "variance",
        "lower",
        "upper",
        "warning",
        "without_error",
        "test_accuracy",
        "versions",
        "error",
        "failures",
        "undefined",
    }
)
"""Settings of a value that were found rather than asked for: values that differ in them alone compare."""

PACKAGES = ("torch", "torchvision", "clean-fid", "torchmetrics", "scipy")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the libraries that metrics are computed with."""
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def names() -> list[str]:
    """Return the names a sweep file may use, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Metric:
    """Return the metric ``name``.

    Raises:
        SpecError: there is no such metric.
    """
    if name not in names():
        raise SpecError(f"unknown metric {name!r}; {choose(name, names())}")
    metric: Metric = importlib.import_module(f"{__name__}.{name}").METRIC
    return metric


def rows(asked: Iterable[MetricOptions], model: TrainedModel) -> list[dict[str, Any]]:
    """Measure a model and return rows of the ``metrics`` table.

    A metric that raises, or whose value is not finite, must not cost the trial: it leaves one row whose
    value is null, with the traceback as ``error`` among its settings, and the number of ``failures``. Unless
    it is the machine's fault, or the user's to mend, it is tried again at once, while the model is there.
    """
    return [_row(options, value, model.protocol) for options in asked for value in _measure(options, model)]


def undefined(asked: Iterable[MetricOptions], protocol: str, why: str) -> list[dict[str, Any]]:
    """Return rows of the ``metrics`` table that say why metrics have no meaning for a trial."""
    value = Value(None, settings={"error": f"not defined for this variant: {why}", "undefined": True})
    return [_row(options, value, protocol) for options in asked]


def failed(asked: Iterable[MetricOptions], protocol: str, error: str) -> list[dict[str, Any]]:
    """Return rows of the ``metrics`` table that say what kept metrics from being measured this time."""
    return [_row(options, _failure(error), protocol) for options in asked]


def _failure(error: str, failures: int = 1) -> Value:
    return Value(None, settings={"error": error, "failures": failures})


def _row(options: MetricOptions, value: Value, protocol: str) -> dict[str, Any]:
    return {
        "name": options.name,
        "value": value.value,
        "standard_error": value.standard_error,
        "settings": json.dumps(options.settings() | value.settings | {"versions": versions()}),
        "feature_hash": value.feature_hash,
        "protocol": protocol,
    }


def _measure(options: MetricOptions, model: TrainedModel, known: str = "") -> list[Value]:
    from rdbench import faults

    metric = get(options.name)
    try:
        if reason := metric.missing(options, model.data, model.protocol):
            return [_failure(reason)]  # of this machine: where trials start, it was asked before
        for need in metric.needs:
            if need in model.lacks:
                error = f"not defined for this variant: it has no {NEEDS[need]}"
                return [Value(None, settings={"error": error, "undefined": True})]
        values = metric.compute(options, model)
        for value in values:
            if value.value is None or not math.isfinite(value.value):
                raise ValueError(f"{options.name} is {value.value} with {value.settings}")
        return values
    except Exception as error:
        text = traceback.format_exc()
        if isinstance(error, UserError) or faults.of_the_machine(error):
            return [_failure(text)]
    if known and way(known) == way(text):
        return [_failure(text, TRIES)]
    return [_failure(text)] if known else _measure(options, model, text)


def answers(asked: MetricOptions, row: dict[str, Any]) -> bool:
    """Tell whether a row of the ``metrics`` table is about what is asked."""
    return bool(row["name"] == asked.name and asked.settings().items() <= json.loads(row["settings"]).items())


def is_measured(asked: MetricOptions, stored: Iterable[dict[str, Any]], or_failed: bool = False) -> bool:
    """Tell whether rows of the ``metrics`` table of one trial hold what is asked.

    A row without a value does not count: what kept a metric from being measured may have been mended. But
    one that has no meaning for the variant never will have.

    Args:
        asked: the metric.
        stored: the rows.
        or_failed: whether a metric counts, too, that failed in the same way so often that it is given up.
    """
    for row in stored:
        if answers(asked, row):
            settings = json.loads(row["settings"])
            if row["value"] is not None or settings.get("undefined", False):
                return True
            if or_failed and settings.get("failures", 0) >= TRIES:
                return True
    return False
