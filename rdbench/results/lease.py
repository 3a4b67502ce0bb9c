"""One driver at a time in a results folder: who holds it, and whether the user asked it to stop.

The holder keeps ``driver.json`` in the folder and renews a counter in it. No wall clock is trusted: a holder
on another machine counts as gone when its counter does not change while we watch.
"""

import datetime
import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rdbench.errors import ResultsError, StorageError
from rdbench.storage.places import Place, write_atomically

FILE = "driver.json"
BEAT_SECONDS = 10.0
GONE_SECONDS = 35.0  # three beats and a slow write
LOOK_SECONDS = 1.0

State = dict[str, Any]


class Lease:
    """The right to write sweeps into a results folder, as a context manager.

    A missing folder is made, and removed again if it stays empty. A thread renews the lease while it is held;
    a failed write, for lack of space or network, does no harm.
    """

    def __init__(self, root: Place, command: str, say: Callable[[str], None] = lambda line: None) -> None:
        """Prepare a lease; entering takes it.

        ``command`` is what holds it, such as ``rdbench sweep``, and shown to others; ``say`` gets a line when
        entering has to wait to see whether another holder is alive.
        """
        self._root, self._file, self._say = root, root / FILE, say
        self._state: State = {
            "command": command,
            "host": platform.node(),
            "pid": os.getpid(),
            "started": _process_start(os.getpid()),
            "machine": _machine(),
            "since": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "token": uuid.uuid4().hex,
            "beat": 0,
            "stopping": False,
        }
        self._lost: str | None = None
        self._made: list[Path] = []
        self._ended, self._due = threading.Event(), threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._beat_until_ended, name="lease", daemon=True)

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            ResultsError: another driver holds it.
            StorageError: it cannot be written.
        """
        if isinstance(self._root, Path):
            self._made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        holder = _read(self._file)
        while not self._claim(holder):
            holder = _read(self._file)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._due.set()
        with self._writing:
            try:
                if _is_ours(_read(self._file), self._state):
                    self._file.unlink(missing_ok=True)
            except (OSError, StorageError):
                pass  # it counts as gone in a while, and at once on this machine
        if not self._lost:
            with suppress(OSError):  # it holds something now
                for folder in self._made:
                    folder.rmdir()

    @property
    def lost(self) -> str | None:
        """Why the folder is no longer ours, in a line; None while it is."""
        return self._lost

    def request_stop(self) -> None:
        """Tell every worker, through the folder, that the user asked to stop; written soon after."""
        self._state["stopping"] = True
        self._due.set()

    def _claim(self, holder: State | None) -> bool:
        """Write our state into the folder; False where another was quicker."""
        if holder is not None and not self._is_gone(holder):
            raise ResultsError(
                f"{self._root} is in use by '{holder['command']}' (process {holder['pid']} on"
                f" {holder['host']}, since {holder['since']}); wait for it, or stop it, or give another"
                " --results folder"
            )
        if holder is None and isinstance(self._file, Path):
            return _create(self._file, self._state)
        write_atomically(self._file, json.dumps(self._state).encode())
        # Of two that take over at once, the one that writes last has it.
        time.sleep(0.3 if isinstance(self._file, Path) else 2.0)
        return _is_ours(_read(self._file), self._state)

    def _is_gone(self, holder: State) -> bool:
        """Whether the holder is dead, or has not renewed its lease while we watched."""
        if holder["machine"] == self._state["machine"]:
            return bool(holder["started"] != _process_start(holder["pid"]))
        self._say(
            f"{self._root} was last used by process {holder['pid']} on {holder['host']}; waiting up to"
            f" {GONE_SECONDS:.0f} s to see whether it still runs"
        )
        since = time.monotonic()
        while time.monotonic() - since < GONE_SECONDS:
            time.sleep(LOOK_SECONDS)
            now = _read(self._file)
            if now is None:
                return True
            if (now["token"], now["beat"]) != (holder["token"], holder["beat"]):
                return False
        return True

    def _beat_until_ended(self) -> None:
        while not self._ended.is_set() and not self._lost:
            if self._due.wait(BEAT_SECONDS):
                self._due.clear()
            self._beat()

    def _beat(self) -> None:
        with self._writing:
            if self._ended.is_set() or self._lost:
                return
            try:
                holder = _read(self._file)
                if _is_ours(holder, self._state):
                    self._state["beat"] += 1
                    write_atomically(self._file, json.dumps(self._state).encode())
                elif holder is not None:
                    self._lost = (
                        f"{self._root} was taken over by '{holder['command']}' (process {holder['pid']} on"
                        f" {holder['host']}); nothing more is written by this one"
                    )
                elif not self._root.exists():
                    self._lost = f"{self._root}: the results folder is gone; put it back, or begin anew"
                else:
                    self._lost = (
                        f"{self._file} is gone: somebody removed it, or another driver came and went;"
                        " run the same command again to go on"
                    )
            except (OSError, StorageError):
                pass  # this beat is missed; where the folder cannot be written, the workers say so


def stop_requested(root: Place) -> bool:
    """Whether the user asked the driver of a results folder to stop; one small read, False if it fails."""
    with suppress(OSError, StorageError):
        return bool((_read(root / FILE) or {}).get("stopping"))
    return False


def _create(file: Path, state: State) -> bool:
    """Create the file; False where it exists."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x") as new:
            new.write(json.dumps(state))
    except FileExistsError:
        if not file.exists():  # it is a file in place of the folder that is in the way
            raise StorageError(f"{file.parent}: is not a folder; give another --results folder") from None
        return False
    except OSError as error:
        raise StorageError(
            f"{file.parent}: cannot be written ({error.strerror}); free or mount it, or give another"
            " --results folder"
        ) from None
    return True


def _read(file: Place) -> State | None:
    """Return what the file says; None where there is none."""
    for _ in range(3):
        try:
            state = json.loads(file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            time.sleep(0.1)  # another may be creating it
            continue
        return state if isinstance(state, dict) and state.keys() >= _KEYS else _unknown()
    return _unknown()


_KEYS = {"command", "host", "pid", "started", "machine", "since", "token", "beat", "stopping"}


def _unknown() -> State:
    """Return what stands for a file that cannot be understood: a dead holder on this machine."""
    return dict.fromkeys(_KEYS, "?") | {"machine": _machine(), "pid": 0, "beat": 0, "stopping": False}


def _is_ours(holder: State | None, ours: State) -> bool:
    return holder is not None and holder["token"] == ours["token"]


def _machine() -> str:
    """Return where a process number is unique: the host, its boot, the process namespace."""
    parts = [platform.node()]
    if sys.platform == "linux":
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """Return when a process began, unaffected by clock changes; None where it is dead."""
    if sys.platform != "linux":
        return _process_start_elsewhere(pid)
    try:
        # The name, in brackets, may hold anything; the state is the field after it, the start the 22nd.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _process_start_elsewhere(pid: int) -> str | None:
    import psutil  # no need of a machine that runs reports/gpu/measure.py

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None
