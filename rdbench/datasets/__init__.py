"""Datasets: a registry, and arrays that are prepared once and memory-mapped by every trial.

    load(options, data_root) -> Dataset        what a trial calls
    prepare, verify, status                    what ``rdbench data`` calls

May import ``numerics`` and ``storage``. Start with ``base``, or with ``digits``, a short one. A new dataset
is one file with an ``INFO``, and its name in the list below.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from rdbench.datasets import celeba, cifar10, digits, fashion_mnist, folder, gaussian, mnist, prepared
from rdbench.datasets.base import (
    AUGMENTATIONS,
    PUBLISHED,
    Augmentation,
    Dataset,
    DatasetInfo,
    DatasetOptions,
    MissingDataError,
    Progress,
    Split,
)
from rdbench.datasets.plugged import PluggedDataset
from rdbench.datasets.plugged import of as plugged_info
from rdbench.datasets.prepared import Root
from rdbench.datasets.write import SPLITS
from rdbench.errors import DatasetError
from rdbench.text import choose

# What is defined elsewhere; beside it all below without an underscore is public.
__all__ = [
    "AUGMENTATIONS", "PUBLISHED", "Augmentation", "Dataset", "DatasetInfo", "DatasetOptions",
    "PluggedDataset", "Split",
]  # fmt: skip

_REGISTRY: dict[str, DatasetInfo] = {}


def register(info: DatasetInfo) -> None:
    """Make a dataset known. Raises ValueError if its name is taken."""
    if info.name in _REGISTRY:
        raise ValueError(f"a dataset named {info.name!r} is already registered")
    _REGISTRY[info.name] = info


for _module in (digits, mnist, fashion_mnist, cifar10, celeba, folder, gaussian):
    register(_module.INFO)


def names() -> list[str]:
    """Names of all datasets, in the order in which they were registered."""
    return list(_REGISTRY)


def get(name: str) -> DatasetInfo:
    """The dataset of this name. Raises DatasetError with the name that comes closest."""
    if name not in _REGISTRY:
        raise DatasetError(f"unknown dataset {name!r}; {choose(name, names())}")
    return _REGISTRY[name]


def of(options: DatasetOptions) -> DatasetInfo:
    """The dataset that is asked for: one of the list above, or one of the user's own."""
    return plugged_info(options) if isinstance(options, PluggedDataset) else get(options.name)


def make_options(name: str, values: Mapping[str, Any] | None = None) -> DatasetOptions:
    """Validated options of a dataset. Raises DatasetError that names each wrong key."""
    try:
        if "code" in (values or {}):  # as a trial of the user's own data stores them
            return PluggedDataset.model_validate_json(json.dumps({**(values or {}), "name": name}))
        # As JSON, where a list may stand for a tuple though nothing else is taken for something it is not.
        return get(name).options.model_validate_json(json.dumps({**(values or {}), "name": name}))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DatasetError(f"dataset {name!r}: {wrong}") from None


def load(options: DatasetOptions, data_root: Root, progress: Progress | None = None) -> Dataset:
    """The arrays to train on and to measure, prepared on first use.

    Args:
        options: which dataset, and how many images of it.
        data_root: folder of the raw data; only read, unless a download is needed and possible. If the user
            named it, only its data are used; else a copy that was prepared before may replace them.
        progress: called with (done, total) images while preparing.

    Raises DatasetError: raw data missing or damaged, unusable images, or a subset larger than the split.
    """
    info, options = _checked(options)
    if info.generate is not None:
        return _held_out(info.generate(options), options)
    return _opened(prepared.ensure(info, options, data_root, progress), info, options)


def known(options: DatasetOptions, data_root: Root) -> Dataset | None:
    """What is known of a dataset without preparing or downloading it.

    The dataset itself if it is prepared. Else a stand-in with its sizes, of black images and two classes,
    whose notes say what a data root that the user named lacks; None if only the data tell the sizes.

    Raises DatasetError: the options do not fit the data.
    """
    info, options = _checked(options)
    notes: tuple[str, ...] = ()
    if info.source is not None:
        try:
            if ready := prepared.find(info, options, data_root):
                return _opened(ready, info, options)
        except MissingDataError as missing:
            if prepared.as_root(data_root).named_by:  # else nobody has said yet where they are
                notes = (str(missing).removeprefix(f"{info.name}: "),)
    if (counts := sizes(options)) is None:
        return None
    for which, published in zip(SPLITS, info.sizes or (), strict=False):
        _check_count(getattr(options, f"{which}_images"), published, which, info.name)
    made = info.generate is not None
    splits = [
        Split(
            np.broadcast_to(np.zeros((), np.float32 if made else np.uint8), (count, *info.shape(options))),
            None if made else np.arange(count) % 2,
        )
        for count in counts
    ]
    train, test, *others = splits
    validation = others[0] if others else None
    shape, augmentation = info.shape(options), info.augmentation(options)
    return Dataset(info.name, train, test, "", augmentation, shape, notes=notes, validation=validation)


def sizes(options: DatasetOptions) -> tuple[int, ...] | None:
    """How many training, test and, if any, validation images a dataset will have, without reading it.

    None where only the data tell.
    """
    info = of(options)
    train, test = options.train_images, options.test_images
    if info.sizes:
        train, test = (
            min(asked or size, size) for asked, size in zip((train, test), info.sizes, strict=True)
        )
    if not train or not test:
        return None
    if options.validation == PUBLISHED:
        return train, test, info.validation_size or 0
    held_out = options.held_out(train)
    return (train - held_out, test, held_out) if held_out else (train, test)


def _opened(ready: prepared.Prepared, info: DatasetInfo, options: DatasetOptions) -> Dataset:
    train = _split(ready, "train", options.train_images, info.name)
    if train.images.shape[1:] != (shape := info.shape(options)):
        there, asked = ("x".join(map(str, sizes)) for sizes in (train.images.shape[1:], shape))
        raise DatasetError(f"{info.name}: images are {there}, not {asked}; leave shape out, or correct it")
    test = _split(ready, "test", options.test_images, info.name)
    published = options.validation == PUBLISHED
    subset = f"{ready.checksum} {len(train.images)} {len(test.images)}"
    whole = Dataset(
        name=info.name,
        train=train,
        test=test,
        checksum=hashlib.sha256(subset.encode()).hexdigest(),
        augmentation=info.augmentation(options),
        shape=shape,
        skipped=tuple(ready.meta["skipped"]),
        notes=_remarks(info, ready),
        validation=_split(ready, "validation", None, info.name) if published else None,
    )
    return _held_out(whole, options)


def _held_out(data: Dataset, options: DatasetOptions) -> Dataset:
    """A dataset with the training images that are asked for held out, by a seed of their own.

    Fewer are always among more.
    """
    images, labels = data.train.images, data.train.labels
    if not (count := options.held_out(len(images))):
        return data
    order = np.random.RandomState(1).permutation(len(images))
    parts = []
    for chosen in (np.sort(order[count:]), np.sort(order[:count])):
        part = images[chosen]
        part.flags.writeable = False
        parts.append(Split(part, None if labels is None else labels[chosen]))
    checksum = hashlib.sha256(f"{data.checksum} validation {count}".encode()).hexdigest()
    return replace(data, train=parts[0], validation=parts[1], checksum=checksum)


def remarks(name: str, folder: Path) -> tuple[str, ...]:
    """In what a prepared folder differs from the dataset as published, and what preparation changed.

    Nothing where the folder is damaged.
    """
    try:
        return _remarks(_REGISTRY.get(name), prepared.open_folder(folder))
    except prepared.DamagedError:
        return ()


def _remarks(info: DatasetInfo | None, ready: prepared.Prepared) -> tuple[str, ...]:
    counts = ready.meta["counts"]
    differing = (
        f"{counts[split]:,} {split} images instead of the {published:,} that are published"
        for split, published in zip(SPLITS, (info and info.sizes) or (), strict=False)
        if counts[split] != published
    )
    return (*differing, *ready.meta["notes"])


def prepare(options: DatasetOptions, data_root: Root, progress: Progress | None = None) -> Path | None:
    """Prepare a dataset if it is not yet; returns its folder, or None where there is nothing to prepare."""
    info, options = _checked(options)
    if info.source is None:
        return None
    return prepared.ensure(info, options, data_root, progress).folder


@dataclass(frozen=True)
class Check:
    """One prepared folder, every byte of it read."""

    name: str
    folder: Path
    damage: tuple[str, ...]  # what is wrong; empty: nothing

    def __str__(self) -> str:
        if not self.damage:
            return f"{self.name}: OK ({self.folder})"
        what = "; ".join(self.damage)
        return f"{self.name}: {what} in {self.folder}: delete that folder, and the next use prepares it again"


def verify(name: str) -> list[Check]:
    """Recompute the checksums of everything that was prepared for a dataset (an empty list: nothing was).

    ``name`` may also be a reference to one of the user's own, or its symbol. Raises DatasetError: there is
    none of this name, and nothing was prepared for one.
    """
    symbol = name.rpartition(":")[2]
    if symbol not in _REGISTRY and ":" not in name and not prepared.folders(symbol):
        get(name)
    return [Check(symbol, path, prepared.damage(path)) for path in prepared.folders(symbol)]


@dataclass(frozen=True)
class Status:
    """Which raw and prepared data of a dataset exist here."""

    name: str
    summary: str
    augmentation: str  # what happens to training images by default, in words
    raw: bool | None  # whether the raw data are there (or need no files); None: that depends on options
    needs: str  # what to do to have the raw data, one line; empty if nothing
    prepared: tuple[Path, ...]  # folders


def status(data_root: Path) -> list[Status]:
    """The :class:`Status` of every dataset; reads no image."""
    return [_status(info, data_root) for info in _REGISTRY.values()]


def _status(info: DatasetInfo, data_root: Path) -> Status:
    raw: bool | None = True
    augmentation, needs = "depends on options", ""
    try:
        options = make_options(info.name)
        augmentation = AUGMENTATIONS[info.augmentation(options)]
        if info.source is not None:
            info.source(options, data_root)
    except MissingDataError as error:
        raw, needs = False, str(error)
    except DatasetError:  # required options
        raw = None
    return Status(info.name, info.summary, augmentation, raw, needs, tuple(prepared.folders(info.name)))


def _checked(options: DatasetOptions) -> tuple[DatasetInfo, DatasetOptions]:
    info = of(options)
    if not isinstance(options, info.options):
        options = make_options(options.name, options.model_dump())
    return info, options


def _split(ready: prepared.Prepared, which: str, count: int | None, name: str) -> Split:
    """A split or its seeded subset: smaller subsets lie within larger ones."""
    images, labels = ready.array(which, "images"), ready.array(which, "labels")
    assert images is not None
    _check_count(count, len(images), which, name)
    if count is not None and count < len(images):
        chosen = np.sort(np.random.RandomState(0).permutation(len(images))[:count])
        images, labels = images[chosen], None if labels is None else labels[chosen]
        images.flags.writeable = False
    return Split(images, labels)


def _check_count(count: int | None, size: int, which: str, name: str) -> None:
    if count is not None and count > size:
        raise DatasetError(f"{name}: {which}_images: {count} asked for, but there are {size} {which} images")
