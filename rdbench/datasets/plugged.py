"""Datasets of one's own, as a sweep file names them: ``dataset: my_data.py:rings``.

The thing is a function, or a class, that is called without arguments but for its options; or with ``split``
("train", then "test"), if it has a parameter of that name; or it is the data themselves. What it gives is in
:mod:`rdbench.datasets.arrays`. It is read once and prepared as rdbench's own are: a copy in the cache, known
by the hash of the code, the options, and the files that reading it opened, with a checksum of the arrays that
every trial is held to.

Random numbers that it draws from the global generators of numpy, torch and Python are the same each time.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from rdbench.datasets import opened, prepared
from rdbench.datasets.arrays import Taken, take
from rdbench.datasets.base import DatasetInfo, DatasetOptions, Shape, Source
from rdbench.errors import DatasetError, SpecError, UserError
from rdbench.registry import plugins
from rdbench.registry.plugins import Plugin
from rdbench.registry.running import seeded
from rdbench.storage import paths

SPLIT = "split"


class PluggedDataset(DatasetOptions):
    """What a sweep asks of a dataset of one's own, settled.

    Attributes:
        source: where it is: "package.module:thing" or "file.py:thing"; no part of a trial's identity.
        code: the hash of the files it runs from.
        shape: of an image, (channels, height, width).
        options: its own, all of them.
        test_fraction: held out where it gives no test split.
        augment: what happens to training images.
    """

    source: str = ""
    code: str = ""
    shape: tuple[int, int, int]
    options: dict[str, Any] = Field(default_factory=dict)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    augment: Literal["none", "flip"] = "none"

    @model_serializer(mode="wrap")
    def _without_source(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing of the data, and what is not asked for."""
        fields = handler(self).items()
        return {key: v for key, v in fields if key != "source" and (v is not None or key != "validation")}

    def as_written(self) -> dict[str, Any]:
        """Return it as a sweep file has it."""
        fields = self.model_dump(mode="json", exclude={"name", "code", "options"})
        return {"name": self.source or self.name, **self.options, **fields}

    def __hash__(self) -> int:
        return hash((self.name, self.code, self.shape))


SHARED = sorted({*PluggedDataset.model_fields} - {"name", "source", "code", "options"})
"""Options that every dataset of one's own has, beside its own."""


def settle(
    reference: str, given: Mapping[str, Any], folders: Sequence[Path], taken: Sequence[str], stored: bool
) -> PluggedDataset:
    """Return what is asked of the dataset that a reference names, read and prepared now if it never was.

    Args:
        reference: as in a sweep file; a relative path may start from ``folders``.
        given: its options; with ``shape`` among them nothing is read.
        folders: where to look for its file.
        taken: names of rdbench's own.
        stored: it is of a results folder: nothing is read.

    OptionError, or pydantic's ValidationError: an option; SpecError, DatasetError: all else that is wrong.
    """
    plugin = plugins.find("dataset", reference, folders)
    if wrong := plugins.clash("dataset", plugin.symbol, taken):
        raise SpecError(f"{plugin.line}: {wrong}")
    if shared := {*SHARED} & plugin.options.keys():
        raise SpecError(f"{plugin.line}: every dataset has an option {shared.pop()}; call yours otherwise")
    if plugin.inputs and [*plugin.inputs[: plugin.required]] not in ([], [SPLIT]):
        wanted = f"a dataset takes none, or {SPLIT}; put * before options"
        raise SpecError(f"{plugin.line}: {plugin.symbol}({', '.join(plugin.inputs)}): {wanted}")
    own = plugin.settled({key: value for key, value in given.items() if key not in SHARED})
    fields = {key: value for key, value in given.items() if key in SHARED}
    known = {"name": plugin.symbol, "source": plugin.source, "code": plugin.code, "options": own, **fields}
    shape = fields.get("shape") or (0, 0, 0)
    options = PluggedDataset.model_validate({**known, "shape": tuple(shape)})
    if "shape" in fields:
        return options
    if stored:
        raise SpecError(f"{plugin.line}: its shape is not known; write shape: [channels, height, width]")
    return options.model_copy(update={"shape": _shape(options)})


def _shape(options: PluggedDataset) -> Shape:
    """Return the shape of the images, which are prepared if they never were."""
    reading = _Reading(options)
    whole = options.model_copy(update={"train_images": None, "test_images": None, "validation": None})
    info = replace(of(whole), shape=lambda options: reading.taken().shape, source=reading.source)
    images = prepared.ensure(info, whole, paths.data_root()).array("train", "images")
    assert images is not None
    channels, height, width = images.shape[1:]
    return channels, height, width


def read(options: PluggedDataset) -> Taken:
    """Run a dataset's own code; DatasetError, in a line: it raises, or gives no dataset."""
    return _Reading(options).taken()


class _Reading:
    """Reads a dataset's own code once."""

    def __init__(self, options: PluggedDataset) -> None:
        self._options = options
        self._taken: Taken | None = None
        self._opened: opened.Stamps = {}

    def source(self, options: DatasetOptions, root: Path) -> Source:
        """Return the raw data, known by code, options and the files that were opened; read now if new."""
        asked = self._options
        identity = {
            "code": asked.code,
            "options": asked.options,
            "test_fraction": asked.test_fraction,
            "path": asked.source,
        }
        # A copy in a results folder has no files of data beside it.
        is_copy = not asked.source or f"-{asked.code}" in asked.source
        whole = opened.known(asked.name, identity, is_copy)
        if whole is None:
            self.taken()
            opened.remember(asked.name, identity, self._opened)
            whole = {**identity, "opened": self._opened}
        return Source(whole, lambda: self.taken().splits, lambda: self.taken().notes)

    def taken(self) -> Taken:
        """Return its splits. DatasetError, in a line: its code raises, or gives no dataset."""
        if self._taken is None:
            plugin = found(self._options)
            try:
                with seeded(0), opened.watched() as self._opened:
                    self._taken = take(_given(plugin, self._options.options), self._options.test_fraction)
            except UserError as error:
                raise DatasetError(f"{_place(plugin)}: {error}") from None
            except (Exception, SystemExit) as error:
                raise DatasetError(plugin.mistake(error)) from None
        return self._taken


def _place(plugin: Plugin) -> str:
    return f"{plugin.path.name}:{plugin.node.lineno}: {plugin.symbol}"


def found(options: PluggedDataset) -> Plugin:
    """Return the source of a dataset. SpecError: it is not here (any more), or was edited."""
    return plugins.settled("dataset", options.source or f":{options.name}", options.code)


def _given(plugin: Plugin, options: Mapping[str, Any]) -> Any:
    """Return what a dataset gives: the thing itself, or what comes of calling it."""
    thing = plugins.runnable(plugin, apart=True)
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return thing
    if SPLIT in inspect.signature(thing).parameters:
        return {split: thing(**{SPLIT: split}, **options) for split in ("train", "test")}
    return thing(**options)


def of(options: PluggedDataset) -> DatasetInfo:
    """Return the dataset that is asked for. Nothing is looked up before its images are read."""
    reading = _Reading(options)
    return DatasetInfo(
        name=options.name,
        summary="",
        shape=_written_shape,
        default_model=lambda options: default_model(options.shape),
        augmentation=lambda options: options.augment,
        options=PluggedDataset,
        source=reading.source,
    )


_written_shape: Callable[[PluggedDataset], Shape] = lambda options: options.shape  # noqa: E731


def default_model(shape: Shape) -> dict[str, Any]:
    """Return a model that fits images of a shape: of 8x8 that of digits, of 32x32 that of cifar10."""
    channels, height, width = shape
    halvings = (min(height, width) - 1).bit_length()
    if halvings < 1:
        return {"name": "linear", "latent": 8, "channels": []}
    widths = [32, 64, 128, 256][: max(1, halvings - (1 if halvings < 4 else 2))]
    small, large = len(widths) < 3, channels == 3 or len(widths) > 3
    return {"latent": 8 if small else 64 if large else 32, "channels": widths}


__all__ = ["SHARED", "PluggedDataset", "default_model", "found", "of", "read", "settle"]
