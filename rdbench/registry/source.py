"""Where a variant's source is found: shipped with rdbench, in a package, or in a file of the user's."""

import importlib.metadata
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rdbench.errors import SpecError, UserError
from rdbench.registry import copies, imports
from rdbench.registry.declaration import USAGE, Declaration, declarations
from rdbench.storage import paths

GROUP = "rdbench.variants"
"""The entry-point group in which a package names its variants: ``name = "package.module:function"``."""


@dataclass(frozen=True)
class Source:
    """A variant's source, found and read but not run; ``module`` is "" for a file of the user's."""

    declaration: Declaration
    path: Path
    module: str
    text: str
    ours: bool = False

    @cached_property
    def files(self) -> imports.Files:
        """The author's files that it runs from, by ``collect``; none if ours, or of an installed package."""
        return () if self.ours else authors_files(self.path, self.text, self.module)

    @cached_property
    def code(self) -> str:
        """The hash of its files; of what is installed, of its own file; "" for ours, told by the recipe."""
        return "" if self.ours else imports.code_of(self.files or (imports.alone(self.path, self.text),))


def shipped() -> dict[str, Path]:
    """Return the files of the variants that ship with rdbench, by name: one file each, named after it."""
    folder = Path(__file__).parents[1] / "variants"
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def plugged_in() -> dict[str, str]:
    """Return the variants of installed packages: name -> "package.module:function"."""
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}


def find(reference: str, folders: Iterable[Path] = ()) -> Source:
    """Find a variant by a registered name, ``package.module:function`` or ``path/to/file.py:function``.

    A relative path may start from ``folders``; the working directory is the last. SpecError, which says what
    to write: there is none, or it is declared wrongly.
    """
    if ":" not in reference:
        if path := shipped().get(reference):
            return _read(path, f"rdbench.variants.{reference}", None, ours=True)
        if value := plugged_in().get(reference):
            return find(value)
        if reference.endswith(".py") and (file := paths.local(reference)).is_file():
            _read(file, "", "")  # says what it declares
        raise SpecError(f"no variant named {reference!r}")
    path, module, symbol = locate(reference, folders, "a variant of your own")
    return _read(path, module, symbol)


def locate(reference: str, folders: Iterable[Path], what: str) -> tuple[Path, str, str]:
    """Return the file, the module ("" for a file) and the symbol that a reference with a colon names.

    ``what`` it should be is said where there is no such file: "a variant of your own". Nothing is run.
    """
    place, _, symbol = reference.rpartition(":")
    if place.endswith(".py") or "/" in place or os.sep in place:
        return _file(place, folders, what), "", symbol
    return _module_file(place), place, symbol


def authors_files(path: Path, text: str, module: str) -> imports.Files:
    """Return the author's files that a source runs from, itself first; none of an installed package."""
    if module and not imports.is_authors(module, path):
        return ()
    return copies.kept(path, text) or imports.collect(path, text, module)


def _file(place: str, folders: Iterable[Path], what: str) -> Path:
    try:
        tried = paths.candidates(place, folders)
    except UserError as error:
        raise SpecError(str(error)) from None
    for path in tried:
        if os.path.isfile(path):  # noqa: PTH113 (Path.is_file fails where one may not look)
            return path.resolve()
    where = " or ".join(map(str, tried))
    raise SpecError(f"there is no file {where}; {what} is named path/to/file.py:function")


def _module_file(name: str) -> Path:
    """Return a module's file; nothing is imported."""
    if os.getcwd() not in sys.path:  # noqa: PTH109 (sys.path holds text)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    origin = imports.module_file(name) if all(part.isidentifier() for part in name.split(".")) else None
    if origin is None or not origin.endswith(".py"):
        raise SpecError(f"there is no module {name} in Python; is its package installed here?")
    return Path(origin)


def _read(path: Path, module: str, symbol: str | None, ours: bool = False) -> Source:
    text = imports.read(path)
    declared = declarations(text, str(path))
    for declaration in declared:
        if symbol in (None, declaration.symbol, declaration.name):
            return Source(declaration, path, module, text, ours)
    names = ", ".join(declaration.symbol for declaration in declared) or f"none; {USAGE}"
    raise SpecError(f"{path} declares no variant {symbol!r}; it declares {names}")
