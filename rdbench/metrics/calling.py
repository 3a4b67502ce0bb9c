"""Calls a metric of one's own: gives it what it names, and takes what it returns. Imports torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rdbench.metrics.base import OF_IMAGES, Better, TrainedModel, Value, mean_value
from rdbench.metrics.features import samples
from rdbench.numerics.seeding import generator
from rdbench.registry.running import seeded

RETURNS = "return a number, one number for each image or sample, or {quantity: number}"


class WrongAnswerError(ValueError):
    """What a metric returned is no number, nor what else it may be."""


def call(
    function: Callable[..., Any],
    name: str,
    inputs: Sequence[str],
    options: Mapping[str, Any],
    model: TrainedModel,
    ways: Mapping[str, Better | None],
) -> list[Value]:
    """Return the values that a function makes of a trained model.

    Random numbers it draws from the global generators of torch, numpy and Python depend on the trial alone.

    Args:
        function: takes ``inputs``, and its own options as keywords.
        name: of the metric.
        inputs: names of :data:`rdbench.metrics.base.INPUTS`, in the order of its parameters.
        options: what is asked; ``images`` and ``samples`` among them say how many it is given.
        model: the trained model.
        ways: which way is better, by quantity; "" for any other.

    Raises WrongAnswerError: it returned no number; RuntimeError: it tried to end the process; and whatever
    else the function raises.
    """
    own, of_images = dict(options), any(name in OF_IMAGES for name in inputs)
    count = min((own.pop("images") if of_images else None) or model.n_test, model.n_test)
    drawn = own.pop("samples") if "samples" in inputs else 0
    seed = generator(model.seed, f"metric/{name}").initial_seed()
    with seeded(seed, [model.device] if model.device.type == "cuda" else []):
        given = _given(inputs, model, count, drawn)
        try:
            returned = function(*given.values(), **own)
        except SystemExit as error:
            raise RuntimeError(f"it tried to end the process (SystemExit: {error})") from error
    sizes = ({count} if of_images else set()) | ({drawn} if drawn else set())
    values = _values(name, returned, sizes)
    return [_with_direction(value, ways) for value in values]


def _given(inputs: Sequence[str], model: TrainedModel, count: int, drawn: int) -> dict[str, Any]:
    """Return each input by its name, in order; nothing that is not named is computed."""
    given: dict[str, Any] = dict.fromkeys(inputs)
    if "reconstructions" in given:
        pairs = list(samples.reconstructed(model, count))
        given["reconstructions"] = torch.cat([decoded for _, decoded in pairs])
    if "images" in given:
        index = torch.split(torch.arange(count), samples.BLOCK)
        given["images"] = torch.cat([model.test_images(part) for part in index])
    if "latents" in given:
        given["latents"] = torch.cat(list(samples.posterior_samples(model, count)))
    if "labels" in given and model.data.test.labels is not None:
        given["labels"] = torch.from_numpy(np.array(model.data.test.labels[:count])).to(model.device)
    if "samples" in given:
        given["samples"] = torch.cat(list(samples.decoded_prior(model, drawn)))
    if "model" in given:
        given["model"] = model
    return given


def _values(name: str, returned: Any, sizes: set[int]) -> list[Value]:
    if isinstance(returned, Mapping):
        if not returned:
            raise WrongAnswerError(f"{name} returned an empty mapping; {RETURNS}")
        return [_of_quantity(name, quantity, one, sizes) for quantity, one in returned.items()]
    if isinstance(returned, list) and returned and all(isinstance(one, Value) for one in returned):
        return returned
    return [_value(name, returned, sizes)]


def _of_quantity(name: str, quantity: object, returned: Any, sizes: set[int]) -> Value:
    if not isinstance(quantity, str) or not quantity.isidentifier():
        raise WrongAnswerError(f"{name} returned the quantity {quantity!r}; name it by a word, as in 'mean'")
    value = _value(f"{name}[{quantity!r}]", returned, sizes)
    return replace(value, settings={**value.settings, "quantity": quantity})


def _value(name: str, returned: Any, sizes: set[int]) -> Value:
    if isinstance(returned, Value):
        return returned
    if isinstance(returned, bool | str | bytes) or returned is None:
        raise WrongAnswerError(f"{name} returned {returned!r}; {RETURNS}")
    try:
        numbers = returned.detach() if isinstance(returned, Tensor) else torch.as_tensor(returned)
        numbers = numbers.double().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise WrongAnswerError(f"{name} returned a {type(returned).__name__}; {RETURNS}") from None
    if numbers.ndim == 0 or numbers.numel() == 1:
        value = float(numbers)
        if value != value or abs(value) == float("inf"):
            raise WrongAnswerError(f"{name} is {value}; it must be finite")
        return Value(value)
    if numbers.ndim == 1 and len(numbers) in sizes:
        if not bool(numbers.isfinite().all()):
            wrong = int((~numbers.isfinite()).nonzero()[0])
            raise WrongAnswerError(f"{name} is {float(numbers[wrong])} of number {wrong}; it must be finite")
        mean = mean_value(numbers)
        return replace(mean, settings={})
    shape = tuple(numbers.shape)
    there = " and ".join(map(str, sorted(sizes))) or "no"
    what = f"{name} returned numbers of shape {shape} for {there} images or samples"
    raise WrongAnswerError(f"{what}; {RETURNS}")


def _with_direction(value: Value, ways: Mapping[str, Better | None]) -> Value:
    better = ways.get(value.settings.get("quantity", ""), ways.get(""))
    return replace(value, settings={**value.settings, "better": better}) if better else value
