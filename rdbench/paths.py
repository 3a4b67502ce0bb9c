"""Where raw data lie and prepared arrays go: a flag, two environment variables, platform defaults."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DATA_VARIABLE = "RDBENCH_DATA"
CACHE_VARIABLE = "RDBENCH_CACHE"
NO_HOME = Path("/nonexistent")
"""The home that Debian gives to users without one: whatever copes with a cache that cannot be written copes
with it."""


@dataclass(frozen=True)
class DataRoot:
    """Folder of the raw data, absolute.

    It is only ever written to by a download, and need not exist.
    """

    folder: Path
    named_by: str = ""
    """``--data`` or ``RDBENCH_DATA``: then no other copy may stand in for its files. Else "": the user's data
    folder."""


def chosen_data_root(option: Path | None = None) -> DataRoot:
    """``option`` (--data), else RDBENCH_DATA, else the user's data folder."""
    if option is not None:
        return DataRoot(absolute(option), "--data")
    if (named := _from_environment(DATA_VARIABLE)) is not None:
        return DataRoot(absolute(named), DATA_VARIABLE)
    import platformdirs

    return DataRoot(absolute(_of_user(platformdirs.user_data_path)))


def data_root(option: Path | None = None) -> Path:
    """The folder of :func:`chosen_data_root`."""
    return chosen_data_root(option).folder


def cache_root() -> Path:
    """Folder for what rdbench can make again, absolute: RDBENCH_CACHE, else the user's cache folder.

    It may be one that cannot be written, or even looked into: what can do without goes on without.
    """
    chosen = _from_environment(CACHE_VARIABLE)
    if chosen is None:
        import platformdirs

        chosen = _of_user(platformdirs.user_cache_path)
    return absolute(chosen)


def home_variable() -> dict[str, str]:
    """Return an environment variable for packages that cannot be imported without a home; {} where one is."""
    known = os.path.expanduser("~")  # noqa: PTH111
    return {} if os.path.isabs(known) else {"HOME": str(NO_HOME)}  # noqa: PTH117


def _of_user(folder: Callable[..., Path]) -> Path:
    """Return a folder of the user's own: in a container they may have neither HOME nor an account."""
    try:
        return folder("rdbench", appauthor=False)
    except RuntimeError:
        return NO_HOME / "rdbench"


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value) if value else None  # set but empty is how shells and compose files say "not set"


def absolute(path: str | Path) -> Path:
    """Return a path as it is meant in this process's working folder, ``~`` expanded, ``..`` resolved by name.

    Workers run in another folder than the command line, so a relative path has to be settled here.
    """
    # os.path, as Path.absolute keeps '..' and Path.expanduser fails for an unknown ~user.
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
