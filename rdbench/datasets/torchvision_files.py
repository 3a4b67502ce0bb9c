"""Datasets that torchvision reads and downloads: what they share."""

import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.datasets.base import DatasetOptions, MissingDataError, RawSplit, Source
from rdbench.errors import DatasetError
from rdbench.storage.paths import nearest_existing

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class TorchvisionFiles:
    """The raw files of a torchvision dataset: they are found, read and downloaded here."""

    name: str  # of the dataset
    torchvision_class: str  # which downloads the files, and reads them unless ``read`` is given
    folder: str  # of the files, below the data root
    files: Sequence[str]
    # folder -> (train, test), in place of the class's reader; may raise anything for damaged files
    read: Callable[[Path], tuple[RawSplit, RawSplit]] | None = None
    packed: str = (
        ""  # ending of packed copies that ``read`` takes if a file itself is missing, such as ``.gz``
    )

    def source(self, options: DatasetOptions, root: Path) -> Source:
        """Return the files, once each is known to be there. Raises `MissingDataError`."""
        needs = f"put {', '.join(self.files)}{f' (or each as {self.packed})' if self.packed else ''} into"
        times = file_times(self.name, root / self.folder, self.files, needs, self.packed)
        return Source({"files": times}, lambda: self._read(root))

    def download(self, root: Path) -> None:
        """Have torchvision fetch the files. Raises DatasetError."""
        existing = nearest_existing(root)
        # The mode too: root may write anywhere, but a folder that nobody may write to is to stay as it is.
        if not (os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222):
            raise DatasetError(f"{root} is not writable")
        before = socket.getdefaulttimeout()
        # torchvision sets none: behind some firewalls it would wait for ever
        socket.setdefaulttimeout(_TIMEOUT_SECONDS)
        try:
            self._torchvision(root, train=True, download=True)
        except (OSError, RuntimeError) as error:
            # URLError is an OSError; RuntimeError: no mirror, or a wrong checksum
            _remove_empty(root, existing)
            raise DatasetError(" ".join(str(error).split())) from None
        finally:
            socket.setdefaulttimeout(before)

    def _torchvision(self, root: Path, **options: bool) -> Any:
        import torchvision

        return getattr(torchvision.datasets, self.torchvision_class)(root, **options)

    def _read(self, root: Path) -> tuple[RawSplit, RawSplit]:
        folder = root / self.folder
        try:
            if self.read is not None:
                return self.read(folder)
            return self._read_split(root, train=True), self._read_split(root, train=False)
        except Exception as error:  # torchvision expects whole files: a damaged one raises nearly any type
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DatasetError(
                f"{self.name}: the raw files in {folder} are damaged or incomplete ({reason}); delete them"
                " and put whole ones there"
            ) from None

    def _read_split(self, root: Path, train: bool) -> RawSplit:
        data = self._torchvision(root, train=train, download=False)
        images, labels = np.asarray(data.data), np.asarray(data.targets, dtype=np.int64)
        return RawSplit.from_arrays(images.transpose(0, 3, 1, 2), labels)


def file_times(
    name: str, folder: Path, files: Sequence[str], needs: str, packed: str = ""
) -> list[list[Any]]:
    """[name, bytes, modification time in ns] of each file; a `MissingDataError` says what it ``needs``.

    A missing file may be there ``packed``, under its name with this ending.
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


def _remove_empty(root: Path, existing: Path) -> None:
    """Remove the empty folders that a failed download made: the root's name may have been a typing error."""
    if root != existing:
        made = [path for path in (root, *root.parents) if path.is_relative_to(existing) and path != existing]
        for path in [*sorted(root.rglob("*"), reverse=True), *made]:
            with contextlib.suppress(OSError):  # no folder, or not empty
                path.rmdir()
