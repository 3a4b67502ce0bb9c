"""Which of the author's files a variant runs from: its own and all it imports, found without running any.

Not the author's are the standard library, installed packages and rdbench. An editable install, the working
directory and whatever else is on ``sys.path`` are the author's. Not seen are imports by a computed name
(``importlib.import_module``), compiled modules and data files. The standard library's ``modulefinder`` does
not serve: it looks for modules on ``sys.path`` alone, where editable installs have finders of their own.
"""

import ast
import contextlib
import functools
import hashlib
import importlib
import json
import posixpath
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from rdbench.errors import SpecError

NEVER = {*sys.stdlib_module_names, "rdbench", "torch", "torchvision", "numpy"}
"""Top-level modules that are not the author's, wherever they lie: a process has one of each."""

DYNAMIC = {"import_module", "__import__", "spec_from_file_location", "run_path", "run_module"}


class File(NamedTuple):
    """A file of the author's; its name is a relative path by which it is imported: ``mypkg/layers.py``."""

    name: str
    path: str
    text: str

    @property
    def module(self) -> str:
        """The name by which it is imported: ``mypkg.layers``."""
        return self.name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__.py`` of a package."""
        return self.name.endswith("/__init__.py")


Files = tuple[File, ...]
"""What a variant runs from; the first is the one that declares it."""


def code_of(files: Sequence[File]) -> str:
    """Return the identity of a variant's files: 16 hexadecimal digits; of a single file the hash of its text.

    Names count as imports say them, so moved or copied files are the same.
    """
    main, *others = counted(files)
    if not others:
        return hashlib.sha256(main.text.encode()).hexdigest()[:16]
    top, below, _ = main.name.partition("/")

    def relative(name: str) -> str:
        within = below and name.startswith(f"{top}/")
        return "./" + posixpath.relpath(name, posixpath.dirname(main.name)) if within else name

    content = [main.text, sorted([relative(file.name), file.text] for file in others)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def counted(files: Sequence[File]) -> Files:
    """Return the files that are part of the identity: those with something to run."""
    return tuple(file for file in files if file is files[0] or not _runs_nothing(file.text))


@functools.lru_cache(maxsize=4096)
def _runs_nothing(text: str) -> bool:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def read(path: Path) -> str:
    """Return the text of a source file; SpecError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error})") from None


def parse(text: str, where: str, why: str = "") -> ast.Module:
    """Return the syntax tree of a source; SpecError, which names the line, where it is not Python."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SpecError(f"{where}:{line}: not Python ({getattr(error, 'msg', None) or error}){why}") from None


def last_name(node: ast.expr) -> str:
    """Return ``variant`` of ``rdbench.variant``, or of ``variant`` alone; "" of what is no name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_authors(module: str, path: Path) -> bool:
    """Tell whether a module's file is the author's: no part of Python, rdbench or an installed package."""
    top = module.partition(".")[0]
    if top in NEVER or path.suffix != ".py" or {"site-packages", "dist-packages"} & {*path.parts}:
        return False
    if any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")):
        return False
    above = module.count(".") + (path.name == "__init__.py")
    return above >= len(path.parents) or top not in _installed(path.parents[above])


@functools.lru_cache(maxsize=256)
def _installed(folder: Path) -> frozenset[str]:
    """Return what package installers put into a folder, as ``pip install --target`` does."""
    records = [record.read_text(errors="replace") for record in folder.glob("*.dist-info/RECORD")]
    lines = "\n".join(records).splitlines()
    return frozenset(re.split(r"[/,]", line)[0].removesuffix(".py") for line in lines)


def module_file(name: str) -> str | None:
    """Return the file of a module, the author's or not; None if there is none. Nothing is imported."""
    folders: Sequence[str] | None = None
    spec = None
    for end in (*(match.start() for match in re.finditer(r"\.", name)), len(name)):
        if spec is not None and folders is None:
            return None  # a module has no modules below it
        spec = _spec(name[:end], folders)
        if spec is None:
            return None
        folders = _folders(spec)
    return spec.origin if spec and spec.has_location else None


def _spec(name: str, folders: Sequence[str] | None) -> ModuleSpec | None:
    """Ask all finders, as an import does: those of editable installs are among them."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find and (spec := find(name, folders)):
            return spec  # type: ignore[no-any-return]
    return None


def _folders(spec: ModuleSpec) -> tuple[str, ...] | None:
    folders = spec.submodule_search_locations
    # A namespace package's own list looks for its parent among the modules that were imported.
    return None if folders is None else tuple(getattr(folders, "_path", folders))


class Import(NamedTuple):
    """``import module``, or ``from (level dots)module import names``."""

    module: str
    level: int
    names: tuple[str, ...]


@functools.lru_cache(maxsize=4096)
def _imports(text: str) -> tuple[Import, ...]:
    imports = []
    for node in _running(ast.parse(text)):
        if isinstance(node, ast.Import):
            imports += [Import(alias.name, 0, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append(Import(node.module or "", node.level, tuple(alias.name for alias in node.names)))
    return tuple(imports)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those below ``if TYPE_CHECKING:``, which never run."""
    todo = deque([tree])
    while todo:
        node = todo.popleft()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))


def dynamic_imports(files: Sequence[File]) -> list[str]:
    """Return the places, "file:line", of imports by a computed name: what they import is not seen."""
    return [
        f"{file.name}:{node.lineno}"
        for file in files
        for node in _running(ast.parse(file.text))
        if isinstance(node, ast.Call) and last_name(node.func) in DYNAMIC
    ]


def alone(path: Path, text: str) -> File:
    """Return a file by itself, under a name that hides no other module's."""
    return File(f"{_free_name(path.stem)}.py", str(path), text)


def _free_name(word: str) -> str:
    name = re.sub(r"\W", "_", word)
    return f"{name}_" if name in NEVER else name


def collect(path: Path, text: str, module: str) -> Files:
    """Return the files of the author's that a variant runs from, the one that declares it first.

    ``module`` is the name it is imported by; "" for a file, which is as good as beside what it imports.
    SpecError: one that it imports cannot be read, or is not Python.
    """
    importlib.invalidate_caches()  # files may be newer than what the finders know of their folders
    return _Collection(path, text, module).files()


class _Module(NamedTuple):
    """A module of the author's: ``path`` is None for a namespace package, ``folders`` for a plain module."""

    path: Path | None
    folders: tuple[str, ...] | None


_Places = list[Sequence[str] | None]
"""Folders in which to look for a module; None for ``sys.path``, through all finders."""


class _Collection:
    def __init__(self, path: Path, text: str, module: str) -> None:
        self._known: dict[str, _Module | None] = {}
        if module:
            name = _file_name(module, path)
            self._places: _Places = [None]
        else:
            name = self._name_of(path, text)
            neighbours = [str(path.parent)]
            # A script's neighbours come first, as when Python runs it; a package's modules do not.
            packages = [str(path.parents[name.count("/")])]
            self._places = [None, packages, neighbours] if "/" in name else [neighbours, None]
        with contextlib.suppress(FileNotFoundError):  # no working directory any more
            here = str(Path.cwd())
            if here not in (str(Path(folder).absolute()) for folder in sys.path):
                self._places.insert(self._places.index(None), [here])
        self._main = File(name, str(path), text)
        folders = (str(path.parent),) if path.name == "__init__.py" else None
        self._known[self._main.module] = _Module(path, folders)
        self._files = {name: self._main}
        self._todo = deque([self._main])
        if module:
            self._add(module)  # with the packages above it

    def _name_of(self, path: Path, text: str) -> str:
        """Return a file's name below the packages that it lies in, and note these."""
        climbs = max((statement.level for statement in _imports(text)), default=0)
        folders: list[Path] = []
        for folder in path.parents:
            if not folder.name or not ((folder / "__init__.py").is_file() or len(folders) < climbs):
                break
            folders.insert(0, folder)
        last = path.name if path.name == "__init__.py" and folders else f"{_free_name(path.stem)}.py"
        names = [_free_name(folder.name) for folder in folders]
        for count, folder in enumerate(folders, start=1):
            init = folder / "__init__.py"
            self._known[".".join(names[:count])] = _Module(init if init.is_file() else None, (str(folder),))
        return "/".join([*names, last])

    def files(self) -> Files:
        while self._todo:
            file = self._todo.popleft()
            for module, level, names in _imports(file.text):
                parts = file.module.split(".")
                package = parts if file.is_package else parts[:-1]
                if level > len(package):
                    continue  # says so when it runs
                above = package[: len(package) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                self._add(base, file)
                for name in self._all(base) if "*" in names else names:
                    self._add(f"{base}.{name}", file)
        return tuple(self._files.values())

    def _add(self, module: str, importer: File | None = None) -> None:
        """Take a module, and the packages above it, as far as they are the author's."""
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            if (known := self._find(name)) is None:
                return  # somebody else's, not there, or no module but a name in one
            path = known.path
            if path is not None and (file_name := _file_name(name, path)) not in self._files:
                why = f"; {importer.path} imports it" if importer else ""
                text = read(path)
                parse(text, str(path), why)
                file = self._files[file_name] = File(file_name, str(path), text)
                self._todo.append(file)

    def _find(self, name: str) -> _Module | None:
        if name not in self._known:
            parent = name.rpartition(".")[0]
            above = self._find(parent) if parent else None
            within: _Places = [above.folders] if above and above.folders else []
            self._known[name] = _first(name, within if parent else self._places)
        return self._known[name]

    def _all(self, package: str) -> list[str]:
        """Return what ``from package import *`` may import from a package, by its ``__all__``."""
        file = self._files.get(package.replace(".", "/") + "/__init__.py")
        for node in ast.parse(file.text).body if file else ():
            if isinstance(node, ast.Assign) and [*map(ast.unparse, node.targets)] == ["__all__"]:
                with contextlib.suppress(ValueError, TypeError):
                    return [str(name) for name in ast.literal_eval(node.value)]
                return []
        return []


def _file_name(module: str, path: Path) -> str:
    return module.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")


def _first(name: str, places: _Places) -> _Module | None:
    """Return a module of the author's from the first place that has it; files go before mere folders."""
    namespace = None
    for place in places:
        top = "." not in name
        spec = PathFinder.find_spec(name, list(place)) if top and place is not None else _spec(name, place)
        if spec is None:
            continue
        if spec.loader is not None and spec.origin is not None:
            path = Path(spec.origin)
            authors = spec.has_location and is_authors(name, path) and path.is_file()
            return _Module(path, _folders(spec)) if authors else None
        namespace = namespace or _Module(None, _folders(spec))
    return namespace
