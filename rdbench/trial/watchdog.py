"""A limit on how long a trial may take: a trial that hangs is reported with the line it hung at."""

import contextlib
import faulthandler
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

LAST_RESORT = 60.0  # more seconds, after which faulthandler ends a process whose code holds the GIL


class Overdue(Exception):  # noqa: N818
    """A call took too long; ``stack`` is where it was. Its thread cannot be ended, only its process."""

    def __init__(self, seconds: float, stack: list[traceback.FrameSummary]) -> None:
        self.stack = stack
        at = f", at {stack[-1].filename}:{stack[-1].lineno}" if stack else ""
        super().__init__(f"still running after {seconds / 60:g} min{at}")


def run_within(seconds: float | None, function: Callable[[], Result]) -> Result:
    """Return ``function()``, or raise what it raised, or Overdue: it took longer than ``seconds``.

    Without a limit it runs in this thread. What torch keeps for each thread the function sets for itself.
    """
    if seconds is None:
        return function()
    results: list[Result] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, daemon=True, name="rdbench-trial")
    # Code that never lets another thread run would also stop this one; this one's timer is the C library's.
    with contextlib.suppress(RuntimeError, ValueError, OSError):  # no file descriptor to tell it on
        faulthandler.dump_traceback_later(seconds + LAST_RESORT, exit=True)
    try:
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            raise Overdue(seconds, list(traceback.extract_stack(frame)) if frame else [])
    finally:
        faulthandler.cancel_dump_traceback_later()
    if raised:
        raise raised.pop()  # popped: a traceback that holds itself would hold the trial's tensors
    return results[0]
