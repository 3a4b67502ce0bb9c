"""Metrics, datasets and feature networks of one's own: found, read, hashed and run as variants are.

Each is named in a sweep file as ``path/to/file.py:thing``, as ``package.module:thing``, or by the entry point
of an installed package. ``thing`` is a function, a class, or any value that the file gives a name to. A
function's keyword-only parameters are its options, as a variant's are. A source is read before it is run;
what it imports of the author's files counts as it does (:mod:`rdbench.registry.imports`).
"""

import ast
import importlib.metadata
import json
import math
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rdbench.errors import SpecError
from rdbench.registry import imports, running, source
from rdbench.registry.declaration import Option, meanings, read_options
from rdbench.storage import paths
from rdbench.text import choose, in_words

Kind = Literal["metric", "dataset", "features"]
"""What can be plugged in, beside variants."""

GROUPS: dict[Kind, str] = {
    "metric": "rdbench.metrics",
    "dataset": "rdbench.datasets",
    "features": "rdbench.features",
}
"""The entry-point groups in which a package names them: ``name = "package.module:thing"``."""

WORDS: dict[str, str] = {"metric": "metric", "dataset": "dataset", "features": "feature network"}

RESERVED = {"name", "source", "code", "options"}

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class OptionError(SpecError):
    """An option that is not there, or a value that it cannot have; ``key`` is the option."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Plugin:
    """What a reference names: its source was read, and nothing was run."""

    kind: Kind
    symbol: str
    path: Path
    module: str  # "" for a file
    text: str
    shipped: imports.Files = ()  # where this process has its files from, if they were shipped

    @cached_property
    def files(self) -> imports.Files:
        """The author's files that it runs from, its own first; none if it is of an installed package."""
        return self.shipped or source.authors_files(self.path, self.text, self.module)

    @cached_property
    def code(self) -> str:
        """The hash of its files: 16 hexadecimal digits."""
        return imports.code_of(self.files or (imports.alone(self.path, self.text),))

    @property
    def source(self) -> str:
        """By what any process names it: "package.module:thing", or "/whole/path/to/file.py:thing"."""
        return f"{self.module or paths.as_text(self.path)}:{self.symbol}"

    @cached_property
    def node(self) -> ast.stmt:
        """The statement that defines it; SpecError: there is none."""
        defined: dict[str, ast.stmt] = {}
        for statement in imports.parse(self.text, str(self.path)).body:
            defined |= dict.fromkeys(_defines(statement), statement)
        if self.symbol in defined:
            return defined[self.symbol]
        imported = ast.Import | ast.ImportFrom
        public = [name for name, at in defined.items() if name[0] != "_" and not isinstance(at, imported)]
        fix = choose(self.symbol, public) if public else "it defines nothing"
        raise SpecError(f"{self.path} defines no {self.symbol!r}; {fix}")

    @property
    def line(self) -> str:
        """Where it is defined: "file:line"."""
        return f"{self.path}:{self.node.lineno}"

    @property
    def inputs(self) -> tuple[str, ...] | None:
        """The parameters of a function but for its options, in order; None of what is no function."""
        if not isinstance(self.node, ast.FunctionDef):
            return None
        return tuple(parameter.arg for parameter in (*self.node.args.posonlyargs, *self.node.args.args))

    @property
    def required(self) -> int:
        """How many of :attr:`inputs` have no default."""
        if not isinstance(self.node, ast.FunctionDef):
            return 0
        return len(self.inputs or ()) - len(self.node.args.defaults)

    @cached_property
    def options(self) -> dict[str, Option]:
        """Its options: the keyword-only parameters of a function, or of a class's ``__init__``."""
        node = self.node
        if isinstance(node, ast.ClassDef):
            functions = (part for part in node.body if isinstance(part, ast.FunctionDef))
            begin = next((function for function in functions if function.name == "__init__"), None)
            return self._options(begin.args, node) if begin else {}
        return self._options(node.args, node) if isinstance(node, ast.FunctionDef) else {}

    def _options(self, parameters: ast.arguments, node: ast.FunctionDef | ast.ClassDef) -> dict[str, Option]:
        texts = meanings(ast.get_docstring(node))
        return read_options(parameters, str(self.path), texts, RESERVED)

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        documented = isinstance(self.node, ast.FunctionDef | ast.ClassDef)
        return ((ast.get_docstring(self.node) or "") if documented else "").split("\n")[0]  # type: ignore[arg-type]

    def settled(self, given: Mapping[Any, Any], shared: Mapping[str, Option] = {}) -> dict[str, Any]:
        """Return all of its options, those that are given checked, the others by default.

        ``shared`` are further options, which every one of its kind has. OptionError: one is not there, or
        cannot have this value.
        """
        return settled_options(f"{WORDS[self.kind]} {self.symbol}", {**self.options, **shared}, given)

    def run(self, apart: bool = False) -> Any:
        """Return the thing itself: its files are run, once a process. Whatever they raise goes through.

        ``apart``: run again for files of the same text elsewhere, which may look for others beside them.
        """
        if self.files:
            return running.run_files(self.files, self.symbol, apart)
        return running.run_module(self.module, self.symbol, self.path, self.text, self.code)

    def place_of(self, error: BaseException) -> str:
        """Return "file.py:12", the last of the author's lines that an exception passed; else the file."""
        known = {str(self.path): self.path.name} | {file.path: file.name for file in self.files}
        modules = {file.module: file.name for file in self.files}
        for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
            # By the module too: files of one text that lie in two places are run once, from the first.
            bundle, _, module = str(frame.f_globals.get("__name__")).partition(".")
            name = modules.get(module) if self.code in bundle else known.get(frame.f_code.co_filename)
            if name:
                return f"{name}:{line}"
        return f"{self.path.name}:{self.node.lineno}"

    def mistake(self, error: BaseException) -> str:
        """Return what its code raised in a line, with the place and what to do next."""
        what = str(error) if isinstance(error, SpecError) else in_words(error)
        return f"{self.place_of(error)}: {what}; try 'rdbench check {self.path.name}:{self.symbol}'"


def _defines(statement: ast.stmt) -> Iterable[str]:
    """Return the names that a statement at the top of a file gives to something."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign():
            return [
                node.id
                for target in statement.targets
                for node in ast.walk(target)
                if isinstance(node, ast.Name)
            ]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            return [name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    return []


def settled_options(what: str, known: Mapping[str, Option], given: Mapping[Any, Any]) -> dict[str, Any]:
    """Return all options that are known, those that are given checked, the others by default.

    OptionError: one that is given is not known of ``what``, or cannot have this value.
    """
    settled = {name: option.default for name, option in known.items()}
    for name, value in given.items():
        if name not in known:
            fix = choose(name, list(known)) if known else "it takes no options, remove it"
            raise OptionError(name, f"unknown key; {what}: {fix}")
        settled[name] = _checked(name, value, known[name])
    return settled


def _checked(name: str, value: Any, option: Option) -> Any:
    typed = float(value) if option.type is float and type(value) is int else value
    if typed is None and option.default is None:
        return typed
    if type(typed) is not option.type or (isinstance(typed, float) and not math.isfinite(typed)):
        shown = json.dumps(value, default=repr)
        raise OptionError(name, f"expected {_EXPECTED[option.type]}, got {shown}")
    if use := option.out_of_range(typed):
        raise OptionError(name, f"{json.dumps(value)} is out of range; use {use}")
    return typed


def entry_points(kind: Kind) -> dict[str, str]:
    """Return what installed packages plug in of a kind: name -> "package.module:thing"."""
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUPS[kind])}


def is_reference(kind: Kind, name: object) -> bool:
    """Tell whether a name is that of something plugged in, rather than one of rdbench's own."""
    return isinstance(name, str) and (":" in name or name.endswith(".py") or name in entry_points(kind))


def find(kind: Kind, reference: str, folders: Iterable[Path] = ()) -> Plugin:
    """Find what a reference names, and read its source; a relative path may start from ``folders``.

    SpecError, which says what to write: there is no such file, module or symbol, or it is not Python.
    """
    reference = entry_points(kind).get(reference, reference)
    if ":" not in reference:
        raise SpecError(f"{reference} names a file; write {reference}:NAME, with what it defines")
    path, module, symbol = source.locate(reference, folders, f"a {WORDS[kind]} of your own")
    plugin = Plugin(kind, symbol, path, module, imports.read(path))
    _ = plugin.node, plugin.options  # says what is wrong with them
    return plugin


def settled(kind: Kind, reference: str, code: str) -> Plugin:
    """Return what a sweep settled on: from files that were shipped to this process, or from those here.

    SpecError: there is no such source here (any more), or it was edited since.
    """
    if files := running.shipped(code):
        return Plugin(kind, reference.rpartition(":")[2], Path(files[0].path), "", files[0].text, files)
    plugin = find(kind, reference)
    if plugin.code != code:
        raise SpecError(
            f"{plugin.path} or a file it imports was edited since the sweep was read (hash {code}, now"
            f" {plugin.code}); run the same command again"
        )
    return plugin


def runnable(
    plugin: Plugin, check: Callable[[Any], str | None] = lambda thing: None, apart: bool = False
) -> Any:
    """Return the thing itself; SpecError, in a line, where its files cannot be run.

    ``check`` returns what is wrong with the thing, if anything is; ``apart`` is as for :meth:`Plugin.run`.
    """
    try:
        thing = plugin.run(apart)
    except SpecError:
        raise
    except (Exception, SystemExit) as error:
        raise SpecError(plugin.mistake(error)) from None
    if wrong := check(thing):
        raise SpecError(f"{plugin.line}: {wrong}")
    return thing


def clash(kind: Kind, name: str, taken: Collection[str]) -> str | None:
    """Return what is wrong with a name that would be taken for one of rdbench's own; None if nothing is."""
    for own in taken:
        if f"{name}_".startswith(f"{own}_"):
            return f"{name!r} would be taken for rdbench's own {WORDS[kind]} {own!r}; rename it"
    return None
