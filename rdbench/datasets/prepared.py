"""Prepare a dataset once into checksummed, memory-mapped arrays; every trial after that opens them at once.

    <cache>/datasets/<name>-<key>/{train,test}_{images,labels}.npy and meta.json

The key is a hash of the source's identity. A folder is written under a temporary name and renamed, under a
lock, so it is whole. Files that are cut short later are noticed by their size, and prepared again.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.datasets.base import PUBLISHED, DatasetInfo, DatasetOptions, MissingDataError, Progress, Source
from rdbench.datasets.write import FORMAT, META, SPLITS, checksum_of, sha256, write_folder
from rdbench.errors import DatasetError
from rdbench.storage import paths
from rdbench.storage.cache import locked, writing

log = logging.getLogger("rdbench.datasets")

Download = Callable[[Path], None]
Root = Path | paths.DataRoot


class DamagedError(Exception):
    """A prepared folder that is not whole; the message says in what way."""


@dataclass(frozen=True)
class Prepared:
    """A prepared folder whose files have the right sizes."""

    folder: Path
    meta: dict[str, Any]

    @property
    def checksum(self) -> str:
        """Hex digest over the checksums of all arrays."""
        return str(self.meta["checksum"])

    def array(self, split: str, kind: str) -> np.ndarray | None:
        """Read-only memory map of ``images`` or ``labels``; None where there are no labels."""
        name = f"{split}_{kind}.npy"
        if name not in self.meta["files"]:
            return None
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def folder_of_all() -> Path:
    """Where prepared datasets lie."""
    return paths.cache_root() / "datasets"


def folders(name: str) -> list[Path]:
    """Prepared folders of a dataset, whole or not, in order of their names."""
    # Path.glob fails where a cache may not be looked into.
    if not os.path.isdir(folder_of_all()):  # noqa: PTH112
        return []
    paths_of_name = folder_of_all().glob(f"{name}-" + "[0-9a-f]" * 16)
    return sorted(path for path in paths_of_name if path.is_dir())


def ensure(
    info: DatasetInfo, options: DatasetOptions, data_root: Root, progress: Progress | None = None
) -> Prepared:
    """The prepared arrays, made (and the raw data downloaded) now if they are missing or not whole.

    A copy that was prepared before replaces missing raw data, unless the user named the data root.

    Raises DatasetError: no raw data, unusable images, or no place to write to.
    """
    source = _source(info, options, as_root(data_root), info.download)
    if isinstance(source, Prepared):
        return source
    folder = _folder_for(info, source)
    if ready := _open_or_none(folder):
        return ready
    with locked(folder, DatasetError):
        if ready := _open_or_none(folder, notice=True):  # another process may have been first
            return ready
        return _prepare(info, options, source, folder, progress)


def find(info: DatasetInfo, options: DatasetOptions, data_root: Root) -> Prepared | None:
    """What :func:`ensure` would return, or None where it would have to prepare it first.

    Raises DatasetError: no raw data; `MissingDataError` where :func:`ensure` would try to download them.
    """
    source = _source(info, options, as_root(data_root), None)
    return source if isinstance(source, Prepared) else _open_or_none(_folder_for(info, source))


def _source(
    info: DatasetInfo, options: DatasetOptions, root: paths.DataRoot, download: Download | None
) -> Source | Prepared:
    """The raw data, downloaded if need be, or the prepared copy that replaces them."""
    assert info.source is not None
    try:
        return info.source(options, root.folder)
    except MissingDataError as missing:
        only = _only_whole(info.name, options.validation == PUBLISHED)
        if only and not root.named_by:  # raw files may be deleted, or never be sent to a worker
            return only
        try:
            if download is None:
                raise missing from None
            with locked(folder_of_all() / f"{info.name}-download", DatasetError):
                return _download(info, options, root.folder, missing, download)
        except DatasetError as error:
            if only:
                hint = f"; or leave {root.named_by} out to use the copy in {only.folder}"
                raise type(error)(f"{error}{hint}") from None
            raise


def as_root(data_root: Root) -> paths.DataRoot:
    """A data root; a bare path is one that nobody named, which a prepared copy may replace."""
    return data_root if isinstance(data_root, paths.DataRoot) else paths.DataRoot(data_root)


def _folder_for(info: DatasetInfo, source: Source) -> Path:
    canonical = json.dumps([FORMAT, info.name, source.identity], sort_keys=True, separators=(",", ":"))
    return folder_of_all() / f"{info.name}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"


def open_folder(folder: Path) -> Prepared:
    """Open a prepared folder after a cheap check of meta.json and file sizes. Raises `DamagedError`."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        sizes = {name: entry["bytes"] for name, entry in meta["files"].items()}
        sound = meta["format"] == FORMAT and meta["checksum"] == checksum_of(meta["files"])
        splits = [split for split in SPLITS if split in meta["counts"]]
        sound = sound and {"train", "test"} <= set(splits)
        sound = sound and {f"{split}_images.npy" for split in splits} <= set(sizes)
        sound = sound and isinstance(meta["skipped"], list) and isinstance(meta["notes"], list)
        sound = sound and all(isinstance(meta["counts"][split], int) for split in splits)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise DamagedError(f"{META} is missing or damaged")
    for name, size in sizes.items():
        try:
            actual = (folder / name).stat().st_size
        except OSError as error:
            raise DamagedError(f"{name}: {error.strerror}") from None
        if actual != size:
            raise DamagedError(f"{name} has {actual} bytes instead of {size}")
    return Prepared(folder, meta)


def damage(folder: Path) -> tuple[str, ...]:
    """What is wrong with a prepared folder, reading every byte; empty when all checksums agree."""
    try:
        prepared = open_folder(folder)
    except DamagedError as error:
        return (str(error),)
    files = prepared.meta["files"]
    return tuple(
        f"{name} is not what was written (SHA-256 differs)"
        for name, entry in files.items()
        if sha256(folder / name) != entry["sha256"]
    )


def _open_or_none(folder: Path, notice: bool = False) -> Prepared | None:
    if not os.path.exists(folder):  # noqa: PTH110 (exists fails where a cache may not be looked into)
        return None
    try:
        return open_folder(folder)
    except DamagedError as error:
        if notice:
            log.warning("prepared data in %s are damaged (%s): preparing them again", folder, error)
        return None


def _only_whole(name: str, validation: bool) -> Prepared | None:
    """The prepared data of this name with such splits, if all whole folders of them hold the same arrays."""
    known = [prepared for folder in folders(name) if (prepared := _open_or_none(folder))]
    whole = [prepared for prepared in known if ("validation" in prepared.meta["counts"]) == validation]
    return whole[0] if len({prepared.checksum for prepared in whole}) == 1 else None


def _download(
    info: DatasetInfo, options: DatasetOptions, root: Path, missing: MissingDataError, download: Download
) -> Source:
    assert info.source is not None
    with suppress(MissingDataError):
        return info.source(options, root)  # another process may have been first
    try:
        download(root)
    except DatasetError as error:
        raise DatasetError(f"{missing} (download failed: {error})") from None
    return info.source(options, root)


def _prepare(
    info: DatasetInfo, options: DatasetOptions, source: Source, folder: Path, progress: Progress | None
) -> Prepared:
    """Make the folder. The caller holds its lock, so what a killed process left is nobody's and can go."""
    partial = folder.with_name(folder.name + ".partial")
    with writing(folder, DatasetError):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            write_folder(partial, info, info.shape(options), source, progress)
            if folder.exists():
                shutil.rmtree(folder)  # it is damaged
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return open_folder(folder)
