"""Runs a variant's files from their text, under names of its own: none gets another's modules."""

import builtins
import functools
import hashlib
import posixpath
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from rdbench.registry.imports import NEVER, File, Files, code_of, is_authors, module_file


def run(files: Files, apart: bool = False) -> types.ModuleType:
    """Return the module of a variant's own file, run once a process together with what it imports.

    With ``apart``, once for each place that the same files lie in.
    """
    return _bundle(files, apart).load(files[0].module)


class _Bundle:
    """Modules of one variant: what one calls ``layers`` is ``rdbench_variant_<code>.layers`` to the process.

    Each has an ``__import__`` of its own, which looks here first, also for imports within functions.
    """

    def __init__(self, files: Files, apart: bool = False) -> None:
        self._files = {file.module: file for file in files}
        self._names = {*self._files}  # and those of the packages that they lie in
        for name in self._files:
            while name := name.rpartition(".")[0]:
                self._names.add(name)
        place = hashlib.sha256(files[0].path.encode(errors="replace")).hexdigest()[:16]
        self._name = f"rdbench_variant_{code_of(files)}{f'_{place}' if apart else ''}"
        self._checked: set[str] = set()

    def load(self, name: str) -> types.ModuleType:
        """Return a module by the name its author gave it, run if it was not."""
        private = f"{self._name}.{name}"
        parent, _, last = name.rpartition(".")
        if private not in sys.modules and parent:
            self.load(parent)  # which may import it
        if private in sys.modules:
            return sys.modules[private]
        file = self._files.get(name)
        module = _module(private, file)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        sys.modules.setdefault(self._name, types.ModuleType(self._name))
        sys.modules[private] = module  # before it runs: classes look their module up
        if file:
            try:
                exec(compile(file.text, file.path, "exec", dont_inherit=True), module.__dict__)
            except BaseException:
                del sys.modules[private]
                raise
        if parent:
            setattr(sys.modules[f"{self._name}.{parent}"], last, sys.modules[private])
        return sys.modules[private]

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        """Do what the statement ``import`` does in a module of this bundle."""
        names = tuple(fromlist or ())
        if level:
            package = (globals or {}).get("__package__", "").split(".")[1:]
            if level > len(package):
                raise ImportError("attempted relative import beyond top-level package")
            name = ".".join([*package[: len(package) - level + 1], *([name] if name else [])])
        if name not in self._names:
            for imported in (name, *(f"{name}.{other}" for other in names)):
                self._check(imported)
            return builtins.__import__(name, None, None, names, 0)
        module = self.load(name)
        for part in getattr(module, "__all__", ()) if "*" in names else names:
            below = f"{name}.{part}"
            if below in self._names and not hasattr(module, part):
                self.load(below)
            elif not hasattr(module, part) and module_file(below):  # compiled, or of an installed package
                setattr(module, part, self._import(below, fromlist=("*",)))
        return module if names else self.load(name.partition(".")[0])

    def _check(self, name: str) -> None:
        """Refuse a file of the author's that was not hashed; to an optional import it is not there."""
        top = name.partition(".")[0]
        if name in self._checked or (top in NEVER and top not in self._names):
            return
        origin = module_file(name)
        if origin and is_authors(name, Path(origin)):
            raise ModuleNotFoundError(
                f"{name} is not imported from {origin}, which is not among the files that the trials are"
                " known by: put it beside the variant or its folder on PYTHONPATH, and sweep again",
                name=name,
            )
        if origin is None and top in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self._checked.add(name)


_bundle = functools.lru_cache(maxsize=256)(_Bundle)


def _module(name: str, file: File | None) -> types.ModuleType:
    module = types.ModuleType(name)
    is_package = file is None or file.is_package
    spec = ModuleSpec(name, None, origin=file and file.path, is_package=is_package)
    module.__spec__, module.__package__ = spec, name if is_package else name.rpartition(".")[0]
    if file:
        module.__file__ = file.path
    if is_package:
        module.__path__ = [posixpath.dirname(file.path)] if file else []
    return module
