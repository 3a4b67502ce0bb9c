"""Rows of older schema versions in today's columns: the one place that knows how tables once were.

What came later is null; what was renamed has its new name. Version 3 brought the digest of files too.
Version 7 gave two columns of ``points`` names that say what they are of, and took quantity and reading of a
metric's value out of the JSON of ``metrics.settings``.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rdbench import metrics

if TYPE_CHECKING:
    import pyarrow as pa

SINCE = {
    "trials": {
        "pack": 2,
        "run": 3,
        "train_images": 4,
        "test_images": 4,
        "data_notes": 4,
        "mean_image_mse": 6,
    },
    "points": {"binned_bits_per_dim": 5},
    "metrics": {"quantity": 7, "reading": 7, "unit": 7},
}
"""Columns of a table that came with a later version than the first."""

RENAMED = {"points": {"psnr_of_mse": ("psnr", 7), "density_bits_per_dim": ("bits_per_dim", 7)}}
"""Columns of a table -> what they were called before a version."""


def columns(table: str, version: int, names: Sequence[str]) -> list[str]:
    """Return what columns were called in a schema version, in order, without those that came later."""
    since, renamed = SINCE.get(table, {}), RENAMED.get(table, {})
    then = [(name, *renamed.get(name, (name, 0))) for name in names if since.get(name, 1) <= version]
    return [old if version < until else name for name, old, until in then]


def is_split(table: str, version: int) -> bool:
    """Tell whether several of today's columns were one, so that no few columns of the file will do."""
    return table == "metrics" and version < 7


def as_now(
    table: str, part: "pa.Table", version: int, whole: Sequence[str], expected: "pa.Schema"
) -> "pa.Table":
    """Return rows of an older version in the columns ``expected``, null where it had none.

    ``whole`` are all of today's columns. A table that lacks more than its version did is returned unchanged.
    """
    import pyarrow as pa

    if part.schema.names not in [columns(table, version, names) for names in (whole, expected.names)]:
        return part
    found = {name: part[old] for name in whole for old in columns(table, version, [name])
             if old in part.schema.names}  # fmt: skip
    if is_split(table, version):
        found |= _out_of_settings(part)
    return pa.Table.from_arrays(
        [found.get(field.name, pa.nulls(len(part), field.type)) for field in expected], names=expected.names
    )


def _out_of_settings(part: "pa.Table") -> "dict[str, pa.Array]":
    """Return the columns that version 7 took out of ``settings``, and what is left of it."""
    import pyarrow as pa

    rows = [_named(row) for row in part.select(["name", "value", "settings"]).to_pylist()]
    names = ("quantity", "reading", "unit", "settings")
    return {name: pa.array([row[name] for row in rows], pa.string()) for name in names}


def _named(row: dict[str, Any]) -> dict[str, str | None]:
    """Return those columns of a row, as :func:`rdbench.metrics.stored.row` would have them."""
    try:
        settings = dict(json.loads(row["settings"]))
    except (TypeError, ValueError):  # a folder may come from anywhere
        return {"quantity": None, "reading": None, "unit": None, "settings": row["settings"]}
    unnamed = None if row["value"] is None else row["name"]
    named = {"quantity": settings.pop("quantity", unnamed), "reading": settings.pop("reading", None)}
    texts = {
        name: text if isinstance(text, str) and text.isprintable() else None for name, text in named.items()
    }
    unit = metrics.unit(str(row["name"]), str(texts["quantity"]))
    return {**texts, "unit": unit, "settings": json.dumps(settings)}
