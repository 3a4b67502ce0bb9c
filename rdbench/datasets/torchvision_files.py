"""Datasets that torchvision reads and downloads: what they share."""

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.datasets.base import DatasetInfo, DatasetOptions, MissingDataError, RawSplit, Shape, Source
from rdbench.errors import DatasetError

_TIMEOUT_SECONDS = 30.0

Read = Callable[[Path, Path], tuple[RawSplit, RawSplit]]
"""(data root, folder of the files) -> (train, test); may raise anything for damaged files."""


def info(
    name: str,
    summary: str,
    *,
    torchvision_class: str,
    folder: str,
    files: Sequence[str],
    shape: Shape,
    default_model: dict[str, Any],
    augmentation: Any,
    sizes: tuple[int, int],
    read: Read | None = None,
    packed: str = "",
) -> DatasetInfo:
    """The `DatasetInfo` of a torchvision class whose raw ``files`` lie in ``folder`` below the data root.

    ``read`` takes the place of the class's own reader; with ``packed``, such as ``.gz``, it reads files of
    which only a packed copy is there, too.
    """
    needs = f"put {', '.join(files)}{f' (or each as {packed})' if packed else ''} into"
    reader = read or _reader(torchvision_class)

    def source(options: DatasetOptions, root: Path) -> Source:
        found = file_times(name, root / folder, files, needs, packed)
        return Source({"files": found}, lambda: _read(name, reader, root, root / folder))

    def download(root: Path) -> None:
        _download(torchvision_class, root)

    return DatasetInfo(
        name=name,
        summary=summary,
        options=DatasetOptions,
        shape=lambda options: shape,
        default_model=lambda options: dict(default_model),
        augmentation=lambda options: augmentation,
        sizes=sizes,
        source=source,
        download=download,
    )


def file_times(
    name: str, folder: Path, files: Sequence[str], needs: str, packed: str = ""
) -> list[list[Any]]:
    """[name, bytes, modification time in ns] of each file; a `MissingDataError` says what it ``needs``.

    A file that is not there itself may be there ``packed``, under its name with this ending.
    """
    times: list[list[Any]] = []
    for file in files:
        try:
            if packed and not (folder / file).exists() and (folder / (file + packed)).exists():
                file += packed
            status = (folder / file).stat()
        except OSError as error:
            reason = error.strerror or str(error)
            raise MissingDataError(
                f"{name}: {folder / file}: {reason}; {needs} {folder}, or name the data root that has them "
                "with --data or RDBENCH_DATA"
            ) from None
        times.append([file, status.st_size, status.st_mtime_ns])
    return times


def _reader(torchvision_class: str) -> Read:
    def read(root: Path, folder: Path) -> tuple[RawSplit, RawSplit]:
        import torchvision

        def split(train: bool) -> RawSplit:
            data = getattr(torchvision.datasets, torchvision_class)(root, train=train, download=False)
            images, labels = np.asarray(data.data), np.asarray(data.targets, dtype=np.int64)
            return RawSplit.from_arrays(images.transpose(0, 3, 1, 2), labels)

        return split(train=True), split(train=False)

    return read


def _read(name: str, reader: Read, root: Path, folder: Path) -> tuple[RawSplit, RawSplit]:
    try:
        return reader(root, folder)
    except (
        Exception
    ) as error:  # torchvision takes whole files for granted: a damaged one raises nearly any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"{name}: the raw files in {folder} are damaged or incomplete ({reason}); delete them and put "
            "whole ones there"
        ) from None


def _download(torchvision_class: str, root: Path) -> None:
    import torchvision

    if not _writable(root):
        raise DatasetError(f"{root} is not writable")
    there = _existing(root)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(
        _TIMEOUT_SECONDS
    )  # torchvision sets none: behind some firewalls it would wait for ever
    try:
        getattr(torchvision.datasets, torchvision_class)(root, train=True, download=True)
    except (
        OSError,
        RuntimeError,
    ) as error:  # URLError is an OSError; RuntimeError: no mirror, or a wrong checksum
        _remove_empty(root, there)
        raise DatasetError(" ".join(str(error).split())) from None
    finally:
        socket.setdefaulttimeout(before)


def _remove_empty(root: Path, there: Path) -> None:
    """Remove what a failed download left of a root that was made for it: the name may have been a slip."""
    if root != there:
        made = [path for path in (root, *root.parents) if path.is_relative_to(there) and path != there]
        for path in [*sorted(root.rglob("*"), reverse=True), *made]:
            with contextlib.suppress(OSError):  # no folder, or not empty
                path.rmdir()


def _existing(folder: Path) -> Path:
    # Path.exists fails where a folder may not be looked into.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110


def _writable(folder: Path) -> bool:
    existing = _existing(folder)
    # The mode too: root may write anywhere, but a folder that nobody may write to is meant to stay as it is.
    return os.access(existing, os.W_OK) and bool(existing.stat().st_mode & 0o222)
