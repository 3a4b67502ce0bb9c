"""Metrics and datasets of one's own, settled as a sweep file is read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationInfo

from rdbench import datasets, metrics
from rdbench.datasets import PluggedDataset
from rdbench.datasets.plugged import SHARED
from rdbench.datasets.plugged import settle as settle_dataset
from rdbench.errors import DatasetError, SpecError
from rdbench.metrics.plugged import PluggedOptions
from rdbench.metrics.plugged import settle as settle_metric
from rdbench.registry.plugins import Kind, OptionError, is_reference
from rdbench.spec.errors import fail


def settled(what: str, value: object, info: ValidationInfo) -> PluggedOptions | PluggedDataset | None:
    """Return what is asked of a metric or dataset of the user's own; None of one of rdbench's.

    Raises pydantic's ValidationError: it cannot be found, or an option is wrong.
    """
    if what == "metric" and _is_own("metric", value, metrics.names()):
        return _metric(*_parts(value), info.context or {})
    if what != "dataset":
        return None
    context = info.context or {}
    if context.get("settled") and isinstance(value, Mapping) and "code" in value:
        return PluggedDataset.model_validate_json(json.dumps(value))  # as a trial stores it
    return _dataset(*_parts(value), context) if _is_own("dataset", value, datasets.names()) else None


def _is_own(what: Kind, value: object, taken: Sequence[str]) -> bool:
    reference = value.get("name") if isinstance(value, Mapping) else value
    return isinstance(reference, str) and reference not in taken and is_reference(what, reference)


def _parts(value: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, Mapping):
        return str(value), {}
    return str(value["name"]), {key: one for key, one in value.items() if key != "name"}


def _metric(reference: str, given: dict[str, Any], context: Mapping[str, Any]) -> PluggedOptions:
    stored = bool(context.get("stored")) and "metrics" not in context.get("asked", ())
    try:
        return settle_metric(reference, given, context.get("folders", ()), metrics.names(), stored)
    except SpecError as error:
        if stored:
            # Results outlive the file or package that their metric came from.
            return PluggedOptions(name=reference.rpartition(":")[2], options=given)
        fail(str(error), *_key(error))


def _dataset(reference: str, given: dict[str, Any], context: Mapping[str, Any]) -> PluggedDataset:
    stored = bool(context.get("stored"))
    try:
        return settle_dataset(reference, given, context.get("folders", ()), datasets.names(), stored)
    except (SpecError, DatasetError) as error:
        if stored and "shape" in given:  # as above
            own = {key: one for key, one in given.items() if key not in SHARED}
            shared = {key: one for key, one in given.items() if key in SHARED}
            known = {"name": reference.rpartition(":")[2], "options": own, **shared}
            return PluggedDataset.model_validate_json(json.dumps(known))
        fail(str(error), *_key(error))


def _key(error: Exception) -> list[str]:
    return [error.key] if isinstance(error, OptionError) else []
