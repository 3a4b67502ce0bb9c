"""A sweep file, validated: YAML to a frozen, resolved :class:`Sweep`.

A sweep that is saved and loaded again is the same sweep. Every problem is one line.
"""

import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, ValidationInfo, field_validator, model_validator
from pydantic._internal._model_construction import ModelMetaclass

from rdbench import datasets, metrics
from rdbench.spec import grid as grids
from rdbench.spec.errors import fail, from_validation
from rdbench.spec.fields import MAX_TRIALS, Settings
from rdbench.spec.search_checks import check_search
from rdbench.spec.search_options import SEARCHES, STOPS
from rdbench.spec.settings import ModelSpec, Protocol, Resources, SweepSettings, TrainSpec, VariantSpec
from rdbench.spec.yaml import Document, KeyPath, override, read_document
from rdbench.spec.yaml import Place as Written
from rdbench.storage.places import Remote, place

__all__ = ["ModelSpec", "Protocol", "Resources", "Settings", "Sweep", "TrainSpec", "VariantSpec"]
__all__ += ["dump_sweep", "load_sweep"]


class _OneLine(ModelMetaclass):
    """Has ``Sweep(...)`` raise SpecError, in one line, where a setting is wrong."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().__call__(*args, **settings)
        except ValidationError as error:
            document = _of_keywords(settings)
            form = "{}=..."
            raise from_validation(error, document, lambda at: _known_keys(document, at), form) from None


class Sweep(SweepSettings, metaclass=_OneLine):
    """A sweep, complete, whose settings fit together.

    The keywords are the keys of a sweep file, with the same short forms, and the same defaults::

        Sweep(name="mine", dataset="digits", variants=["beta_vae", {"name": "student_t", "dof": 5}],
              beta=[0.1, 1, 10], seeds=3, train={"epochs": 20})

    A relative path to a variant's file starts from the working directory.

    Raises:
        SpecError: a setting is not valid; one line names it and the fix.
    """

    @field_validator("grid", mode="plain")
    @classmethod
    def _can_be_set(cls, value: object, info: ValidationInfo) -> object:
        """Return the values as the settings hold them, once these are valid themselves."""
        train, model, dataset = (info.data.get(name) for name in ("train", "model", "dataset"))
        if train is None or model is None or dataset is None:
            return {}
        return grids.validated(value, (train, model), dataset)

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        if self.grid and self.search:
            fail(
                "a search chooses settings itself; name them in search.over, or remove one of the two", "grid"
            )
        trials = len(self.variants) * len(self.beta) * len(self.seeds) * len(self.combinations)
        if trials > MAX_TRIALS:
            fix = f"use fewer betas or seeds: at most {MAX_TRIALS:,} trainings a sweep"
            fail(f"the grid asks for {trials:,} trainings; {fix}", "beta")
        check_search(self, stored=bool((info.context or {}).get("stored")))
        return self

    @property
    def combinations(self) -> list[grids.Combination]:
        """Training and network of every combination that ``grid`` asks for; without one, the sweep's own."""
        return grids.combinations(self.grid, (self.train, self.model))

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the sweep as its file has it."""
        return f"<p>sweep <b>{html.escape(self.name)}</b></p><pre>{html.escape(dump_sweep(self))}</pre>"


def _of_keywords(settings: Mapping[str, Any]) -> Document:
    """Return keyword arguments as a document, whose errors name the call in place of a file."""
    places: dict[KeyPath, Written] = {}

    def visit(value: object, path: KeyPath) -> None:
        places[path] = Written(0, len(places), "rdbench.Sweep")
        pairs: Any = enumerate(value) if isinstance(value, list | tuple) else ()
        for key, inner in value.items() if isinstance(value, Mapping) else pairs:
            visit(inner, (*path, key))

    visit(settings, ())
    return _long_form(Document(dict(settings), places))


def _known_keys(document: Document, path: KeyPath) -> Sequence[str]:
    """Return the keys that the mapping at ``path`` may have."""
    if path == ("dataset",):
        name = document.data["dataset"]["name"]
        return list(datasets.get(name).options.model_fields) if name in datasets.names() else []
    if path[0:1] == ("metrics",) and len(path) == 2:
        name = document.data["metrics"][path[1]]["name"]
        return list(metrics.get(name).options.model_fields) if name in metrics.names() else []
    for key, known in (("search", SEARCHES), ("stop", STOPS)):
        if path == (key,):
            return list(known[document.data[key]["name"]].model_fields)
    if path == ("grid",):
        return grids.SETTINGS
    parts = ((), Sweep), (("train",), TrainSpec), (("model",), ModelSpec), (("resources",), Resources)
    return next((list(part.model_fields) for at, part in parts if at == path), [])


def _long_form(document: Document) -> Document:
    """Return the document with short forms written out, so that overrides reach into them."""
    document = grids.in_long_form(document)
    if not isinstance(document.data.get("dataset"), str):
        return document
    return replace(document, data={**document.data, "dataset": {"name": document.data["dataset"]}})


def load_sweep(
    path: str | os.PathLike[str] | Remote,
    overrides: Sequence[str] = (),
    *,
    stored: bool = False,
    folders: Sequence[Path] = (),
    written: Mapping[str, str] = {},
) -> Sweep:
    """Read and validate a sweep file.

    Args:
        path: the file, ``-``, or the name of one that ships (:func:`rdbench.spec.sweep_files.find`). Files it
            names are looked for beside it, then in the working directory.
        overrides: settings that replace the file's, such as ``train.epochs=2``; the values are YAML.
        stored: it is that of a results folder, to be read: a variant whose source is gone is known by name.
        folders: where to look for a variant's file if the sweep file is not on this machine.
        written: what an override is called in an error, where the user did not write it as ``--set``.

    Raises:
        SpecError: the file or an override is not valid; one line names the place, the key and the fix.
    """
    document = _long_form(read_document(path := place(path)))
    for text in overrides:
        document = _long_form(override(document, text, written.get(text, "")))
    beside = (path.parent,) if isinstance(path, Path) else tuple(folders)
    try:
        asked = {text.partition("=")[0].strip() for text in overrides}
        context = {"folders": beside, "stored": stored, "asked": asked}
        return Sweep.model_validate(document.data, context=context)
    except ValidationError as error:
        raise from_validation(error, document, lambda at: _known_keys(document, at)) from None


def dump_sweep(sweep: Sweep) -> str:
    """Return a sweep as YAML, every default written out; :func:`load_sweep` reads an equal sweep from it."""
    from ruamel.yaml import YAML

    data = sweep.model_dump(mode="json")
    if isinstance(sweep.dataset, datasets.PluggedDataset):
        data["dataset"] = sweep.dataset.as_written()
    data["variants"] = [
        {"name": name, **variant.options} if variant.options else name
        for variant in sweep.variants
        for name in [variant.source or variant.name]
    ]
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # a list of numbers stays on one line
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 100
    yaml.allow_unicode = True
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()
