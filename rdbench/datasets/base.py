"""The types every dataset shares: what a user asks for (`DatasetOptions`), gets (`Dataset`) and registers.

A dataset states only its shape, its defaults, and a `Source` that yields decoded images; the rest is shared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from rdbench.errors import DatasetError

Augmentation = Literal["none", "flip", "rotate_crop"]
AUGMENTATIONS: dict[Augmentation, str] = {  # in words; flips are horizontal, crops are resized
    "none": "not augmented",
    "flip": "flipped at random",
    "rotate_crop": "rotated within 10 degrees and cropped at random",
}
Shape = tuple[int, int, int]
Progress = Callable[[int, int], None]  # called with (done, total) images while a dataset is prepared


@dataclass(frozen=True, eq=False)  # known by identity: copies on a GPU are kept by it
class Split:
    """The images of one split: uint8 (N, C, H, W) or float32 (N, n, 1, 1); read-only."""

    images: np.ndarray
    labels: np.ndarray | None  # int64 (N,), or None where the source has no classes


@dataclass(frozen=True)
class Dataset:
    """Splits ready to train on, to choose on where there are validation images, and to measure."""

    name: str
    train: Split
    test: Split
    checksum: str  # hex digest of the arrays, subset included; equal digests mean equal training data
    augmentation: Augmentation
    shape: Shape
    skipped: tuple[str, ...] = ()  # files that were left out, each with the reason
    # How the data differ from those that are published, and what preparation changed, such as image sizes.
    notes: tuple[str, ...] = ()
    validation: Split | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that there are."""
        return ("train", "test") if self.validation is None else ("train", "validation", "test")


PUBLISHED = "published"


def _validation(value: object) -> object:
    if (type(value) is int and value >= 1) or (type(value) is float and 0 < value < 1):
        return value
    if value is None or value == PUBLISHED:
        return value
    raise ValueError("write a number of training images to hold out, a share such as 0.1, or published")


class DatasetOptions(BaseModel):
    """What a sweep may say about any dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    # Use a random subset of this size, the same for every trial; None is all.
    train_images: int | None = Field(default=None, ge=1)
    test_images: int | None = Field(default=None, ge=1)
    # Training images to choose on instead: a number, a share, or the published validation split by name.
    validation: Annotated[int | float | Literal["published"] | None, BeforeValidator(_validation)] = None

    @model_serializer(mode="wrap")
    def _without_validation(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not asked for: trials are known by what is there."""
        return {key: v for key, v in handler(self).items() if v is not None or key != "validation"}

    def held_out(self, images: int) -> int:
        """How many of so many training images are held out for validation. Raises DatasetError: too many."""
        asked = self.validation
        if asked is None or asked == PUBLISHED:
            return 0
        count = asked if isinstance(asked, int) else round(float(asked) * images)
        if not 0 < count < images:
            raise DatasetError(
                f"{self.name}: validation: {asked} of {images:,} training images leaves none on one side;"
                " ask for another number or share"
            )
        return count


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
    read: Callable[[], Sequence[RawSplit]]  # returns (train, test), and validation where it was asked for
    notes: Callable[[], Sequence[str]] = tuple  # what reading changed, asked for once they are read


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
    validation_size: int | None = None  # of the published validation split; None: there is none
    raw_size: tuple[int, int] | None = None  # (width, height) as published, if the reader takes others too
    # (options, data root) -> Source; raises `MissingDataError` or `DatasetError`
    source: Callable[[Any, Path], Source] | None = None
    # fetches the raw files into the data root; raises `DatasetError`
    download: Callable[[Path], None] | None = None
    generate: Callable[[Any], Dataset] | None = None

    def __post_init__(self) -> None:
        if (self.source is None) == (self.generate is None):
            raise ValueError(f"dataset {self.name!r} needs either a source or a generator")
