"""Feature networks: what the metrics that compare sets of images compare them by.

    inception.py    the network of FID                  classifier.py   one that rdbench trains itself
    weights.py      Inception's published weights, fetched once and checked
    samples.py      streams of uint8 images: from the prior, reconstructed, stored
    reference.py    what a dataset's own images give, computed once
    comparison.py   a model's images beside a dataset's: what the metrics ask for
    labels.py       whether a dataset can train the classifier

A network is wrapped as :class:`Features`, so that a metric need not know which one it is given. Nothing here
knows of distances between features: those are statistics.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from rdbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Features:
    """A feature network, ready to use on one device.

    Attributes:
        name: "inception" or "classifier".
        size: numbers in one feature vector.
        hash: SHA-256 of the weights, hex.
        extract: uint8 images (batch, channels, height, width) on the device -> float32 (batch, size).
        settings: JSON values that tell these features from others of the same weights, such as the
            resizing, and what a reader of results should know of the network.
        batch: how many images to pass at once.
    """

    name: str
    size: int
    hash: str
    extract: "Callable[[Tensor], Tensor]"
    settings: dict[str, Any]
    batch: int


class CacheError(UserError):
    """A file that cannot be kept in the cache."""


def make_once(target: Path, read: Callable[[Path], T | None], write: Callable[[BinaryIO], None]) -> T:
    """Return what a cached file holds, having made the file where it is not there or not whole.

    It is written under a temporary name and renamed, under a lock: of many processes that ask at once, one
    makes it and the others wait, and nobody ever sees a part of it.

    Args:
        target: the file.
        read: returns None where the file is missing or damaged.
        write: fills the open file. What it raises passes through, and leaves nothing behind.

    Raises:
        CacheError: the folder cannot be written to.
    """
    from filelock import FileLock

    if (made := read(target)) is not None:
        return made
    lock = FileLock(target.with_name(target.name + ".lock"))
    partial = target.with_name(target.name + ".partial")  # under the lock, a killed process's is nobody's
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        if (made := read(target)) is not None:  # another process was first
            return made
        with _writing(target):
            file = partial.open("wb")
        with file:
            write(file)
            with _writing(target):
                file.flush()
                os.fsync(file.fileno())
        with _writing(target):
            partial.replace(target)
            made = read(target)
    finally:
        partial.unlink(missing_ok=True)
        lock.release()
    if made is None:
        raise CacheError(f"{target} was written, yet what is read back is not whole: check that disk")
    return made


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise CacheError(
            f"cannot write {target} ({getattr(error, 'strerror', None) or error}); set RDBENCH_CACHE to a "
            "folder with room that you can write to"
        ) from None
