"""Which files a dataset's own code opens, so that data are read again when one of them changes.

    <cache>/datasets/opened/<name>-<code>-<key>.json

Python's own audit events tell of every file that is opened and every folder that is listed, by ``open``,
numpy, Pillow or torch alike. Not seen is what a compiled library opens by itself, such as HDF5's.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rdbench.errors import DatasetError
from rdbench.storage import paths
from rdbench.storage.cache import writing

Stamps = dict[str, list[int]]
"""By path: bytes, and time of modification in nanoseconds."""

_CODE = (".py", ".pyc", ".so", ".pth")
_watching: list[set[str]] = []
_hooked = threading.Event()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        return
    if isinstance(path, str | bytes | os.PathLike):
        for names in _watching:
            names.add(os.fsdecode(path))


@contextmanager
def watched() -> Iterator[Stamps]:
    """Fill a mapping, as the block ends, with what was opened within it."""
    if not _hooked.is_set():  # a hook cannot be taken away again
        sys.addaudithook(_hook)
        _hooked.set()
    names: set[str] = set()
    stamps: Stamps = {}
    _watching.append(names)
    try:
        yield stamps
    finally:
        _watching.remove(names)
        for name in sorted(names):
            path = os.path.abspath(name)  # noqa: PTH100 (links stay, as they may come to lead elsewhere)
            if _is_data(path) and (stamp := _stamp(path)):
                stamps[path] = stamp


def _is_data(path: str) -> bool:
    installed = (sys.prefix, sys.base_prefix, sys.exec_prefix, "/proc", "/sys", "/dev", "/etc", "/usr")
    if path.endswith(_CODE) or "__pycache__" in path or "site-packages" in path:
        return False
    return not any(path == top or path.startswith(top + os.sep) for top in installed)


def _stamp(path: str) -> list[int] | None:
    with suppress(OSError):
        status = os.stat(path)  # noqa: PTH116
        return [0 if os.path.isdir(path) else status.st_size, status.st_mtime_ns]  # noqa: PTH112
    return None


def _folder() -> Path:
    return paths.cache_root() / "datasets" / "opened"


def _file(name: str, identity: dict[str, Any]) -> Path:
    canonical = json.dumps(identity, sort_keys=True)
    key = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    return _folder() / f"{name}-{identity['code']}-{key}.json"


def remember(name: str, identity: dict[str, Any], stamps: Stamps) -> None:
    """Keep what reading a dataset opened; ``identity`` holds its ``code``. DatasetError: it cannot."""
    file = _file(name, identity)
    with writing(file, DatasetError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        partial.write_text(json.dumps({"identity": identity, "opened": stamps}))
        partial.replace(file)


def known(name: str, identity: dict[str, Any], anywhere: bool = False) -> dict[str, Any] | None:
    """Return the identity of data that were read before, with the stamps of their files.

    What was prepared stands in for files that are gone. With ``anywhere``, data count too that the same code
    read from another ``path``. None: they were never read, or a file was changed since.
    """
    files = [_file(name, identity)]
    if anywhere:
        files += sorted(_folder().glob(f"{name}-{identity['code']}-*.json"))
    for file in files:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text())
            same = kept["identity"] | {"path": ""} == identity | {"path": ""}
            if same and all(_stamp(path) in (None, stamp) for path, stamp in kept["opened"].items()):
                return {**kept["identity"], "opened": kept["opened"]}
    return None
