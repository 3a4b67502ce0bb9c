"""Standard output and error for the verbs: any text can be written, and work survives a failing write.

A full disk, a pipe whose reader has gone and a closed standard output are handled in one place, below all
that prints. By default what a verb prints is its purpose: on failure it ends with exit code 5, or as other
tools do where the reader has closed the pipe. A verb that does work calls :func:`go_on_without_output`.
"""

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

from rdbench.errors import StorageError

READER_GONE = 128 + 13  # what a shell says of a program that SIGPIPE ended
_OUT, _ERR = 1, 2

_needed = True


def prepare() -> None:
    """Replace standard output and standard error by such streams, unless somebody else has replaced them.

    A closed standard stream is opened to the null device: else the next file to be opened would get its
    number, and what is printed would end up in it.
    """
    global _needed
    _needed = True
    for number in range(_ERR + 1):
        try:
            os.fstat(number)
        except OSError:
            # For reading only: to write to standard output fails as it does on a closed one.
            nowhere = os.open(os.devnull, os.O_RDONLY if number == _OUT else os.O_RDWR)
            os.set_inheritable(nowhere, True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(sys.stdout, _OUT)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(sys.stderr, _ERR)


def go_on_without_output() -> None:
    """Let the verb go on without printing from here on, if standard output cannot be written to."""
    global _needed
    _needed = False


def _text(before: TextIO | None, number: int) -> TextIO:
    """Return a stream of text to a file descriptor, with the settings of the one before."""
    if before is not None:
        before.flush()
    raw = _Stream(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",  # an encoding without a letter, a file name that is no text
        line_buffering=number == _ERR or raw.isatty(),
        write_through=getattr(before, "write_through", False),
    )


class _Stream(io.FileIO):
    """Writes to a file descriptor until that fails once, and from then on to the null device."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # non-blocking, and its reader is slow
                select.select([], [self.fileno()], [])
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.fileno() == _OUT and _needed:
                if error.errno == errno.EPIPE:
                    raise SystemExit(READER_GONE) from None
                reason = "it is closed" if error.errno == errno.EBADF else error.strerror
                raise StorageError(
                    f"standard output: cannot be written ({reason}); free some space or send it elsewhere,"
                    " and run the same command again"
                ) from None
            return len(data)
        return written
