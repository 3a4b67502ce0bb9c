"""Temporary folders, Ray's among them: where there is room for it, and gone when they are done with.

What a killed process leaves, the next one removes: the owner of a folder holds a lock on a file in it, which
ends with the owner, however that ends.
"""

import fcntl
import os
import platform
import shutil
import socket
import stat
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rdbench.errors import StorageError

PREFIX, UNFINISHED = "rdbench-", "rdbench_"  # of one length, as the socket is tried under the second
LOCK = "owner.lock"
ROOM = 4 << 20  # bytes; Ray writes some for every worker
# As long as the longest of Ray's sockets' names, which with the folder's may have 107 bytes.
SOCKET = "session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store.1".replace("/", "-")
VARIABLES = ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP")
USUAL = ("/tmp", "/var/tmp", "$XDG_RUNTIME_DIR", "/dev/shm")


@dataclass(frozen=True)
class PassedOver:
    """A place for temporary files that is of no use: the variable that names it, or ``""``, and why."""

    variable: str
    place: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.variable}{'=' if self.variable else ''}{self.place}: {self.reason}"


class Scratch:
    """A folder that only this user may enter, removed on leaving the ``with``, or as the process ends.

    ``path`` is the folder, ``passed_over`` the places that were tried before.
    """

    def __init__(self) -> None:
        """Remove what dead processes left, and make a folder where one will do, or StorageError."""
        self.passed_over: list[PassedOver] = []
        places = _places()
        _remove_orphans(places)
        for place, variable in places.items():
            try:
                self.path, self._lock = _make(place)
                break
            except OSError as error:
                self.passed_over.append(PassedOver(variable, place, error.strerror or str(error)))
        else:
            tried = ", ".join(map(str, self.passed_over))
            raise StorageError(
                f"no folder will do for temporary files ({tried}); free some room, or set TMPDIR to a folder"
                " of a short path, at most 24 bytes, that you can write to"
            )
        self._finalizer = weakref.finalize(self, _end, self.path, self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def fileno(self) -> int:
        """Return the descriptor of the lock; a process that inherits it owns the folder too."""
        return self._lock

    def remove(self) -> None:
        """Remove the folder; a second time does nothing."""
        self._finalizer()


def _places() -> dict[Path, str]:
    """Return the places for temporary files, best first, each with the variable that names it or ``""``."""
    places: dict[Path, str] = {}
    for name in VARIABLES:
        if value := os.environ.get(name):
            places.setdefault(Path(value).absolute(), name)
    for usual in map(os.path.expandvars, USUAL):
        if usual.startswith("/"):  # the variable is set, and not empty
            places.setdefault(Path(usual), "")
    return places


def _make(place: Path) -> tuple[Path, int]:
    """Make a folder and take its lock; OSError: no permission, no room, or too long for Ray's sockets."""
    new = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place))
    lock = -1
    try:
        with (new / LOCK).open("wb", buffering=0) as file, socket.socket(socket.AF_UNIX) as ray:
            lock = os.dup(file.fileno())
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ray.bind(str(new / SOCKET))
            (new / SOCKET).unlink()
            _need_room(new / "room")
            file.write(platform.node().encode())
        # Under the name by which others remove it, it has never been without its lock.
        return new.rename(place / (PREFIX + new.name.removeprefix(UNFINISHED))), lock
    except OSError:
        _end(new, lock)
        raise


def _need_room(file: Path) -> None:
    file.write_bytes(bytes(ROOM))
    file.unlink()


def _end(folder: Path, lock: int) -> None:
    _remove(folder)
    if lock >= 0:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a folder with all that is in it, the lock last: what resists is left to a later process."""
    try:
        for inside in folder.iterdir():
            if inside.name == LOCK:
                continue
            if inside.is_dir() and not inside.is_symlink():
                shutil.rmtree(inside)
            else:
                inside.unlink()
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
    except OSError:  # such as a process of Ray's that still writes
        with suppress(OSError):
            (folder / LOCK).write_text(platform.node())


def _remove_orphans(places: Iterable[Path]) -> None:
    """Remove what this user's processes on this machine have left and no longer own."""
    for place in places:
        with suppress(OSError):
            for folder in place.glob(f"{PREFIX}*"):
                with suppress(OSError):  # owned, or not one of ours
                    _remove_orphan(folder)


def _remove_orphan(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Across machines that share a folder locks may not be seen.
        if os.pread(lock, 1000, 0) == platform.node().encode():
            _remove(folder)
    finally:
        os.close(lock)
