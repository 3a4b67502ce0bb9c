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
    """Return the place of a file that a user wants written, having looked whether it can be.

    Args:
        name: a path, an address, or ``-`` for standard output.

    Raises:
        ResultsError: it is a folder or a disk, or lies in a folder that is not there.
        UserError: it is no path, see :func:`rdbench.storage.places.place`.
    """
    if not isinstance(name, Remote) and os.fspath(name) == "-":
        return STANDARD_OUTPUT
    found = place(name)
    if str(name).endswith("/") or (isinstance(found, Remote) and "/" not in found.key):
        raise ResultsError(f"{name}: cannot be written (it is a folder); name a file in it")
    if isinstance(found, Path):
        _check(found)
    return found


def output_folder(name: str | os.PathLike[str] | Remote) -> Place:
    """Return the place of a folder that a user wants files in; what is not there is to be made in the next.

    Raises:
        ResultsError: it is a file, or lies in a folder that is not there; or it is standard output.
        UserError: it is no path, see :func:`rdbench.storage.places.place`.
    """
    if not isinstance(name, Remote) and os.fspath(name) == "-":
        raise ResultsError("-: several files do not fit on standard output; name a folder for them")
    found = place(name)
    if isinstance(found, Path) and not found.is_dir():
        if os.path.lexists(found):
            raise ResultsError(f"{found}: cannot be written (it is no folder); name a folder for these files")
        _check_parent(found)
    return found


def make_folder(folder: Place) -> None:
    """Make a folder for files that a user wants, where it is not there.

    Raises:
        StorageError: it cannot be made now.
    """
    if isinstance(folder, Path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = reason_of(error)
            raise StorageError(f"{folder}: cannot be written ({reason}); name another folder") from error


def is_standard_output(out: Place) -> bool:
    """Tell whether what is written there goes to standard output: then nothing else may go there."""
    if out == STANDARD_OUTPUT:
        return True
    try:
        return isinstance(out, Path) and os.path.samestat(out.stat(), os.fstat(1))
    except OSError:
        return False


def write_output(out: Place, content: bytes | str) -> None:
    """Write a file that a user named; see :func:`output`.

    A regular file is there whole, or as it was before, where its folder allows that. Text is UTF-8; what a
    file name holds that is none is written as ``\\udce9``.

    Raises:
        ResultsError: it is a folder or a disk, or lies in a folder that is not there.
        StorageError: it cannot be written now.
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
        if not (status and isinstance(error.__cause__, OSError)):
            raise
        if error.__cause__.errno not in _NOT_REPLACEABLE:
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
        raise StorageError(f"{out}: cannot be written ({reason_of(error)}); name another file") from error
    if stat.S_ISDIR(status.st_mode):
        raise ResultsError(f"{out}: cannot be written (it is a folder); name a file in it")
    if stat.S_ISBLK(status.st_mode):
        raise ResultsError(f"{out}: cannot be written (it is a disk); name a file")
    return status


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise ResultsError(
            f"{path}: cannot be written (there is no folder {path.parent}); make it, or mend the path"
        )


def _write_in_place(out: Path, content: bytes) -> None:
    try:
        with out.open("wb", buffering=0) as file:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({reason_of(error)}); name another file") from error


def _print(content: bytes) -> None:
    import typer

    try:
        typer.echo(content, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # whoever read it has seen enough; the command line ends quietly
    except OSError as error:
        raise StorageError(f"standard output: cannot be written ({reason_of(error)}); name a file") from error
