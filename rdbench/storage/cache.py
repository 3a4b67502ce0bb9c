"""The cache folder: the one way in which anything is kept there; all of it can be made again.

``make_once`` is for a file that is needed, ``cached`` for a text that saves time, ``remembered`` for a JSON
file of measurements. They are made of ``locked``, ``writing`` and ``save``, which serve folders and others.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from rdbench.errors import StorageError, UserError
from rdbench.storage.places import write_atomically

log = logging.getLogger("rdbench.cache")

T = TypeVar("T")
_FIX = "set RDBENCH_CACHE to a folder with room that you can write to"


class CacheError(UserError):
    """A file that cannot be kept in the cache."""


@contextmanager
def locked(target: Path, error: type[UserError] = CacheError) -> Iterator[None]:
    """Hold a file or folder of the cache against other processes; ``error`` where that cannot be written."""
    from filelock import FileLock  # takes a quick command's start as long as all of rdbench

    lock = FileLock(target.with_name(target.name + ".lock"))
    with writing(target, error):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(target: Path, error: type[UserError] = CacheError) -> Iterator[None]:
    """Turn what the disk says within into one line, raised as ``error``."""
    try:
        yield
    except (OSError, NotImplementedError) as caught:  # the latter: a file system without locks
        reason = getattr(caught, "strerror", None) or caught
        raise error(f"cannot write {target} ({reason}); {_FIX}") from None


def save(file: Path, content: bytes) -> StorageError | None:
    """Write a file of the cache, or return why it cannot be: that costs time alone."""
    try:
        write_atomically(file, content)
    except StorageError as error:
        return error
    return None


def cached(file: Path, make: Callable[[], str], read: Callable[[str], T]) -> T:
    """Return what a text file of the cache holds, parsed by ``read``; make it if it is missing or damaged."""
    with suppress(OSError, ValueError):
        return read(file.read_text(encoding="utf-8"))
    text = make()
    save(file, text.encode())
    return read(text)


@contextmanager
def remembered(file: Path) -> Iterator[dict[str, Any]]:
    """Hold a JSON file of the cache alone: yield what it holds, and write back what was added.

    What was measured serves now even where it cannot be kept: then a line says so, and the work goes on.
    """
    with ExitStack() as held:
        with suppress(CacheError):
            held.enter_context(locked(file))
        known = _read(file)
        before = dict(known)
        yield known
        if known != before and (error := save(file, json.dumps(known, indent=1).encode())):
            log.warning("what was measured is not remembered: %s; %s", str(error).partition(";")[0], _FIX)


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # not measured yet, or damaged
    return known if isinstance(known, dict) else {}


def make_once(target: Path, read: Callable[[Path], T | None], write: Callable[[BinaryIO], None]) -> T:
    """Return what a cached file holds, made now if it is missing or damaged.

    Of many processes that ask at once, one makes it and the others wait; nobody ever sees a part of it.

    Args:
        target: the file.
        read: returns None where the file is missing or damaged.
        write: fills the open file. What it raises passes through, and leaves nothing behind.

    Raises:
        CacheError: the folder cannot be written to.
    """
    if (made := read(target)) is not None:
        return made
    partial = target.with_name(target.name + ".partial")  # under the lock, a killed process's is nobody's
    with locked(target):
        if (made := read(target)) is not None:  # another process was first
            return made
        try:
            with writing(target):
                file = partial.open("wb")
            with file:
                write(file)
                with writing(target):
                    file.flush()
                    os.fsync(file.fileno())
            with writing(target):
                partial.replace(target)
                made = read(target)
        finally:
            partial.unlink(missing_ok=True)
    if made is None:
        raise CacheError(f"{target} was written, yet what is read back is not whole: check that disk")
    return made
