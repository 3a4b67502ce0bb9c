"""Decode image files to arrays, in parallel, telling unusable files from trouble with reading."""

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rdbench.datasets.base import BadFile, Batch, RawSplit, Shape
from rdbench.errors import DatasetError
from rdbench.machine import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    Fit = Callable[[Image], tuple[Image, bool]]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_THREADS = 8


class UnusableImageError(Exception):
    """An image to leave out, or to refuse if ``fix`` says how the user fixes it."""

    def __init__(self, reason: str, fix: str | None = None) -> None:
        super().__init__(reason)
        self.fix = fix


def decode(content: bytes, channels: int) -> "Image":
    """The first frame as an 8-bit grey (1) or RGB (3) image; raises `UnusableImageError` with the reason.

    As in torchvision's image folder, transparency is dropped and EXIF rotation is not applied.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise UnusableImageError("empty file")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.mode in _DEEP_MODES:  # Pillow would clip these at 255, which turns photographs white
            raise UnusableImageError(f"more than 8 bits a value (mode {image.mode})")
        image.load()
    except (UnusableImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnusableImageError("not an image in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusableImageError(f"more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Exception as error:  # a damaged file makes Pillow's parsers raise nearly any type
        raise UnusableImageError(f"damaged: {_one_line(error)}") from None
    wanted, mode = "L" if channels == 1 else "RGB", image.mode
    try:
        if mode == "LAB":
            image = image.convert("RGB")  # the only way that Pillow knows out of LAB
        return image.convert(wanted)
    except (ValueError, ImportError):  # the latter: a Pillow without colour management
        raise UnusableImageError(f"mode {mode} cannot be converted to {wanted}") from None


def centre_crop_resize(image: "Image", crop: int, size: int) -> "Image":
    """Crop the central ``crop`` x ``crop`` pixels, then resize to ``size`` x ``size``.

    Bilinear and antialiased: equal, pixel by pixel, to torchvision's CenterCrop(crop) and Resize(size) on a
    Pillow image of at least ``crop`` pixels either way.
    """
    from PIL.Image import Resampling

    left, top = round((image.width - crop) / 2.0), round((image.height - crop) / 2.0)
    return image.crop((left, top, left + crop, top + crop)).resize((size, size), Resampling.BILINEAR)


def file_split(
    root: Path, names: Sequence[str], labels: np.ndarray | None, shape: Shape, fit: "Fit", fix: str | None
) -> RawSplit:
    """A split whose images are files below ``root``.

    ``fit`` brings a decoded image to the shape and says whether it had an unexpected size; it may raise
    `UnusableImageError`. Files that cannot be decoded are refused with the fix ``fix``, or left out if it is
    None.
    """

    def one(name: str) -> tuple[np.ndarray, tuple[int, int] | None] | BadFile:
        try:
            content = (root / name).read_bytes()
        except OSError as error:  # trouble with the disk or with rights is no reason to train on fewer images
            reason = error.strerror or _one_line(error)
            raise DatasetError(f"{root}: cannot read {printable(name)}: {reason}") from None
        try:
            image = decode(content, shape[0])
        except UnusableImageError as error:
            return BadFile(printable(name), str(error), fix)
        size = image.size
        try:
            image, another_size = fit(image)
        except UnusableImageError as error:
            return BadFile(printable(name), str(error), error.fix)
        pixels = np.asarray(image, dtype=np.uint8).reshape(*shape[1:], shape[0])
        return pixels.transpose(2, 0, 1), size if another_size else None

    def read(span: range) -> Batch:
        from PIL.Image import DecompressionBombWarning

        with warnings.catch_warnings(), ThreadPoolExecutor(min(_THREADS, usable_cores())) as pool:
            warnings.simplefilter("ignore")  # Pillow remarks on odd metadata, which changes no pixel
            warnings.simplefilter("error", DecompressionBombWarning)
            results = list(pool.map(one, (names[index] for index in span)))
        good = [(i, r) for i, r in zip(span, results, strict=True) if not isinstance(r, BadFile)]
        images = np.stack([r[0] for _, r in good]) if good else np.empty((0, *shape), np.uint8)
        bad = tuple(r for r in results if isinstance(r, BadFile))
        return Batch(images, [i for i, _ in good], bad, [r[1] for _, r in good if r[1]])

    return RawSplit(len(names), labels, read)


def printable(name: str) -> str:
    """A file name fit for messages and tables: one line, bytes that are no UTF-8 replaced."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
