"""The types every dataset shares: what a user asks for (`DatasetOptions`), gets (`Dataset`) and registers.

A dataset states only its shape, its defaults, and a `Source` that yields decoded images; the rest is shared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rdbench.errors import DatasetError

Augmentation = Literal["none", "flip", "rotate_crop"]
AUGMENTATIONS: dict[Augmentation, str] = {  # in words; flips are horizontal, crops are resized
    "none": "not augmented",
    "flip": "flipped at random",
    "rotate_crop": "rotated within 10 degrees and cropped at random",
}
Shape = tuple[int, int, int]
Progress = Callable[[int, int], None]  # called with (done, total) images while a dataset is prepared


@dataclass(frozen=True)
class Split:
    """The images of one split: uint8 (N, C, H, W) or float32 (N, n, 1, 1); read-only."""

    images: np.ndarray
    labels: np.ndarray | None  # int64 (N,), or None where the source has no classes


@dataclass(frozen=True)
class Dataset:
    """Two splits ready to train on and measure."""

    name: str
    train: Split
    test: Split
    checksum: str  # hex digest of the arrays, subset included; equal digests mean equal training data
    augmentation: Augmentation
    shape: Shape
    skipped: tuple[str, ...] = ()  # files that were left out, each with the reason
    # How the data differ from those that are published, and what preparation changed, such as image sizes.
    notes: tuple[str, ...] = ()


class DatasetOptions(BaseModel):
    """What a sweep may say about any dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    # Use a random subset of this size, the same for every trial; None is all.
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class BadFile:
    """An image that cannot be used: left out if ``fix`` is None, else refused with that fix."""

    name: str
    reason: str
    fix: str | None = None


@dataclass(frozen=True)
class Batch:
    """Decoded images of one span of a split."""

    images: np.ndarray  # uint8 (k, C, H, W)
    kept: Sequence[int]  # which indices of the split the k images are
    bad: tuple[BadFile, ...] = ()
    other_sizes: Sequence[tuple[int, int]] = ()  # (width, height) of each image of an unexpected size


@dataclass(frozen=True)
class RawSplit:
    """A split before preparation: at most ``count`` images, read in spans so that memory stays bounded."""

    count: int
    labels: np.ndarray | None  # negative is no class: if such an image is kept, the dataset has no labels
    read: Callable[[range], Batch]

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray | None) -> "RawSplit":
        """A split that is in memory: images uint8 (N, C, H, W), labels (N,)."""
        if labels is not None and len(labels) != len(images):
            raise DatasetError(
                f"{len(images)} images but {len(labels)} labels: the raw files do not belong together"
            )
        return cls(len(images), labels, lambda span: Batch(images[span.start : span.stop], span))


@dataclass(frozen=True)
class Source:
    """Raw data that exist, not yet read."""

    # JSON values that change whenever the prepared arrays would: files with sizes and times, and options
    identity: dict[str, Any]
    read: Callable[[], tuple[RawSplit, RawSplit]]  # returns (train, test)


class MissingDataError(DatasetError):
    """The published files of a dataset are not under the data root."""


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset as the registry knows it; callables take an instance of ``options``.

    Either ``source`` (prepared once, then memory-mapped) or ``generate`` (made anew by every trial) is given.
    """

    name: str
    summary: str
    shape: Callable[[Any], Shape]
    default_model: Callable[[Any], dict[str, Any]]  # ``latent`` and ``channels`` of a fitting model
    augmentation: Callable[[Any], Augmentation]
    options: type[DatasetOptions] = DatasetOptions
    sizes: tuple[int, int] | None = None  # training and test images as published; None: the data tell
    raw_size: tuple[int, int] | None = None  # (width, height) as published, if the reader takes others too
    # (options, data root) -> Source; raises `MissingDataError` or `DatasetError`
    source: Callable[[Any, Path], Source] | None = None
    # fetches the raw files into the data root; raises `DatasetError`
    download: Callable[[Path], None] | None = None
    generate: Callable[[Any], Dataset] | None = None

    def __post_init__(self) -> None:
        if (self.source is None) == (self.generate is None):
            raise ValueError(f"dataset {self.name!r} needs either a source or a generator")
