"""What a dataset of one's own gives, as uint8 arrays: pairs of arrays, torch Datasets, generators.

Images are taken as (height, width), (channels, height, width) or (height, width, channels), of one size, with
1 or 3 channels; values as uint8 of 0 to 255, or as floats of 0 to 1, which are rounded to 256 levels.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rdbench.datasets.base import RawSplit
from rdbench.errors import DatasetError

USAGE = (
    "give (images, labels), a torch Dataset, or yield (image, label) one by one; or a mapping"
    ' {"train": ..., "test": ...} of these'
)

VALUES = "give uint8 of 0 to 255, or floats of 0 to 1"


@dataclass
class Taken:
    """The splits of a dataset, and what was done to its values; ``notes`` may repeat."""

    splits: list[RawSplit]
    shape: tuple[int, int, int]
    notes: list[str] = field(default_factory=list)


def take(given: Any, test_fraction: float) -> Taken:
    """Return training and test split of what a dataset gives; a fraction is held out where it has no test.

    DatasetError, in one line: it is no dataset, or its images or labels are not what they should be.
    """
    notes: list[str] = []
    if isinstance(given, Mapping):
        if given.keys() != {"train", "test"}:
            keys = ", ".join(map(repr, given)) or "nothing"
            raise DatasetError(f"its mapping holds {keys}, not 'train' and 'test'; {USAGE}")
        pairs = [_pair(given[name], f"the {name} split", notes) for name in ("train", "test")]
    else:
        pairs = _held_out(*_pair(given, "it", notes), test_fraction)
    (train, _), (test, _) = pairs
    if train.shape[1:] != test.shape[1:]:
        shapes = " and ".join("x".join(map(str, images.shape[1:])) for images in (train, test))
        raise DatasetError(f"training and test images are {shapes}; make them one size")
    channels, height, width = train.shape[1:]
    splits = [RawSplit.from_arrays(images, labels) for images, labels in pairs]
    return Taken(splits, (channels, height, width), list(dict.fromkeys(notes)))


_Pair = tuple[np.ndarray, np.ndarray | None]


def _held_out(images: np.ndarray, labels: np.ndarray | None, fraction: float) -> list[_Pair]:
    count = round(fraction * len(images))
    if not 0 < count < len(images):
        raise DatasetError(
            f"test_fraction: {fraction:g} of {len(images)} images leaves none on one side; use another"
        )
    order = np.random.RandomState(0).permutation(len(images))
    chosen = np.sort(order[count:]), np.sort(order[:count])
    return [(images[index], None if labels is None else labels[index]) for index in chosen]


def _pair(given: Any, what: str, notes: list[str]) -> _Pair:
    """Return images, uint8 (N, C, H, W), and labels, int64 (N,) or None, of one split."""
    if isinstance(given, tuple | list) and len(given) == 2 and all(_is_array(part) for part in given):
        images, labels = np.asarray(given[0]), np.asarray(given[1])
    elif _is_array(given):
        images, labels = np.asarray(given), None
    else:
        images, labels = _collected(given, what)
    pixels = _pixels(_channels_first(images, what), what, notes)
    return pixels, None if labels is None else _classes(labels, len(images), what)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0 and not hasattr(value, "getbands")


def _collected(given: Any, what: str) -> _Pair:
    """Return what a torch Dataset or a generator gives one by one, stacked."""
    if isinstance(given, str | bytes) or not (hasattr(given, "__iter__") or hasattr(given, "__getitem__")):
        raise DatasetError(f"{what} is {_named(given)}; {USAGE}")
    indexed = hasattr(given, "__len__") and hasattr(given, "__getitem__")
    items: Iterable[Any] = (given[index] for index in range(len(given))) if indexed else given
    images: list[np.ndarray] = []
    labels: list[Any] = []
    for number, item in enumerate(items):
        image, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        array = np.asarray(image)
        if array.dtype == object or array.ndim not in (2, 3):
            shape = f" of shape {array.shape}" if _is_array(image) else ""
            raise DatasetError(f"image {number} of {what} is {_named(image)}{shape}, no image; {USAGE}")
        if images and array.shape != images[0].shape:
            first, other = ("x".join(map(str, one.shape)) for one in (images[0], array))
            raise DatasetError(f"image {number} of {what} is {other}, image 0 is {first}; make them one size")
        images.append(array)
        labels.append(label)
    if not images:
        raise DatasetError(f"{what} holds no images; {USAGE}")
    if all(label is None for label in labels):
        return np.stack(images), None
    return np.stack(images), np.asarray([-1 if label is None else label for label in labels])


def _named(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def _channels_first(images: np.ndarray, what: str) -> np.ndarray:
    """Return images as (N, C, H, W); C is 1 or 3."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    shape = "x".join(map(str, images.shape))
    raise DatasetError(
        f"images of {what} are {shape}; they must be (N, height, width), or with 1 or 3 channels"
        " (N, channels, height, width)"
    )


def _pixels(images: np.ndarray, what: str, notes: list[str]) -> np.ndarray:
    """Return values as uint8 of 0 to 255."""
    if images.size == 0:
        raise DatasetError(f"{what} holds no images; {USAGE}")
    kind = images.dtype.kind
    if kind == "b":
        return images.astype(np.uint8) * 255
    if kind not in "uif":
        raise DatasetError(f"values of {what} are {images.dtype}; {VALUES}")
    if kind == "f" and not np.isfinite(images).all():
        number = int(np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(1))[0])
        raise DatasetError(f"image {number} of {what} holds a value that is not finite")
    low, high = float(images.min()), float(images.max())
    span = f"values of {what} are {images.dtype} of {low:g} to {high:g}"
    if kind == "f":
        if low < 0 or high > 1:
            raise DatasetError(f"{span}; {VALUES}")
        scaled = images.astype(np.float64) * 255
        rounded = np.round(scaled)
        if float(np.abs(scaled - rounded).max()) > 1e-3:
            notes.append("values were rounded to 256 levels")
        return rounded.astype(np.uint8)
    if low < 0 or high > 255:
        raise DatasetError(f"{span}; {VALUES}")
    if high <= 1:
        raise DatasetError(f"{span}, which is black; white is 255: multiply by 255")
    return images.astype(np.uint8)


def _classes(labels: np.ndarray, count: int, what: str) -> np.ndarray:
    """Return labels as int64 (N,)."""
    if labels.ndim != 1 or len(labels) != count:
        raise DatasetError(f"{what} has {count} images and labels of shape {labels.shape}; give one of each")
    if labels.dtype.kind not in "buif" or not np.array_equal(labels, np.round(labels.astype(np.float64))):
        raise DatasetError(f"labels of {what} are {labels.dtype}; number the classes 0, 1, 2 ...")
    return labels.astype(np.int64)
