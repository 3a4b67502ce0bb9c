"""The cache folder: what is measured or made once on a machine, and kept."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from filelock import FileLock

from rdbench.errors import StorageError, UserError
from rdbench.storage.places import write_atomically

log = logging.getLogger("rdbench.cache")


@contextmanager
def remembered(file: Path) -> Iterator[dict[str, Any]]:
    """Hold a JSON file of the cache alone: yield what it holds, and write back what was added.

    What was measured serves now even where it cannot be kept: then a line says so, and the work goes on.
    """
    with ExitStack() as held:
        with suppress(OSError, NotImplementedError):  # the latter: a file system without locks
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(f"{file}.lock"))
        known = _read(file)
        before = dict(known)
        yield known
        if known != before:
            try:
                write_atomically(file, json.dumps(known, indent=1).encode())
            except StorageError as error:
                what = str(error).partition(";")[0]
                mend = "set RDBENCH_CACHE to a folder with room that you can write to"
                log.warning("what was measured is not remembered: %s; %s", what, mend)


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # not measured yet, or damaged
    return known if isinstance(known, dict) else {}


T = TypeVar("T")


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
