"""Where a variant's source is found: shipped with rdbench, in a package, or in a file of the user's."""

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rdbench.errors import SpecError
from rdbench.variants.declaration import USAGE, Declaration, declarations

GROUP = "rdbench.variants"
"""The entry-point group in which a package names its variants: ``name = "package.module:function"``."""


@dataclass(frozen=True)
class Source:
    """A variant's source, found and read but not run.

    Attributes:
        declaration: what it declares.
        path: the file.
        module: to be imported by; "" for a file of the user's, which is run from its text.
        text: the file's content.
        code: the first 16 hexadecimal digits of its SHA-256; "" for what ships with rdbench, whose meaning
            the recipe's version stands for.
    """

    declaration: Declaration
    path: Path
    module: str
    text: str
    code: str


def shipped() -> dict[str, Path]:
    """Return the files of the variants that ship with rdbench, by name: one file each, named after it."""
    folder = Path(__file__).parent
    own = {"__init__", "declaration", "source"}
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem not in own}


def plugged_in() -> dict[str, str]:
    """Return the variants of installed packages: name -> "package.module:function"."""
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}


def find(reference: str, folders: Iterable[Path] = ()) -> Source:
    """Find a variant's source.

    Args:
        reference: a registered name, ``package.module:function`` or ``path/to/file.py:function``.
        folders: where a relative path may start from, first to last; the working directory is the last.

    Raises:
        SpecError: there is none, or it is declared wrongly; says what to write.
    """
    if ":" not in reference:
        if path := shipped().get(reference):
            return _read(path, f"rdbench.variants.{reference}", None, ours=True)
        if value := plugged_in().get(reference):
            return find(value)
        if reference.endswith(".py") and Path(reference).is_file():
            _read(Path(reference), "", "")  # says what it declares
        raise SpecError(f"no variant named {reference!r}")
    place, _, symbol = reference.rpartition(":")
    if place.endswith(".py") or "/" in place or os.sep in place:
        return _read(_file(place, folders), "", symbol)
    return _read(_module_file(place), place, symbol)


def _file(place: str, folders: Iterable[Path]) -> Path:
    tried = [folder / Path(place).expanduser() for folder in (*folders, Path())]
    for path in tried:
        if path.is_file():
            return path.resolve()
    where = " or ".join(dict.fromkeys(str(path.resolve()) for path in tried))
    raise SpecError(f"there is no file {where}; a variant of your own is named path/to/file.py:function")


def _module_file(name: str) -> Path:
    """Return a module's file without importing it (packages above it are)."""
    if os.getcwd() not in sys.path:  # noqa: PTH109 (sys.path holds text)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        spec = importlib.util.find_spec(name)
    except Exception as error:  # packages above it are imported, and may raise anything
        raise SpecError(f"there is no module {name} ({error}); is its package installed here?") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise SpecError(f"there is no Python module {name}; is its package installed here?")
    return Path(spec.origin)


def _read(path: Path, module: str, symbol: str | None, ours: bool = False) -> Source:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error})") from None
    found = declarations(text, str(path))
    fitting = [each for each in found if symbol in (None, each.symbol, each.name)]
    if not fitting:
        names = ", ".join(each.symbol for each in found)
        there = f"it declares {names}" if found else f"it declares none; {USAGE}"
        raise SpecError(f"{path} declares no variant {symbol!r}; {there}")
    code = "" if ours else hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(fitting[0], path, module, text, code)
