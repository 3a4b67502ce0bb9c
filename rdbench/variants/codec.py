"""Image codecs: JPEG, WebP, AVIF, JPEG 2000 and PNG, whose rates are real bits.

Files have headers, which rule on small images: a flat JPEG of 28x28 takes 3.5 bits a pixel. So images are
laid out as mosaics by default, and an image's rate is its share of the mosaic's file. A block of the
transform may then span two images.
"""

import io
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, features

import rdbench
from rdbench.errors import SpecError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

SIDE = 4096
"""Pixels of a mosaic at most, in either direction: all formats take as many."""

QUALITIES: dict[str, tuple[int, ...]] = {
    "jpeg": (1, 2, 3, 5, 8, 12, 18, 25, 35, 50, 65, 80, 90, 95),
    "webp": (0, 5, 10, 20, 35, 50, 65, 80, 90, 95),
    "avif": (0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95),
    "jpeg2000": (10, 14, 17, 20, 22, 24, 26, 28, 30, 33, 36, 40),  # decibels
    "png": (100,),
}
"""What the encoder is asked for, each a point of its curve; PNG has one, without loss."""

LIBRARIES = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "jpeg2000": "jpg_2000", "png": "zlib"}


class Coded(NamedTuple):
    """What one quality makes of some images, each (images,): squared errors, and nats of the file."""

    sse: Floats
    rate: Floats


@rdbench.variant("codec", native="half", curve=True, paper="Wallace 1992; Skodras et al. 2001")
def codec(
    trial: rdbench.Run,
    data: rdbench.Dataset,
    *,
    format: Literal["jpeg", "webp", "avif", "jpeg2000", "png"] = "jpeg",
    layout: Literal["mosaic", "single"] = "mosaic",
) -> rdbench.TrialResult:
    """An image codec of Pillow at the quality with the least sse + beta rate on the training images.

    Nothing is trained; model, epochs and seed mean nothing to it. The rate is the length of the file in nats
    (bits times ln 2). Where two betas choose one quality their points coincide. ELBO and likelihood are those
    of a code in two parts: the file, then the residual under the reading's variance. The encoders' versions
    are among the trial's.

    Args:
        format: jpeg, webp, avif, jpeg2000 or png (without loss: one point).
        layout: mosaic, many images in a file; or single, a file for each image.
    """
    _check(trial, data, format)
    splits = {split: getattr(data, split).images for split in data.splits}
    at_quality = [
        {split: _coded(images, format, quality, layout) for split, images in splits.items()}
        for quality in QUALITIES[format]
    ]
    measured = {}
    for beta in trial.betas:
        costs = [float((one["train"].sse + beta * one["train"].rate).mean()) for one in at_quality]
        best = at_quality[int(np.argmin(costs))]
        measured[beta] = {split: rdbench.Measurement(one.sse, one.rate) for split, one in best.items()}
    return rdbench.TrialResult(measured=measured)


def _check(trial: rdbench.Run, data: rdbench.Dataset, format: str) -> None:
    """Refuse what a codec cannot code, or this machine's Pillow not read."""
    if data.train.images.dtype != np.uint8 or data.shape[0] not in (1, 3):
        raise SpecError(
            f"variant codec codes 8-bit images of 1 or 3 channels, and {data.name} holds"
            f" {data.train.images.dtype} of {data.shape[0]}; remove it from variants"
        )
    if trial.settings.protocol != "clean":
        raise SpecError("variant codec codes images as they are; use protocol: clean, or remove it")
    if not features.check(LIBRARIES[format]):
        raise SpecError(f"variant codec: this machine's Pillow lacks {format}; choose another")


def _coded(images: Pixels, format: str, quality: int, layout: str) -> Coded:
    """Code images (images, channels, height, width) and decode them again."""
    errors, rates = [], []
    for part, size in _mosaics(images, layout):
        content = _file(_picture(part, size), format, quality)
        decoded = _parts(np.asarray(Image.open(io.BytesIO(content))), part.shape, size)
        difference = (part.astype(np.float64) - decoded) / 255
        errors.append(np.square(difference).reshape(len(part), -1).sum(1))
        rates.append(np.full(len(part), 8 * len(content) * math.log(2) / len(part)))
    return Coded(np.concatenate(errors), np.concatenate(rates))


def _mosaics(images: Pixels, layout: str) -> Iterator[tuple[Pixels, tuple[int, int]]]:
    """Yield some images and (rows, columns) of the mosaic that holds them, about as wide as high."""
    height, width = images.shape[2:]
    most = 1 if layout == "single" else max(1, SIDE // height) * max(1, SIDE // width)
    for start in range(0, len(images), most):
        part = images[start : start + most]
        columns = min(len(part), max(1, SIDE // width), math.ceil(math.sqrt(len(part) * height / width)))
        yield part, (math.ceil(len(part) / columns), columns)


def _picture(part: Pixels, size: tuple[int, int]) -> Pixels:
    """Lay images out row by row; the last place is repeated where there are more places than images."""
    rows, columns = size
    count, channels, height, width = part.shape
    places = part[np.minimum(np.arange(rows * columns), count - 1)]
    grid = places.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, channels))


def _parts(picture: npt.NDArray[Any], shape: tuple[int, ...], size: tuple[int, int]) -> Pixels:
    """Take a decoded picture apart again, into images of ``shape``."""
    rows, columns = size
    count, channels, height, width = shape
    # WebP knows no grey: its red is as good as any.
    values = picture.reshape(rows * height, columns * width, -1)[:, :, :channels]
    grid = values.reshape(rows, height, columns, width, channels).transpose(0, 2, 4, 1, 3)
    return grid.reshape(rows * columns, channels, height, width)[:count]


def _file(picture: Pixels, format: str, quality: int) -> bytes:
    """Return the file of a picture (height, width, channels)."""
    options: dict[str, Any] = {"quality": quality}
    if format == "jpeg":
        options |= {"optimize": True}
    elif format == "avif":
        options |= {"speed": 6, "max_threads": 1}
    elif format == "jpeg2000":
        options = {"quality_mode": "dB", "quality_layers": [quality], "irreversible": True}
    elif format == "png":
        options = {"optimize": True}
    buffer = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(buffer, format, **options)
    return buffer.getvalue()
