"""Where results lie: a folder here, or a prefix of a bucket reached through ``pyarrow.fs``; durable writes.

A :class:`Remote` answers the part of ``pathlib.Path`` that results need, so the code that reads and writes
them is the same for both.
"""

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from rdbench.errors import ResultsError, StorageError
from rdbench.remote import S3_OPTIONS, Remote, Stamp, reason_of

__all__ = [
    "Place",
    "Remote",
    "Stamp",
    "below",
    "entries",
    "move",
    "place",
    "read_each",
    "unlink_each",
    "write_atomically",
]

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
READERS = 24
"""Objects read at a time: pyarrow keeps up to 25 connections to a bucket."""

Place = Path | Remote


def place(text: str | os.PathLike[str] | Remote) -> Place:
    """Return the place that a local path or an address such as "s3://bucket/prefix?region=eu-west-1" names.

    Raises:
        ResultsError: the address names no bucket, or a kind of storage or an option that is not known.
    """
    if isinstance(text, Remote):
        return text
    words = os.fspath(text)
    if slip := re.match(rf"({'|'.join(SCHEMES)}):/(?=[^/])", words):
        raise ResultsError(f"{words}: an address begins with '{slip[1]}://'; write both slashes")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", words):
        return Path(words)
    address = urlsplit(words)
    if address.scheme == "file":
        return Path(unquote(address.path))
    if address.scheme not in SCHEMES:
        raise ResultsError(
            f"{words}: no kind of storage is called '{address.scheme}'; give a local path or one of"
            f" {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
        )
    if address.password or ("@" in address.netloc and address.scheme == "s3"):
        raise ResultsError(  # it would be shown in reports, logs and the list of processes
            f"{address.scheme}://...@{address.netloc.rpartition('@')[2]}: an address must not hold"
            " credentials; give them by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    parts = [unquote(part) for part in address.path.split("/") if part not in ("", ".")]
    if not address.netloc or ".." in parts:
        raise ResultsError(f"{words}: names no bucket; write {address.scheme}://bucket/prefix")
    unknown = {name for name, _ in parse_qsl(address.query)} - {*S3_OPTIONS}
    if address.scheme == "s3" and unknown:
        raise ResultsError(f"{words}: unknown option {min(unknown)!r}; choose from {', '.join(S3_OPTIONS)}")
    return Remote(address.scheme, "/".join([address.netloc, *parts]), address.query)


def write_atomically(path: Place, content: bytes) -> None:
    """Write a file so that it is there whole and durable, or as it was before, whatever happens meanwhile.

    On disk under a temporary name beside it, made durable, then renamed; in a bucket as one object.

    Raises:
        StorageError: it cannot be written now.
    """
    if isinstance(path, Remote):
        path.write_bytes(content)
        return
    # Not ".parquet": a reader of the whole folder must not pick up a half-written file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({reason_of(error)}); {_local_mend(error)}") from error


def entries(folder: Place) -> dict[str, Stamp]:
    """Return the stamp of each file that lies directly in a folder, by name; {} where there is no folder.

    Raises:
        StorageError: the folder cannot be read now.
    """
    if isinstance(folder, Remote):
        return folder.entries()
    found = {}
    try:
        with os.scandir(folder) as inside:
            for entry in inside:
                with contextlib.suppress(FileNotFoundError):  # gone since
                    if entry.is_file():
                        status = entry.stat()
                        found[entry.name] = (status.st_size, status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({reason_of(error)}); {_local_mend(error)}") from error
    return found


def below(folder: Place) -> list[str]:
    """Return the names of all files below a folder, relative to it; [] where there is no folder.

    Raises:
        StorageError: the folder cannot be read now.
    """
    if isinstance(folder, Remote):
        return folder.below()
    names = [*entries(folder)]
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            names += [f"{path.name}/{name}" for name in below(path)]
    return sorted(names)


def move(file: Place, target: Place) -> None:
    """Move a file; in a bucket it is copied, then deleted.

    Raises:
        StorageError: it cannot be moved now.
    """
    if isinstance(file, Remote) or isinstance(target, Remote):
        write_atomically(target, file.read_bytes())
        file.unlink(missing_ok=True)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    except OSError as error:
        raise StorageError(f"{file}: cannot be moved ({reason_of(error)}); {_local_mend(error)}") from error


def read_each(files: Iterable[Place]) -> Iterator[bytes | OSError | StorageError]:
    """Yield the content of each file in turn, or why there is none; objects are read many at a time."""
    listed = list(files)
    if len(listed) < 2 or not isinstance(listed[0], Remote):
        yield from map(_content, listed)
        return
    with ThreadPoolExecutor(READERS) as readers:
        yield from readers.map(_content, listed)


def unlink_each(files: Iterable[Place]) -> None:
    """Delete files, objects many at a time; one that is gone already is no error.

    Raises:
        StorageError: one cannot be deleted now.
    """

    def unlink(file: Place) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{file}: cannot be deleted ({reason_of(error)}); {_local_mend(error)}"
            ) from error

    with ThreadPoolExecutor(READERS) as deleters:
        list(deleters.map(unlink, files))


def _content(file: Place) -> bytes | OSError | StorageError:
    try:
        return file.read_bytes()
    except (OSError, StorageError) as error:
        return error


def _sync(folder: Path) -> None:
    """Make a renaming in a folder durable; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _local_mend(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, and run the same command again: what is finished is kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "give a folder that can be written, or mend its permissions"
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return "a file or folder of that name stands in the way; give another"
    return "check the folder, and run the same command again: what is finished is kept"
