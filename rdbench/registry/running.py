"""Runs what is plugged in: from files that were shipped to this process, from files here, or as installed."""

import importlib
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.errors import SpecError
from rdbench.registry import bundle, moved
from rdbench.registry.imports import File, Files

_shipped: dict[str, Files] = {}
"""Authors' files that were shipped to this process, by hash."""

_imported: dict[str, str] = {}
"""Modules of packages that this process imported, with the hash of their source then."""


def ship(sources: Mapping[str, Iterable[Iterable[str]]]) -> None:
    """Make authors' files known to this process, by their hashes: no path has to exist here."""
    _shipped.update({code: tuple(File(*file) for file in files) for code, files in sources.items()})


def shipped(code: str) -> Files | None:
    """Return the files of a hash that were shipped to this process; None if none were."""
    return _shipped.get(code)


def run_files(files: Files, symbol: str, apart: bool = False) -> Any:
    """Return what the first file calls ``symbol``, run once a process from the text of the files.

    ``apart``: files of the same text that lie elsewhere are run too.
    """
    moved.provide(file.text for file in files)
    return getattr(bundle.run(files, apart), symbol)


def run_module(name: str, symbol: str, path: Path, text: str, code: str = "") -> Any:
    """Return what an installed module calls ``symbol``.

    ``text`` is that of its file ``path``, ``code`` its hash, "" for rdbench's own. SpecError: the file was
    edited since this process imported it.
    """
    moved.provide([text])
    module = importlib.import_module(name)
    if code and _imported.setdefault(name, code) != code:
        raise SpecError(f"{path} was edited since this process imported it; start a new one")
    return getattr(module, symbol)


@contextmanager
def seeded(seed: int, devices: Sequence[Any] = ()) -> Iterator[None]:
    """Seed the global generators of Python, numpy and, if it is imported, torch; restore them afterwards.

    ``devices`` are CUDA devices of torch whose generators are restored too.
    """
    torch: Any = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices) if torch else nullcontext():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if torch:
            torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
