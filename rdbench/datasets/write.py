"""Write a source to a folder of checksummed uint8 arrays: decode, refuse or leave out, store, describe."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdbench.datasets.base import BadFile, DatasetInfo, Progress, RawSplit, Shape, Source
from rdbench.errors import DatasetError
from rdbench.text import counted

FORMAT = 1  # raise when the layout of a prepared folder, or the meaning of its arrays, changes
SPLITS = ("train", "test", "validation")  # of which the last may be missing
META = "meta.json"

_BATCH_BYTES = 2**26
_BATCH_IMAGES = 1024
_NAMED_FILES = 3  # of all unusable files, how many an error names


def write_folder(
    folder: Path, info: DatasetInfo, shape: Shape, source: Source, progress: Progress | None
) -> None:
    """Write arrays and meta.json of a dataset whose images are uint8 of this shape into an empty folder.

    Raises DatasetError for images that must not be left out, or when none are left; OSError from the disk.
    """
    splits = dict(zip(SPLITS, source.read(), strict=False))
    total, done = sum(split.count for split in splits.values()), 0

    def tick(images: int) -> None:
        nonlocal done
        done += images
        if progress:
            progress(done, total)

    reports = {split: _write_split(folder, split, raw, shape, tick) for split, raw in splits.items()}
    _refuse([bad for report in reports.values() for bad in report.bad if bad.fix], info.name)
    for split, report in reports.items():
        if not report.kept:
            raise DatasetError(f"{info.name}: no {split} images ({len(report.bad)} were left out)")
    _write_labels(folder, {split: (raw.labels, reports[split].kept) for split, raw in splits.items()})
    _write_meta(folder, info, source, reports)


def checksum_of(files: dict[str, Any]) -> str:
    """One hex digest over the entries of meta.json's ``files``."""
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Report:
    """What became of one split."""

    kept: list[int]
    bad: tuple[BadFile, ...]
    other_sizes: Counter[tuple[int, int]]


def _write_split(
    folder: Path, name: str, raw: RawSplit, shape: Shape, tick: Callable[[int], None]
) -> _Report:
    kept: list[int] = []
    bad: list[BadFile] = []
    other_sizes: Counter[tuple[int, int]] = Counter()
    step = max(1, min(_BATCH_IMAGES, _BATCH_BYTES // int(np.prod(shape))))
    # Plain writes, not a writable memory map: a full disk fails the one with an error, the other with SIGBUS.
    with (folder / f"{name}_images.npy").open("wb") as file:
        _write_header(file, (raw.count, *shape))
        for start in range(0, raw.count, step):
            span = range(start, min(start + step, raw.count))
            batch = raw.read(span)
            if batch.images.dtype != np.uint8 or batch.images.shape[1:] != shape:
                got, want = ("x".join(map(str, sizes)) for sizes in (batch.images.shape[1:], shape))
                raise DatasetError(f"{name} images are {batch.images.dtype} {got} instead of uint8 {want}")
            file.write(np.ascontiguousarray(batch.images).data)
            kept.extend(batch.kept)
            bad.extend(batch.bad)
            other_sizes.update(batch.other_sizes)
            tick(len(span))
        file.seek(0)
        _write_header(file, (len(kept), *shape))  # numpy pads headers, so a smaller count takes as much room
        _sync(file)
    return _Report(kept, tuple(bad), other_sizes)


def _write_labels(folder: Path, splits: dict[str, tuple[np.ndarray | None, list[int]]]) -> None:
    labels = {name: of_all[kept] for name, (of_all, kept) in splits.items() if of_all is not None}
    if any((values < 0).any() for values in labels.values()):
        return
    for name, values in labels.items():
        with (folder / f"{name}_labels.npy").open("wb") as file:
            np.save(file, values.astype(np.int64), allow_pickle=False)
            _sync(file)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _refuse(bad: list[BadFile], name: str) -> None:
    if bad:
        named = ", ".join(f"{file.name} ({file.reason})" for file in bad[:_NAMED_FILES])
        more = f" and {len(bad) - _NAMED_FILES} more" if len(bad) > _NAMED_FILES else ""
        fixes = "; ".join(dict.fromkeys(str(file.fix) for file in bad))
        raise DatasetError(f"{name}: {counted(len(bad), 'file')} cannot be used: {named}{more}; {fixes}")


def _notes(info: DatasetInfo, reports: Iterable[_Report]) -> list[str]:
    """What a reader of results should know of the sizes of the raw images."""
    reports = list(reports)
    other_sizes: Counter[tuple[int, int]] = sum((report.other_sizes for report in reports), Counter())
    if not other_sizes:
        return []
    many = f"{other_sizes.total()} of {sum(len(report.kept) for report in reports)} images"
    if info.raw_size is None:
        return [f"{many} had another size and were cropped and resized"]
    published = "x".join(map(str, info.raw_size))
    (commonest, _), *_ = other_sizes.most_common(1)
    return [f"{many} are not {published} as published (most often {'x'.join(map(str, commonest))})"]


def _write_meta(folder: Path, info: DatasetInfo, source: Source, reports: dict[str, _Report]) -> None:
    arrays = sorted(folder.glob("*.npy"))
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in arrays}
    meta = {
        "format": FORMAT,
        "name": info.name,
        "identity": source.identity,
        "counts": {split: len(report.kept) for split, report in reports.items()},
        "files": files,
        "checksum": checksum_of(files),
        "skipped": [f"{split}: {bad.name}: {bad.reason}" for split in reports for bad in reports[split].bad],
        "notes": [*_notes(info, reports.values()), *source.notes()],
    }
    with (folder / META).open("wb") as file:
        file.write(json.dumps(meta, indent=1).encode())
        _sync(file)
