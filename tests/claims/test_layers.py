"""Imports go one way, folder by folder, and what must start at once imports nothing heavy."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rdbench

PACKAGE = Path(rdbench.__file__).parent

# From the ground up: a folder imports from the folders before it, and a file at the top from none of them.
FOLDERS = [
    "storage",
    "numerics",
    "registry",
    "datasets",
    "metrics",
    "spec",
    "results",
    "vae",
    "search",
    "trial",
    "tune",
    "variants",
    "report",
    "commands",
    "cli",
]
FILES = ["__init__", "__main__", "errors", "machine", "text"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    """The dotted name of a module, as it is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name(path) for path in MODULES}


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of rdbench that a piece of code imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(imports(parsed(path)))


def ours(path: Path) -> set[str]:
    return {target for target in imported(path) if target.split(".")[0] == "rdbench"}


def folder(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def test_the_package_has_the_folders_of_the_flow_and_no_others():
    inside = [path for path in PACKAGE.iterdir() if not path.name.startswith((".", "__pycache__"))]
    assert sorted(path.name for path in inside if path.is_dir()) == sorted(FOLDERS)
    assert sorted(path.stem for path in inside if path.suffix == ".py") == sorted(FILES)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_imports_only_from_folders_below_its_own(path):
    mine = folder(name(path))
    if mine in ("__init__", "__main__"):  # the public names, and the command
        return
    level = FOLDERS.index(mine) if mine in FOLDERS else -1
    below = {*FOLDERS[: max(level, 0)], mine, "errors", "machine", "text"}
    if mine == "variants":
        below.add("__init__")  # the gallery is written as a user's own file is
    if mine == "commands" and folder(name(path)) == "commands":
        below.add("__init__")  # starting points, which are users' own files
    above = {target for target in ours(path) if folder(target) not in below and target != "rdbench"}
    assert not above, f"{name(path)} imports {sorted(above)}, which stand above it"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name(path): ours(path) - {name(path), "rdbench"} for path in MODULES if name(path) != "rdbench"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_module_is_longer_than_400_lines():
    assert [str(path) for path in MODULES if len(path.read_text().splitlines()) > 400] == []


def test_only_tune_imports_ray():
    users = {folder(name(path)) for path in MODULES if "ray" in packages(path)}
    assert users == {"tune"}


def packages(path: Path) -> set[str]:
    return {target.split(".")[0] for target in imported(path)}


QUICK = [
    *(
        "cli.app",
        "commands.new",
        "commands.sweep",
        "commands.bench.estimate",
        "datasets",
        "registry.variants",
    ),
    *("spec.sweep", "spec.plan", "results.store", "report", "numerics.likelihood"),
    *("metrics", "metrics.iwae", "metrics.latents", "metrics.reconstruction", "metrics.features"),
]
COMPUTES = ["numerics.theory", "report.calibration"]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [(QUICK, {"torch", "ray", "pandas", "pyarrow", "scipy"}), (COMPUTES, {"torch", "ray"})],
    ids=["quick", "computes"],
)
def test_they_start_without_heavy_packages(modules, heavy):
    """All in one process: the first that imports a heavy package is the one that is named with it."""
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(f"rdbench.{{module}}")
    if found := sorted({heavy} & set(sys.modules)):
        sys.exit(f"{{module}} imports {{found}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_the_process_that_drives_ray_starts_without_torch():
    """Each sweep starts one before anything is trained, and torch alone would double what it takes."""
    code = "import sys, rdbench.tune.driver; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_function_is_longer_than_60_lines():
    functions = (
        (name(path), node)
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
    )
    assert [(where, node.name) for where, node in functions if node.end_lineno - node.lineno >= 60] == []
