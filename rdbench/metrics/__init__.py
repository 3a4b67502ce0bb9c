"""The registry of proxy metrics: one file a metric in this folder, named after it.

A metric is a number about a trained model besides its rate and distortion. Its file holds one
:class:`Metric`: what a sweep file may ask of it, and the function that measures it::

    METRIC = Metric("iwae", "the importance-weighted bound", IwaeOptions, compute)

The names are read from the folder. A sweep file is validated without torch, so a metric's file imports
torch within ``compute`` only.
"""

import difflib
import importlib
import json
import math
import pkgutil
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from rdbench.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor


class MetricOptions(BaseModel):
    """What a sweep may say about any metric; a metric's own class adds its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str

    def settings(self) -> dict[str, Any]:
        """Return the options but for the name, as JSON values."""
        return self.model_dump(mode="json", exclude={"name"})


@dataclass(frozen=True)
class TrainedModel:
    """What a metric may look at: a trained network in evaluation mode, and the images it is tested on.

    Attributes:
        encode: images (batch, channels, height, width) -> mean and log variance of q(z|x), (batch, latent).
        decode: latents (batch, latent) -> the decoder's mean, shaped as images.
        latent: size of a latent.
        test_images: indices (batch,) -> these test images as they are, float32 on ``device``.
        n_test: how many test images there are.
        test_sse: squared error of the test images as the trial measured it, which the reading
            ``optimal_shared`` takes its variance from.
        beta: the trial's.
        seed: the trial's.
        protocol: the trial's.
        device: where the network is.
    """

    encode: "Callable[[Tensor], tuple[Tensor, Tensor]]"
    decode: "Callable[[Tensor], Tensor]"
    latent: int
    test_images: "Callable[[Tensor], Tensor]"
    n_test: int
    test_sse: "npt.NDArray[np.float64]"
    beta: float
    seed: int
    protocol: str
    device: "torch.device"


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


@dataclass(frozen=True)
class Metric:
    """A proxy metric.

    Attributes:
        name: what a sweep file calls it.
        summary: what it is, in one line.
        options: the class of its options.
        compute: takes an instance of ``options`` and the model; returns one value or more.
        protocols: those it has a meaning under.
    """

    name: str
    summary: str
    options: type[MetricOptions]
    compute: Callable[[Any, TrainedModel], list[Value]]
    protocols: tuple[str, ...] = ("clean", "paper")


def names() -> list[str]:
    """Return the names a sweep file may use, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Metric:
    """Return the metric ``name``.

    Raises:
        SpecError: there is no such metric.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        mend = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise SpecError(f"unknown metric {name!r}; {mend}")
    metric: Metric = importlib.import_module(f"{__name__}.{name}").METRIC
    return metric


def rows(asked: Iterable[MetricOptions], model: TrainedModel) -> list[dict[str, Any]]:
    """Measure a model and return rows of the ``metrics`` table.

    A metric that raises, or whose value is not finite, must not cost the trial: it leaves one row whose
    value is null, with the traceback as ``error`` among its settings.
    """
    return [
        {
            "name": options.name,
            "value": value.value,
            "standard_error": value.standard_error,
            "settings": json.dumps(options.settings() | value.settings),
            "feature_hash": value.feature_hash,
            "protocol": model.protocol,
        }
        for options in asked
        for value in _measure(options, model)
    ]


def _measure(options: MetricOptions, model: TrainedModel) -> list[Value]:
    try:
        values = get(options.name).compute(options, model)
        for value in values:
            if value.value is None or not math.isfinite(value.value):
                raise ValueError(f"{options.name} is {value.value} with {value.settings}")
        return values
    except Exception:
        return [Value(None, settings={"error": traceback.format_exc()})]


def is_measured(asked: MetricOptions, stored: Iterable[dict[str, Any]]) -> bool:
    """Tell whether rows of the ``metrics`` table of one trial hold what is asked.

    A row without a value does not count: what kept a metric from being measured may have been mended.
    """
    return any(
        row["name"] == asked.name
        and row["value"] is not None
        and asked.settings().items() <= json.loads(row["settings"]).items()
        for row in stored
    )
