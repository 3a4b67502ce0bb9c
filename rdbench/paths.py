"""Where raw data lie and prepared arrays go: a flag, two environment variables, platform defaults."""

import os
from dataclasses import dataclass
from pathlib import Path

DATA_VARIABLE = "RDBENCH_DATA"
CACHE_VARIABLE = "RDBENCH_CACHE"


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

    return DataRoot(absolute(platformdirs.user_data_path("rdbench", appauthor=False)))


def data_root(option: Path | None = None) -> Path:
    """The folder of :func:`chosen_data_root`."""
    return chosen_data_root(option).folder


def cache_root() -> Path:
    """Folder for what rdbench can make again, absolute: RDBENCH_CACHE, else the user's cache folder."""
    chosen = _from_environment(CACHE_VARIABLE)
    if chosen is None:
        import platformdirs

        chosen = platformdirs.user_cache_path("rdbench", appauthor=False)
    return absolute(chosen)


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value) if value else None  # set but empty is how shells and compose files say "not set"


def absolute(path: str | Path) -> Path:
    """Return a path as it is meant in this process's working folder, ``~`` expanded, ``..`` resolved by name.

    Workers run in another folder than the command line, so a relative path has to be settled here.
    """
    # os.path, as Path.absolute keeps '..' and Path.expanduser fails for an unknown ~user.
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
