"""Files that a user names to be written: a destination stays what it is.

A link stays a link, and what it leads to is written. What is no regular file (a device, a named pipe,
``/dev/fd/63`` of a shell) is written in place, never replaced by a file. ``-`` is standard output. The files
within a results folder are another matter: see :func:`rdbench.storage.places.write_atomically`.
"""

import errno
import os
import stat
import sys
from pathlib import Path

from rdbench.errors import ResultsError, StorageError
from rdbench.storage.places import Place, Remote, place, write_atomically
from rdbench.storage.remote import reason_of

STANDARD_OUTPUT = Path("/dev/stdout")
_NOT_REPLACEABLE = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)


def output(name: str | os.PathLike[str] | Remote) -> Place:
    """Return the place of a file that a user wants written, or standard output for ``-``.

    Raises:
        ResultsError: it is a folder or a disk, or lies in a folder that is not there.
        UserError: it is no path, see :func:`rdbench.storage.places.place`.
    """
    if not isinstance(name, Remote) and os.fspath(name) == "-":
        return STANDARD_OUTPUT
    out = place(name)
    if str(name).endswith("/") or (isinstance(out, Remote) and "/" not in out.key):
        raise ResultsError(f"{name}: cannot be written (it is a folder); name a file in it")
    if isinstance(out, Path):
        _check(out)
    return out


def output_folder(name: str | os.PathLike[str] | Remote) -> Place:
    """Return the place of a folder that a user wants files in; :func:`make_folder` makes it.

    Errors are as for :func:`output`: it is a file or standard output, or lies in a folder that is not there.
    """
    if not isinstance(name, Remote) and os.fspath(name) == "-":
        raise ResultsError("-: several files do not fit on standard output; name a folder for them")
    folder = place(name)
    if isinstance(folder, Path) and not folder.is_dir():
        if os.path.lexists(folder):
            raise ResultsError(
                f"{folder}: cannot be written (it is no folder); name a folder for these files"
            )
        _check_parent(folder)
    return folder


def make_folder(folder: Place) -> None:
    """Make a folder for files that a user wants, where it is not there; or raise StorageError."""
    if isinstance(folder, Path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refusal(folder, error, "another folder") from error


def is_standard_output(out: Place) -> bool:
    """Tell whether what is written there goes to standard output: then nothing else may go there."""
    if out == STANDARD_OUTPUT:
        return True
    try:
        return isinstance(out, Path) and os.path.samestat(out.stat(), os.fstat(1))
    except OSError:
        return False


def write_output(out: Place, content: bytes | str) -> None:
    """Write a file that a user named; see :func:`output`, also for errors. StorageError: it cannot be now.

    A regular file is there whole, or as it was before, where its folder allows that. Text is UTF-8; what a
    file name holds that is none is written as ``\\udce9``.
    """
    content = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if isinstance(out, Remote):
        out.write_bytes(content)
        return
    if is_standard_output(out):
        _print(content)
        return
    status = _check(out)
    # A new file would have this user as its owner, and another link to the old one would keep that.
    if status and (not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_uid != os.geteuid()):
        _write_in_place(out, content)
        return
    try:
        write_atomically(out.resolve(), content, mode=status and stat.S_IMODE(status.st_mode))
    except StorageError as error:
        # A file that may be written in a folder that may not, or one that a container has mounted.
        if not status or getattr(error.__cause__, "errno", None) not in _NOT_REPLACEABLE:
            raise
        _write_in_place(out, content)


def _check(out: Path) -> os.stat_result | None:
    """Return the status of what is there, links followed; None where nothing is, but its folder."""
    try:
        status = out.stat()
    except FileNotFoundError:
        _check_parent(out.resolve())
        return None
    except OSError as error:
        raise _refusal(out, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise ResultsError(f"{out}: cannot be written (it is a folder); name a file in it")
    if stat.S_ISBLK(status.st_mode):
        raise ResultsError(f"{out}: cannot be written (it is a disk); name a file")
    return status


def _check_parent(path: Path) -> None:
    try:
        is_there = path.parent.is_dir()
    except OSError as error:  # a folder above may not be looked into
        raise _refusal(path, error) from error
    if not is_there:
        raise ResultsError(
            f"{path}: cannot be written (there is no folder {path.parent}); make it, or fix the path"
        )


def _write_in_place(out: Path, content: bytes) -> None:
    try:
        with out.open("wb", buffering=0) as file:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
    except OSError as error:
        raise _refusal(out, error) from error


def _print(content: bytes) -> None:
    import typer

    try:
        typer.echo(content, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read it has seen enough; the command line ends quietly
    except OSError as error:
        raise _refusal("standard output", error, "a file") from error


def _refusal(out: Path | str, error: OSError, other: str = "another file") -> StorageError:
    return StorageError(f"{out}: cannot be written ({reason_of(error)}); name {other}")
