"""Datasets that torchvision reads and downloads: what they share."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.datasets.base import DatasetInfo, DatasetOptions, MissingDataError, RawSplit, Shape, Source
from rdbench.errors import DatasetError

_TIMEOUT_SECONDS = 30.0


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
) -> DatasetInfo:
    """The `DatasetInfo` of a torchvision class whose raw ``files`` lie in ``folder`` below the data root."""
    needs = f"put {', '.join(files)} into"

    def source(options: DatasetOptions, root: Path) -> Source:
        found = file_times(name, root / folder, files, needs)
        return Source({"files": found}, lambda: _read(name, torchvision_class, root, root / folder))

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


def file_times(name: str, folder: Path, files: Sequence[str], needs: str) -> list[list[Any]]:
    """[name, bytes, modification time in ns] of each file; a `MissingDataError` says what it ``needs``."""
    times: list[list[Any]] = []
    for file in files:
        try:
            status = (folder / file).stat()
        except OSError as error:
            reason = error.strerror or str(error)
            raise MissingDataError(
                f"{name}: {folder / file}: {reason}; {needs} {folder}, or name the data root that has them "
                "with --data or RDBENCH_DATA"
            ) from None
        times.append([file, status.st_size, status.st_mtime_ns])
    return times


def _read(name: str, torchvision_class: str, root: Path, folder: Path) -> tuple[RawSplit, RawSplit]:
    import torchvision

    def split(train: bool) -> RawSplit:
        data = getattr(torchvision.datasets, torchvision_class)(root, train=train, download=False)
        images, labels = np.asarray(data.data), np.asarray(data.targets, dtype=np.int64)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return RawSplit.from_arrays(images, labels)

    try:
        return split(train=True), split(train=False)
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
        raise DatasetError(" ".join(str(error).split())) from None
    finally:
        socket.setdefaulttimeout(before)


def _writable(folder: Path) -> bool:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    # The mode too: root may write anywhere, but a folder that nobody may write to is meant to stay as it is.
    return os.access(existing, os.W_OK) and bool(existing.stat().st_mode & 0o222)
