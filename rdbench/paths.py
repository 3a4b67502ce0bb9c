"""Where raw data lie and prepared arrays go: a flag, two environment variables, platform defaults."""

import os
from pathlib import Path

DATA_VARIABLE = "RDBENCH_DATA"
CACHE_VARIABLE = "RDBENCH_CACHE"


def data_root(option: Path | None = None) -> Path:
    """Folder of the raw data, absolute: ``option`` (--data), else RDBENCH_DATA, else the user's data folder.

    The folder is only ever written to by a download, and need not exist.
    """
    chosen = option or _from_environment(DATA_VARIABLE)
    if chosen is None:
        import platformdirs

        chosen = platformdirs.user_data_path("rdbench", appauthor=False)
    return absolute(chosen)


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
