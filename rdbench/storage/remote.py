"""A place in a bucket, or on another file system that pyarrow reaches, in the manner of ``pathlib.Path``.

A bucket has no folders: they are there once an object lies below them. An operation that fails for want of a
connection, an answer, or the service (5xx) is tried again, with growing pauses, for a minute in all
(``RDBENCH_STORAGE_PATIENCE``, in seconds), then raises one :class:`StorageError`. pyarrow's own retries are
switched off: within ours they would multiply, and they give up within two seconds.
"""

import contextlib
import functools
import io
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote

from rdbench.errors import StorageError, UserError

PATIENCE_VARIABLE, PATIENCE = "RDBENCH_STORAGE_PATIENCE", 60.0
S3_OPTIONS = ("region", "endpoint_override", "scheme", "tls_ca_file_path")
_SILENCE = 20.0  # seconds without a byte, after which an answer is taken for lost
_REFUSED = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|INVALID_TOKEN"
    r"|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT|MISSING_AUTHENTICATION_TOKEN|HTTP status 4(?!08|29)\d\d"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
)

_NO_BUCKET = "make the bucket, or fix the address"
_CREDENTIALS = (
    "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or a profile) and what they allow"
)

T = TypeVar("T")
Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True, order=True)
class Remote:
    """A place in a bucket or on another file system that pyarrow reaches.

    ``scheme`` is "s3", "gs" ..., ``key`` the bucket and a path in it, "bucket/prefix/name", and ``query`` the
    options of the address by which the file system is reached, "region=eu-west-1".
    """

    scheme: str
    key: str
    query: str = ""

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        key = quote(self.key, safe="/~:=@+,()!*'$")
        return f"{self.scheme}://{key}{query}"

    def __truediv__(self, name: str | os.PathLike[str]) -> "Remote":
        return replace(self, key=str(PurePosixPath(self.key) / str(name)))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The ending of the last part, ".parquet", or ""."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "Remote":
        """What it lies in; a bucket lies in itself."""
        return replace(self, key=str(PurePosixPath(self.key).parent)) if "/" in self.key else self

    def with_suffix(self, suffix: str) -> "Remote":
        """Return the place of another ending beside it."""
        return replace(self, key=str(PurePosixPath(self.key).with_suffix(suffix)))

    def resolve(self) -> "Remote":
        """Return itself: an address is the same from everywhere."""
        return self

    def exists(self) -> bool:
        """Tell whether an object is there, or one below it."""
        return self._kind() != "NotFound"

    def is_file(self) -> bool:
        """Tell whether an object is there."""
        return self._kind() == "File"

    def is_dir(self) -> bool:
        """Tell whether an object lies below it."""
        return self._kind() == "Directory"

    def read_bytes(self) -> bytes:
        """Return an object's content, or raise FileNotFoundError or StorageError."""

        def read() -> bytes:
            with self._filesystem().open_input_file(self.key) as file:
                size, content = file.size(), file.read()
            if len(content) != size:
                raise OSError(f"{len(content)} of {size} bytes came")
            return bytes(content)

        return self._patiently("read", read)

    def read_text(self) -> str:
        """Return an object's content, which is UTF-8, as text."""
        return self.read_bytes().decode()

    def open(self, mode: str) -> io.BytesIO:
        """Open an object's content for reading; ``mode`` is "rb"."""
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> None:
        """Write an object, whole or not at all, or raise StorageError."""

        def write() -> None:
            # Up to 10 MB pyarrow sends one PUT; more goes in parts, and the last request makes the object.
            with self._filesystem().open_output_stream(self.key, compression=None) as stream:
                stream.write(content)

        self._patiently("written", write)

    def iterdir(self) -> Iterator["Remote"]:
        """Yield what lies directly in a folder; nothing where there is none."""
        return (self / info.base_name for info in self._infos())

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete an object."""
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            self._patiently("deleted", lambda: self._filesystem().delete_file(self.key))

    def entries(self) -> dict[str, Stamp]:
        """Return the stamp of each object that lies directly in a folder, by name."""
        files = (info for info in self._infos() if info.type.name == "File")
        return {info.base_name: (info.size, info.mtime_ns) for info in files}

    def below(self) -> list[str]:
        """Return the names of all objects below a folder, relative to it."""
        infos = [info for info in self._infos(recursive=True) if info.type.name == "File"]
        return sorted(info.path.removeprefix(f"{self.key}/") for info in infos)

    def _infos(self, recursive: bool = False) -> list[Any]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self.key, allow_not_found=True, recursive=recursive)
        infos = self._patiently("listed", lambda: self._filesystem().get_file_info(selector))
        if not infos:
            self._check_bucket()
        return list(infos)

    def _kind(self) -> str:
        info = self._patiently("reached", lambda: self._filesystem().get_file_info([self.key])[0])
        if info.type.name == "NotFound":
            self._check_bucket()
        return str(info.type.name)

    def _check_bucket(self) -> None:
        """Raise StorageError where the bucket is not there: an empty folder looks the same."""
        bucket = replace(self, key=self.key.split("/")[0])
        self._patiently("reached", lambda: _check_bucket(bucket))

    def _filesystem(self) -> Any:
        return _filesystem(self.scheme, self.key.split("/")[0], self.query)

    def _patiently(self, done: str, operation: Callable[[], T]) -> T:
        """Return what an operation does, trying again while there is hope; then raise StorageError."""
        patience = _patience()
        deadline, pause = time.monotonic() + patience, 0.1
        while True:
            try:
                return operation()
            except (FileNotFoundError, StorageError):
                raise
            except OSError as error:
                reason = reason_of(error)
                if refused := _REFUSED.search(str(error)):
                    fix = _NO_BUCKET if refused[0] == "NO_SUCH_BUCKET" else _CREDENTIALS
                    raise StorageError(f"{self}: cannot be {done}: {reason}; {fix}") from None
                if time.monotonic() + pause > deadline:
                    raise StorageError(
                        f"{self}: cannot be {done}, tried for {patience:g} s: {reason};"
                        " what is finished is kept, run the same command again when the storage answers"
                    ) from None
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 8.0)


def reason_of(error: OSError) -> str:
    """Return the one line of an error that tells a user what is wrong."""
    if error.strerror:
        return error.strerror
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = re.sub(r" \(Request ID: [^)]*\)|; Details: .*|^When .*?: (?=AWS Error)", "", line)
    return line.strip(": ")


@functools.lru_cache(maxsize=64)
def _check_bucket(bucket: Remote) -> None:
    if bucket._filesystem().get_file_info([bucket.key])[0].type.name == "NotFound":
        raise StorageError(f"{bucket}: there is no such bucket; make it, or fix the address")


@functools.lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, query: str) -> Any:
    """Return the file system of a bucket, made once a process."""
    from pyarrow import fs

    if scheme == "s3":
        options = dict(parse_qsl(query))
        endpoint = options.pop("endpoint_override", "") or _variable(
            "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"
        )
        region = options.pop("region", "") or _variable("AWS_REGION", "AWS_DEFAULT_REGION")
        region = region or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket))
        return fs.S3FileSystem(
            region=region,
            endpoint_override=endpoint or None,
            request_timeout=_SILENCE,
            connect_timeout=5.0,
            allow_delayed_open=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            **options,
        )
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:
        query = f"{query}&retry_limit_seconds=5".lstrip("&")
    try:
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}?{query}".rstrip("?"))[0]
    except ValueError as error:  # pyarrow's ArrowInvalid, which is one
        raise StorageError(f"{scheme}://{bucket}: {str(error).splitlines()[0]}; fix the address") from None


def _variable(*names: str) -> str:
    """Return the first of some environment variables that is set, and not empty."""
    return next(filter(None, map(os.environ.get, names)), None) or ""


def _patience() -> float:
    """Return the seconds after which a bucket that does not answer is given up."""
    given = os.environ.get(PATIENCE_VARIABLE) or PATIENCE
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(given)) < math.inf:
            return seconds
    raise UserError(f"{PATIENCE_VARIABLE}={given} is no number of seconds; write one such as 60")
