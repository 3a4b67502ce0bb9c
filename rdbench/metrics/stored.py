"""A row of the ``metrics`` table: the columns that name a number, and the settings it was measured with."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rdbench.metrics.base import Quantity, Value, value_name


def row(
    name: str, value: Value, asked: Mapping[str, Any], quantities: Iterable[Quantity], protocol: str
) -> dict[str, Any]:
    """Return the row of a value, without its trial.

    Args:
        name: the metric's.
        value: what was measured; ``quantity`` and ``reading`` of its settings become columns. One that names
            no quantity is of that of the metric's name, unless nothing was measured.
        asked: the options of the metric that it rests on.
        quantities: the metric's, for the unit.
        protocol: the trial's.
    """
    settings = {**asked, **value.settings}
    unnamed = None if value.value is None else name
    quantity, reading = settings.pop("quantity", unnamed), settings.pop("reading", None)
    return {
        "name": name,
        "quantity": quantity,
        "reading": reading,
        "value": value.value,
        "unit": unit(quantities, quantity),
        "standard_error": value.standard_error,
        "settings": json.dumps(settings),
        "feature_hash": value.feature_hash,
        "protocol": protocol,
    }


def unit(quantities: Iterable[Quantity], quantity: str | None) -> str | None:
    """Return the unit of a quantity, by its name; None for a pure number, and where none is declared."""
    return next((one.unit for one in quantities if one.name == quantity), "") or None


def settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a row's value, ``quantity`` and ``reading`` among them, and remarks."""
    found: dict[str, Any] = json.loads(row["settings"])
    named = {name: row.get(name) for name in ("quantity", "reading")}
    # Null is None, or NaN where the row comes from pandas.
    return found | {name: text for name, text in named.items() if isinstance(text, str)}


def name(row: Mapping[str, Any]) -> str:
    """Return what a row's value is called: ``fid``, ``prdc_recall``, ``iwae_half``."""
    known = settings(row)
    return value_name(row["name"], known.get("quantity"), known.get("reading"))


def with_setting(row: Mapping[str, Any], setting: str, value: Any) -> dict[str, Any]:
    """Return a row with one setting changed."""
    return {**row, "settings": json.dumps({**json.loads(row["settings"]), setting: value})}
