"""The signals that ask this process to stop: Ctrl-C, and what batch systems and closed terminals send."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Slurm sends USR1 or USR2 where a job asks for a warning, else TERM; a terminal that closes sends HUP.
STOP = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
ONE_REQUEST_SECONDS = 1.0


def _ours() -> list[int]:
    """Return the stop signals that are ours to take.

    A signal that was ignored at the start, as by nohup, stays ignored; a handler that the calling program
    installed is kept. Ctrl-C always stops: shells have every command ignore it that a script starts in the
    background, and scripts send it all the same.
    """
    free = (signal.SIG_DFL, signal.default_int_handler)
    return [number for number in STOP if number == signal.SIGINT or signal.getsignal(number) in free]


def interrupt() -> None:
    """Have every stop signal do what Ctrl-C does: raise KeyboardInterrupt, so that what is held is let go."""
    for number in _ours():
        signal.signal(number, signal.default_int_handler)


def ignore() -> None:
    """Have this process, and those it starts, leave the stop signals to the one that started it.

    Slurm sends them to every process of a job's step. SIGTERM is not among them: Ray ends its own by it.
    """
    for number in STOP:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)


class StopRequests:
    """Counts how often the user asked to stop; ``at_once`` raises KeyboardInterrupt at the second request."""

    def __init__(self, at_once: bool = False) -> None:
        self.count = 0
        self._at_once = at_once
        self._last: dict[int, float] = {}

    def __call__(self, number: int, frame: object) -> None:
        """Note that a signal came."""
        now = time.monotonic()
        # 'timeout' sends its signal twice at once, and so does a terminal that closes. That is one request;
        # only Ctrl-C twice in a second is a person in haste.
        since = now - self._last.get(number, -math.inf)
        if number == signal.SIGINT or since >= ONE_REQUEST_SECONDS:
            self.count += 1
        self._last[number] = now
        if self._at_once and self.count > 1:
            raise KeyboardInterrupt


@contextmanager
def counted(at_once: bool = False) -> Iterator[StopRequests]:
    """Count the stop signals instead of ending at once; outside the main thread, count nothing."""
    requests = StopRequests(at_once)
    before: dict[int, Callable[..., object] | int | None] = {}
    try:
        for number in _ours() if threading.current_thread() is threading.main_thread() else ():
            before[number] = signal.signal(number, requests)
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
