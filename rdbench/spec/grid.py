"""``grid``: settings of training and network that a sweep varies, beside variants, betas and seeds."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from rdbench.datasets import DatasetOptions
from rdbench.spec.errors import explained, fail
from rdbench.spec.settings import ModelSpec, TrainSpec, fit_to_images
from rdbench.spec.yaml import Document, kind
from rdbench.text import choose

Grid = dict[str, tuple[Any, ...]]
"""A setting, ``train.epochs``, and the values it takes."""

Combination = tuple[TrainSpec, ModelSpec]

SETTINGS = tuple(
    f"{part}.{name}"
    for part, spec in (("train", TrainSpec), ("model", ModelSpec))
    for name in spec.model_fields
    if name != "name"  # networks of another kind have other settings
)

_USAGE = "write {train.epochs: [20, 60], model.latent: [8, 16]}"


def in_long_form(document: Document) -> Document:
    """Return the document with ``grid: {train: {epochs: ...}}``, as overrides write it, under dotted keys."""
    grid = document.data.get("grid")
    if not isinstance(grid, dict):
        return document
    flat: dict[Any, Any] = {}
    for part, value in grid.items():
        nested = isinstance(value, dict)
        flat |= {f"{part}.{name}": values for name, values in value.items()} if nested else {part: value}
    places = {
        ("grid", f"{at[1]}.{at[2]}", *at[3:])
        if at[0:1] == ("grid",) and len(at) > 2 and isinstance(at[2], str)
        else at: place
        for at, place in document.places.items()
    }
    return replace(document, data={**document.data, "grid": flat}, places=places)


def validated(value: object, base: Combination, dataset: DatasetOptions) -> Grid:
    """Return a grid with its values as the settings hold them.

    Args:
        value: as a sweep file gives it.
        base: the sweep's own training and network.
        dataset: whose images must be large enough for every network.
    """
    if not isinstance(value, Mapping):
        fail(f"expected a mapping, got {kind(value)}; {_USAGE}")
    grid: Grid = {}
    for key, values in value.items():
        if key not in SETTINGS:
            fail(f"no setting named {kind(key)} that a grid varies; {choose(key, SETTINGS)}", key)
        if not isinstance(values, list | tuple):
            fail(f"expected a list, got {kind(values)}; {_USAGE}", key)
        if not values:
            fail("the list is empty; name at least one value, or remove the key", key)
        settled: list[Any] = []
        for index, each in enumerate(values):
            try:
                train, model = combined(base, {key: each})
                fit_to_images(model, dataset)
            except ValidationError as error:
                fail(explained(error.errors(include_url=False)[0]), key, index)
            typed = getattr(train if key.startswith("train.") else model, key.partition(".")[2])
            if typed in settled:
                fail(f"{kind(each)} is there twice; remove one of them", key, index)
            settled.append(typed)
        grid[key] = tuple(settled)
    return grid


def combined(base: Combination, values: Mapping[str, Any]) -> Combination:
    """Return training and network with some settings, ``train.epochs`` and so on, replaced.

    Raises:
        ValidationError: one is not valid.
    """
    changes: dict[str, dict[str, Any]] = {"train": {}, "model": {}}
    for key, value in values.items():
        part, _, name = key.partition(".")
        changes[part][name] = value
    train, model = base
    return (
        TrainSpec.model_validate(train.model_dump() | changes["train"]) if changes["train"] else train,
        ModelSpec.model_validate(model.model_dump() | changes["model"]) if changes["model"] else model,
    )


def combinations(grid: Grid, base: Combination) -> list[Combination]:
    """Return training and network of every combination; the setting that stands last varies fastest."""
    products = itertools.product(*grid.values())
    return [combined(base, dict(zip(grid, values, strict=True))) for values in products]


def shown(values: Mapping[str, Any]) -> str:
    """Return what tells a combination from others, ``epochs 20, latent 8``."""
    texts = (f"{key.partition('.')[2]} {list(v) if isinstance(v, tuple) else v}" for key, v in values.items())
    return ", ".join(texts)


def values_of(grid: Sequence[str], combination: Combination) -> dict[str, Any]:
    """Return the values that a combination has of the settings of a grid."""
    parts = dict(zip(("train", "model"), combination, strict=True))
    return {key: getattr(parts[key.partition(".")[0]], key.partition(".")[2]) for key in grid}
