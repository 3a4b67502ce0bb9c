"""A driver's process and all that Ray starts for it: begun, listened to, and ended without a trace."""

import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import psutil

from rdbench.spec.sweep import Resources
from rdbench.storage.scratch import Scratch

_START = """
import sys
from rdbench.trial import signals
signals.ignore()
from rdbench.tune.driver import main
main(int(sys.argv[1]))
"""

LOOPBACK = {
    # What Ray does on systems where a firewall would ask: it listens on the loopback address alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}
DAEMONS = ("gcs_server", "raylet")  # without either Ray is at an end; the second follows the first
END_SECONDS = 10.0

Event = dict[str, Any]


class SessionDiedError(Exception):
    """The driver's process ended without saying that it was done; the message says why, where known."""


@dataclass(frozen=True)
class Request:
    """What a driver is to do."""

    trials: list[str]  # settings, as JSON; events name a trial by its place in this list
    begun: list[tuple[str, ...]]  # ids of the trials of each pack that has a checkpoint
    resources: Resources  # of a pack
    address: str  # "local", or a cluster's
    concurrency: int | None  # packs at a time; None for as many as there is room for
    shipment: bytes  # the pickled function and job; only workers unpack them, for that takes torch
    peers: tuple[str, ...] = ()  # ids of trials that these may be judged by
    more: bool = False  # whether batches may follow, by Session.add
    folder: str = field(default_factory=os.getcwd)  # where workers on this machine work
    scratch: str = ""  # a folder for Tune's and Ray's files; it is removed at the end
    niceness: int = 0  # of workers

    @property
    def is_local(self) -> bool:
        """Whether the driver starts a Ray of its own."""
        return self.address == "local"


class Session:
    """A running driver, as a context manager: leaving it ends every process it started."""

    def __init__(self, request: Request) -> None:
        """Start a driver; it goes to work at once."""
        self._is_local = request.is_local
        self._scratch = Scratch()
        self._log = self._scratch.path / "driver.log"
        self._link, theirs = Pipe()
        self._sending = threading.Lock()
        # Workers shall import what this process imports. Ray would have them look into the driver's working
        # directory first, so that is an empty one.
        imports = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
        environment = {**os.environ, "PYTHONPATH": imports}
        if request.is_local:
            environment |= {
                **LOOPBACK,
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
                "RAY_TMPDIR": str(self._scratch.path),
                "RAY_worker_niceness": "0",  # what is added to ours; by default 15
            }
        with self._log.open("wb") as log, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno())],
                cwd=self._scratch.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno(), self._scratch.fileno()],
                env=environment,
                # Out of reach of the terminal's Ctrl-C, and with Ray's daemons in one session to end.
                start_new_session=True,
            )
        # From a thread: settings of thousands of trials fill the pipe, and a child may be slow to read them.
        niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + request.resources.niceness)
        request = replace(request, scratch=str(self._scratch.path), niceness=niceness)
        threading.Thread(target=self._send, args=(request,), name="request", daemon=True).start()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._link.close()  # the driver takes this for the end
        if not self._is_local:  # it leaves the cluster, which then ends our workers at once
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        end_session(self._process.pid)
        self._process.wait()
        self._scratch.remove()

    def _send(self, what: object) -> None:
        with suppress(OSError), self._sending:  # where it has died already, next() says so
            self._link.send(what)

    def next(self, seconds: float) -> Event | None:
        """Return what the driver reports next; None after ``seconds``; SessionDiedError when it died."""
        try:
            return self._link.recv() if self._link.poll(seconds) else None
        except (EOFError, OSError, pickle.UnpicklingError):
            raise SessionDiedError(self._last_words()) from None

    def add(self, trials: list[str], peers: tuple[str, ...]) -> None:
        """Hand the driver another batch, see :class:`Request`; an empty one says that no more follow."""
        self._send(("add", trials, peers))

    def stop(self) -> None:
        """Ask the driver to begin nothing new."""
        self._send("stop")

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        code = self._process.returncode
        left = {process.name() for process in _members(self._process.pid)}
        if self._is_local and left:  # Ray ends the driver when a daemon of its dies, often before we can look
            for daemon in DAEMONS:
                if daemon not in left:
                    return f"its {daemon} was ended"
        if code is not None and code < 0:
            return f"its driver was ended by {signal.Signals(-code).name}"
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"its driver ended with exit code {code}{': ' + lines[-1].strip() if lines else ''}"


def end_session(leader: int) -> None:
    """Kill every process of a session, such as Ray's daemons and workers, and wait until none is left."""
    deadline = time.monotonic() + END_SECONDS
    while (left := _members(leader)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.02)


def _members(leader: int) -> list[psutil.Process]:
    members = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if pid != os.getpid() and os.getsid(pid) == leader:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
    return members
