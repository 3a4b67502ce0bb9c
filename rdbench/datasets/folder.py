"""Any folder of images: ``{name: folder, path: photos, size: 64}``.

With ``train/`` and ``test/`` below the path these are the splits, and other subfolders are not used; with
neither, a seeded fraction is held out for testing. Where every image lies in a subfolder, these are the
classes. Names that start with a dot are passed over; every other file counts as an image.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from rdbench.datasets.base import Augmentation, DatasetInfo, DatasetOptions, RawSplit, Shape, Source
from rdbench.datasets.images import UnusableImageError, centre_crop_resize, file_split, printable
from rdbench.errors import DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

_BAD_MEND = "mend or remove them, or set on_bad: skip to leave them out"
_SIZE_MEND = "set wrong_size: resize or skip"


class FolderOptions(DatasetOptions):
    """Options of ``folder``."""

    path: str = Field(min_length=1)
    """The folder; relative to the data root."""
    size: int = Field(ge=4, le=1024)
    """Height and width in pixels."""
    channels: Literal[1, 3] = 3
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """What to hold out where the folder has no ``train/`` and ``test/``."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What to do when files cannot be decoded."""
    wrong_size: Literal["resize", "refuse", "skip"] = "resize"
    """``resize``: centre-crop to a square, then bilinear to ``size``; the number of such images is noted."""
    augment: Literal["none", "flip"] = "none"


def _walk(folder: Path) -> list[tuple[str, int, int]]:
    """(path below ``folder`` with '/', bytes, modification time in ns) of every file, sorted."""
    found: list[tuple[str, int, int]] = []

    def visit(path: Path, prefix: str, parents: frozenset[tuple[int, int]]) -> None:
        status = path.stat()
        here = (status.st_dev, status.st_ino)
        if here in parents:
            raise DatasetError(f"folder: {path} links back to a folder it lies in; remove the link")
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    visit(Path(entry.path), f"{prefix}{entry.name}/", parents | {here})
                elif entry.is_file():
                    status = entry.stat()
                    found.append((prefix + entry.name, status.st_size, status.st_mtime_ns))
                else:
                    name = printable(entry.path)
                    raise DatasetError(f"folder: {name} is a broken link or no regular file; remove it")

    try:
        visit(folder, "", frozenset())
    except OSError as error:
        where = error.filename or folder
        raise DatasetError(f"folder: cannot read {where}: {error.strerror or error}") from None
    return sorted(found)


def _labels(names: list[str], classes: list[str] | None) -> np.ndarray | None:
    if classes is None:
        return None
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[name.split("/")[0]] for name in names], dtype=np.int64)


def _classes(names: list[str]) -> list[str] | None:
    """Sorted names of the subfolders, or None where some image lies in none."""
    return sorted({name.split("/")[0] for name in names}) if all("/" in name for name in names) else None


def _held_out(path: Path, names: list[str], fraction: float) -> tuple[list[str], list[str]]:
    if len(names) < 2:
        raise DatasetError(
            f"folder: {path} has {len(names)} images: at least 2 are needed to train and to test on"
        )
    order = np.random.RandomState(0).permutation(len(names))
    count = min(max(1, round(len(names) * fraction)), len(names) - 1)
    test, train = np.sort(order[:count]), np.sort(order[count:])
    return [names[i] for i in train], [names[i] for i in test]


def _source(options: FolderOptions, root: Path) -> Source:
    path = root / os.path.expanduser(options.path)  # noqa: PTH111 (Path.expanduser fails for an unknown ~user)
    if not path.is_dir():
        raise DatasetError(
            f"folder: {path} is not a folder; correct 'path' (a relative one is below the data root)"
        )
    splits = [path / "train", path / "test"]
    there = [split.is_dir() for split in splits]
    if any(there) and not all(there):
        has, lacks = (split.name for split in (splits if there[0] else reversed(splits)))
        raise DatasetError(
            f"folder: {path} has {has}/ but no {lacks}/: add it, or point 'path' at {path / has} to have "
            "test_fraction of its images held out"
        )
    listings = [_walk(split) for split in splits] if all(there) else [_walk(path)]
    digest = hashlib.sha256()
    for listing in listings:
        digest.update(b"split\0")
        for name, size, time in listing:
            digest.update(os.fsencode(name) + f"\0{size}\0{time}\0".encode())
    arrays = {"size", "channels", "test_fraction", "on_bad", "wrong_size"}
    identity = {
        "path": str(path.resolve()),
        "files": digest.hexdigest(),
        **options.model_dump(include=arrays),
    }

    def read() -> tuple[RawSplit, RawSplit]:
        named = [[name for name, _, _ in listing] for listing in listings]
        for split, split_names in zip(splits if all(there) else [path], named, strict=True):
            if not split_names:
                raise DatasetError(f"folder: {split} has no images")
        classes = _classes([name for names in named for name in names])
        train, test = named if all(there) else _held_out(path, named[0], options.test_fraction)
        roots = splits if all(there) else [path, path]
        return _split(roots[0], train, classes, options), _split(roots[1], test, classes, options)

    return Source(identity, read)


def _split(root: Path, names: list[str], classes: list[str] | None, options: FolderOptions) -> RawSplit:
    size = options.size

    def fit(image: "Image") -> tuple["Image", bool]:
        if image.size == (size, size):
            return image, False
        if options.wrong_size != "resize":
            reason = f"{image.width}x{image.height}, not {size}x{size}"
            raise UnusableImageError(reason, _SIZE_MEND if options.wrong_size == "refuse" else None)
        return centre_crop_resize(image, min(image.size), size), True

    mend = _BAD_MEND if options.on_bad == "refuse" else None
    return file_split(root, names, _labels(names, classes), _shape(options), fit, mend)


def _shape(options: FolderOptions) -> Shape:
    return options.channels, options.size, options.size


def _default_model(options: FolderOptions) -> dict[str, object]:
    """As many widths as halvings bring the size down to 4, at least one and at most four."""
    halvings, size = 0, options.size
    while size > 4:
        halvings, size = halvings + 1, (size + 1) // 2
    widths = [32, 64, 128, 256]
    return {
        "latent": 16 if options.size <= 16 else 64,
        "channels": widths[: min(max(halvings, 1), len(widths))],
    }


def _augmentation(options: FolderOptions) -> Augmentation:
    return options.augment


INFO = DatasetInfo(
    name="folder",
    summary="your own images: path, size, channels (1 or 3)",
    options=FolderOptions,
    shape=_shape,
    default_model=_default_model,
    augmentation=_augmentation,
    source=_source,
)
