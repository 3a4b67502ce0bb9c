"""The published Inception weights: fetched once into the cache, checked, never silently replaced by others.

    <cache>/weights/inception-2015-12-05.pt                   mode ``clean``
    <cache>/weights/pt_inception-2015-12-05-6726825d.pth      mode ``legacy_pytorch``

Both hold the network that FID is defined by (Heusel et al., NeurIPS 2017), and are the files that clean-fid
and pytorch-fid fetch. No torch is imported here.
"""

import functools
import http.client
import os
import shutil
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from rdbench.datasets.write import sha256
from rdbench.errors import UserError
from rdbench.storage import paths
from rdbench.storage.cache import make_once

Mode = Literal["clean", "legacy_pytorch"]

_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 2**20


class WeightsError(UserError):
    """Weights that are not there, or are not what they should be."""


@dataclass(frozen=True)
class Published:
    """A published file of weights: its name, where it is to be had, and the SHA-256 of its bytes, hex."""

    file: str
    url: str
    sha256: str


PUBLISHED: dict[Mode, Published] = {
    "clean": Published(
        "inception-2015-12-05.pt",
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        # NVIDIA publishes no hash beside it: this is what k-diffusion, and others, pin for that address.
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    "legacy_pytorch": Published(
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        # The file's name gives the first eight digits; the others are as GenForce pins them for that address.
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
}


def folder() -> Path:
    """Where the weights lie."""
    return paths.cache_root() / "weights"


def target(which: Mode) -> Path:
    """Where the weights of a mode belong, there or not."""
    return folder() / PUBLISHED[which].file


def path(which: Mode) -> Path | None:
    """Return the cached weights of a mode, None where they are missing; loading them checks their bytes."""
    return target(which) if is_there(target(which)) else None


def is_there(file: Path) -> bool:
    """Tell whether there is a file, in a folder that one may look into."""
    return os.path.isfile(file)  # noqa: PTH113 (Path.is_file fails where one may not)


def identify(which: Mode, file: Path) -> tuple[str, bool]:
    """Return the SHA-256 of a file of weights, and whether it is the published one of that mode.

    Raises WeightsError: it cannot be read, is not whole, or lies in the published one's place and is another.
    """
    try:
        digest = digest_of(file)
        whole = _is_whole(file)
    except OSError as error:
        raise WeightsError(f"cannot read the Inception weights {file}: {error.strerror or error}") from None
    published = digest == PUBLISHED[which].sha256
    if not published and file.absolute() == target(which):
        raise WeightsError(
            f"{file} is not what was published (SHA-256 {digest}, expected {PUBLISHED[which].sha256}); "
            "delete it and run `rdbench weights`"
        )
    if not published and not whole:
        raise WeightsError(
            f"{file} holds no Inception network for mode {which!r}: it is no file of torch's, or cut short;"
            " get it again"
        )
    return digest, published


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file, hex, read once while it stays as it is. OSError: it cannot be read."""
    stamp = file.stat()
    return _digest(file, stamp.st_size, stamp.st_mtime_ns, stamp.st_ino)


@functools.lru_cache(maxsize=8)
def _digest(file: Path, *stamp: int) -> str:
    """Return the SHA-256 of a file, read once in a process while its stamp stays: every trial asks."""
    return sha256(file)


def _is_whole(file: Path) -> bool:
    """Tell whether a file may be one that torch saved: a zip archive with its end, or a pickle."""
    with file.open("rb") as opened:
        begins = opened.read(2)
    return zipfile.is_zipfile(file) if begins == b"PK" else begins[:1] == b"\x80"


def download(which: Mode) -> Path:
    """Return the published weights of a mode, fetched unless the cache has them whole.

    Raises WeightsError: no connection, one that broke off, or other bytes; CacheError: it cannot be written.
    """
    source = PUBLISHED[which]

    def write(file: BinaryIO) -> None:
        try:
            _fetch(source.url, file)
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            reason = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(
                f"cannot download {source.url} ({reason}); fetch it on a machine with internet, then give it "
                f"with `rdbench weights --file FILE` or put it at {target(which)}"
            ) from None

    return _keep(which, write, source.url)


def install(file: Path) -> Path:
    """Copy a local file of published weights into the cache, by its hash, and return where it is now.

    Raises WeightsError: it cannot be read, or is no published one; CacheError: it cannot be written.
    """
    try:
        digest = sha256(file)
        for which, source in PUBLISHED.items():
            if digest == source.sha256:
                with file.open("rb") as original:
                    return _keep(which, lambda copy: shutil.copyfileobj(original, copy), str(file))
    except OSError as error:
        raise WeightsError(f"cannot read {file}: {error.strerror or error}") from None
    names = " or ".join(source.file for source in PUBLISHED.values())
    raise WeightsError(
        f"{file} is not {names} as published (its SHA-256 is {digest}); other weights are used only where a "
        "metric names their file"
    )


def _keep(which: Mode, write: Callable[[BinaryIO], None], origin: str) -> Path:
    """Return the target, filled by ``write`` if need be, and holding the published bytes."""
    expected = PUBLISHED[which].sha256

    def whole(file: Path) -> Path | None:
        return file if is_there(file) and sha256(file) == expected else None

    def write_checked(file: BinaryIO) -> None:
        write(file)
        file.flush()
        if (digest := sha256(Path(file.name))) != expected:
            raise WeightsError(
                f"{origin} gave other bytes than were published (SHA-256 {digest}, not {expected})"
            )

    return make_once(target(which), whole, write_checked)


def _fetch(url: str, file: BinaryIO) -> None:
    with closing(urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS)) as response:
        shutil.copyfileobj(response, file, _CHUNK_BYTES)
        expected = response.headers.get("Content-Length")
    # urllib reads in pieces without complaint when a connection breaks off.
    if expected is not None and file.tell() != int(expected):
        raise ConnectionError(f"the connection ended after {file.tell()} of {expected} bytes")
