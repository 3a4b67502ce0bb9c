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
from urllib.parse import quote, unquote

from rdbench.errors import ResultsError, StorageError
from rdbench.storage import paths
from rdbench.storage.remote import S3_OPTIONS, reason_of
from rdbench.storage.remote import Remote as Remote
from rdbench.storage.remote import Stamp as Stamp

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
READERS = 24  # objects read at a time: pyarrow keeps up to 25 connections to a bucket

Place = Path | Remote


def place(text: str | os.PathLike[str] | Remote) -> Place:
    """Return the place that a local path or an address such as "s3://bucket/prefix?region=eu-west-1" names.

    In the key of an address ``?``, ``%`` and what is not ASCII are written %3F, %25 ...; ``#`` is a character
    like any other. A local path is read by :func:`rdbench.storage.paths.local`.

    Raises:
        ResultsError: the address names no bucket, or a kind of storage or an option that is not known.
        UserError: it is no local path either.
    """
    if isinstance(text, Remote):
        return text
    words = os.fspath(text)
    if slip := re.match(rf"({'|'.join(SCHEMES)}):/(?=[^/])", words):
        raise ResultsError(f"{words}: an address begins with '{slip[1]}://'; write both slashes")
    address = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", words, re.DOTALL)
    scheme = address[1].lower() if address else "file"
    if address is None or scheme == "file":
        return paths.local(words)
    if scheme not in SCHEMES:
        raise ResultsError(
            f"{words}: no kind of storage is called '{scheme}'; give a local path or one of"
            f" {', '.join(f'{known}://' for known in SCHEMES)}"
        )
    # Not by urlsplit: it takes what follows a '#' for no part of the key.
    where, _, query = address[2].partition("?")
    bucket, _, key = where.partition("/")
    user, at, host = bucket.rpartition("@")
    if ":" in user or (at and scheme == "s3"):
        raise ResultsError(  # it would be shown in reports, logs and the list of processes
            f"{scheme}://...@{host}: an address must not hold"
            " credentials; give them by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    try:
        parts = [unquote(part, errors="strict") for part in key.split("/") if part not in ("", ".")]
        "/".join([bucket, *parts]).encode()
    except UnicodeError:
        raise ResultsError(f"{words}: is not UTF-8, which keys of buckets are; give another") from None
    if not bucket or ".." in parts:
        raise ResultsError(f"{words}: names no bucket; write {scheme}://bucket/prefix")
    return Remote(scheme, "/".join([bucket, *parts]), _options(words, scheme, query))


def _options(words: str, scheme: str, query: str) -> str:
    """Return the options of an address, checked."""
    settled = []
    for option in filter(None, query.split("&")):
        name, equals, value = option.partition("=")
        if not equals or "#" in option:
            raise ResultsError(
                f"{words}: what follows '?' are options, such as region=eu-west-1, not {option!r}; in a key"
                " write %3F for '?', and a '#' before the options"
            )
        if scheme == "s3" and name not in S3_OPTIONS:
            raise ResultsError(f"{words}: unknown option {name!r}; choose from {', '.join(S3_OPTIONS)}")
        if name == "tls_ca_file_path":
            value = quote(str(paths.absolute(unquote(value))))
        settled.append(f"{name}={value}")
    return "&".join(settled)


def write_atomically(path: Place, content: bytes, mode: int | None = None) -> None:
    """Write a file, whose folder is made, so that it is there whole and durable, or as it was before.

    On disk under a temporary name beside it, made durable, then renamed; in a bucket as one object. A link of
    that name is replaced; a file that a user named is written by :mod:`rdbench.storage.outputs`. Its ``mode``
    is by default that of a new file.

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
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _refusal(path, "written", error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def entries(folder: Place) -> dict[str, Stamp]:
    """Return the stamp of each file directly in a folder, by name; {} without a folder. Or StorageError."""
    if isinstance(folder, Remote):
        return folder.entries()
    stamps = {}
    try:
        with os.scandir(folder) as inside:
            for entry in inside:
                with contextlib.suppress(FileNotFoundError):  # gone since
                    if entry.is_file():
                        status = entry.stat()
                        stamps[entry.name] = (status.st_size, status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _refusal(folder, "read", error) from error
    return stamps


def below(folder: Place) -> list[str]:
    """Return the names of all files below a folder, relative to it; [] without a folder. Or StorageError."""
    if isinstance(folder, Remote):
        return folder.below()
    names = [*entries(folder)]
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():  # which could lead in a circle
            names += [f"{path.name}/{name}" for name in below(path)]
    return sorted(names)


def is_file(path: Place) -> bool:
    """Tell whether there is a file; StorageError where nobody lets us look."""
    try:
        return path.is_file()
    except OSError as error:
        raise _refusal(path, "read", error, "check the path and its permissions") from error


def move(file: Place, target: Place) -> None:
    """Move a file, or raise StorageError; in a bucket it is copied, then deleted."""
    if isinstance(file, Remote) or isinstance(target, Remote):
        write_atomically(target, file.read_bytes())
        file.unlink(missing_ok=True)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    except OSError as error:
        raise _refusal(file, "moved", error) from error


def read_each(files: Iterable[Place]) -> Iterator[bytes | OSError | StorageError]:
    """Yield the content of each file in turn, or why there is none; objects are read many at a time."""
    listed = list(files)
    if len(listed) < 2 or not isinstance(listed[0], Remote):
        yield from map(_content, listed)
        return
    with ThreadPoolExecutor(READERS) as readers:
        yield from readers.map(_content, listed)


def unlink_each(files: Iterable[Place]) -> None:
    """Delete files, objects many at a time, or raise StorageError; one that is gone already is no error."""

    def unlink(file: Place) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _refusal(file, "deleted", error) from error

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


def _refusal(path: Place, done: str, error: OSError, fix: str = "") -> StorageError:
    """Return the one line of what the disk refused, with the fix."""
    fix = fix or next((fix for numbers, fix in _FIXES if error.errno in numbers), _CHECK)
    return StorageError(f"{path}: cannot be {done} ({reason_of(error)}); {fix}")


_AGAIN = "run the same command again: what is finished is kept"
_CHECK = f"check the folder, and {_AGAIN}"
_FIXES = [
    ((errno.ENOSPC, errno.EDQUOT), f"free some space, and {_AGAIN}"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "give a folder that can be written, or fix its permissions"),
    (
        (errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        "a file or folder of that name stands in the way; give another",
    ),
]
