"""Paths as users write them; where raw data lie and prepared arrays go: a flag, a variable, a default."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

from rdbench.errors import UserError

DATA_VARIABLE = "RDBENCH_DATA"
CACHE_VARIABLE = "RDBENCH_CACHE"
NO_HOME = Path("/nonexistent")
"""The home that Debian gives to users without one; it cannot be written."""

_READ_OTHERWISE = re.compile(r"~|[A-Za-z][A-Za-z0-9+.-]+:/")  # than as a relative path


def local(text: str | os.PathLike[str]) -> Path:
    """Return the local path that a user means: ``~`` expanded, an address ``file:///folder`` read.

    Every local path of a user comes through here: options (a shell does not expand ``--out=~/x``), variables,
    values of a sweep file, arguments in Python. A relative path stays one; what it returned stays the same.

    Raises:
        UserError: it is empty, names another machine, a bucket or an unknown user's home.
    """
    words = os.fspath(text)
    if not words:
        raise UserError("a path is empty; write one (is a variable of the shell not set?)")
    if re.match(r"(?i)file:/", words):
        words = _of_address(words)
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", words):
        raise UserError(f"{words}: is an address, where only a local path will do; write one")
    if words.startswith("~"):
        home = os.path.expanduser(words)  # noqa: PTH111 (Path.expanduser fails for an unknown ~user)
        if home.startswith("~"):
            raise UserError(
                f"{words}: no home folder is known for {words.split('/')[0]}; write the whole path, or"
                f" ./{words} for what has that name here"
            )
        words = home
    path = Path(words)
    # "./~x" is the folder ~x here, but pathlib drops the "./".
    return Path.cwd() / path if _READ_OTHERWISE.match(str(path)) else path


def _of_address(words: str) -> str:
    """Return the path of an address that begins with ``file:/``."""
    rest = words[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost") and not host.startswith("~"):
            raise UserError(
                f"{words}: names the machine {host!r}; a path on this one is written file:///path, or"
                " without file:"
            )
        rest = f"{host if host.startswith('~') else ''}{slash}{path}"
    return os.fsdecode(unquote_to_bytes(os.fsencode(rest)))


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return :func:`local` as it is meant in this process's working folder, ``..`` resolved by name.

    Workers run in another folder than the command line, so a relative path has to be settled here.
    """
    return Path(os.path.abspath(local(path)))  # noqa: PTH100 (Path.absolute keeps '..')


def candidates(text: str | os.PathLike[str], folders: Iterable[Path] = ()) -> list[Path]:
    """Return where a path in a sweep file may lead, absolute, in the order in which to look.

    A relative one (see :func:`local`) starts from one of ``folders``, or at last the working folder.
    """
    path = local(text)
    return list(dict.fromkeys(absolute(folder / path) for folder in (*folders, Path())))


def nearest_existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that is there, in which it would be made."""
    # Path.exists fails where a folder may not be looked into.
    return next(at for at in (path, *path.parents) if os.path.exists(at))  # noqa: PTH110


def as_text(path: Path) -> str:
    """Return an absolute path as text that :func:`local` reads: an address where its name is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.as_uri()
    return str(path)


@dataclass(frozen=True)
class DataRoot:
    """Folder of the raw data, absolute; only downloads write to it, and it need not exist.

    ``named_by`` is "--data" or "RDBENCH_DATA": then no other copy may stand in for its files. Else it is "",
    and the folder the user's own data folder.
    """

    folder: Path
    named_by: str = ""


def chosen_data_root(option: str | os.PathLike[str] | None = None) -> DataRoot:
    """``option`` (--data), else RDBENCH_DATA, else the user's data folder."""
    if option is not None:
        return DataRoot(absolute(option), "--data")
    if named := _from_environment(DATA_VARIABLE):
        return DataRoot(absolute(named), DATA_VARIABLE)
    return DataRoot(absolute(_of_user("data")))


def data_root(option: str | os.PathLike[str] | None = None) -> Path:
    """The folder of :func:`chosen_data_root`."""
    return chosen_data_root(option).folder


def cache_root() -> Path:
    """Folder for what rdbench can make again, absolute: RDBENCH_CACHE, else the user's cache folder.

    It may be one that cannot be written, or even looked into: what can do without goes on without.
    """
    return absolute(_from_environment(CACHE_VARIABLE) or _of_user("cache"))


def home_variable() -> dict[str, str]:
    """Return an environment variable for packages that cannot be imported without a home; {} where one is."""
    home = os.path.expanduser("~")  # noqa: PTH111
    return {} if os.path.isabs(home) else {"HOME": str(NO_HOME)}  # noqa: PTH117


def _of_user(kind: Literal["data", "cache"]) -> Path:
    """Return a folder of the user's own: in a container they may have neither HOME nor an account."""
    import platformdirs

    folder = platformdirs.user_data_path if kind == "data" else platformdirs.user_cache_path
    try:
        chosen = folder("rdbench", appauthor=False)
    except RuntimeError:
        chosen = Path()
    return chosen if chosen.is_absolute() else NO_HOME / "rdbench"  # older platformdirs return "~/..."


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    try:
        return local(value) if value else None  # set but empty is how shells and compose files say "not set"
    except UserError as error:
        raise UserError(f"{variable}: {error}") from None
