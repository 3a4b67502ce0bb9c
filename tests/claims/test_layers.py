"""Imports go one way, and what must start at once imports nothing heavy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rdbench
from rdbench.registry.source import shipped

PACKAGE = Path(rdbench.__file__).parent

# From the ground up: a module imports only from layers below its own (or from its own package).
LAYERS = [
    {"errors", "cgroups", "signals", "catalogue", "faults", "failures"},
    {"cores", "scratch"},
    {"paths", "remote", "streams", "likelihood", "seeding", "sweep_files"},
    {"places"},
    {"theory", "snapshots", "parquet", "lease", "outputs"},
    {"table_files"},
    {"datasets", "variants", "precision", "statistics"},
    {"features"},
    {"metrics"},
    {"yaml_lines"},
    {"spec_errors"},
    {"spec_fields"},
    {"spec_search"},
    {"search_checks"},
    {"spec", "spec_dataset"},
    {"plan"},
    {"store"},
    {"progress"},
    {"search"},
    {"calibration", "compact"},
    {"provenance", "nets", "augment", "allocator", "graphs", "checkpoint_file"},
    {"models", "resume"},
    {"batches"},
    {"training"},
    {"evaluation"},
    {"runs"},
    {"outcomes", "gallery"},
    {"trial", "watchdog"},
    {"worker", "throughput", "plain"},
    {"report"},
    {"beforehand"},
    {"estimate", "afterwards", "foreground", "samples"},
    {"packing", "roofline"},
    {"bench", "conformance", "starting_points"},
    {"tune"},
    {"orchestration"},
    {"sweep"},
    {"doctor"},
    {"cli_options"},
    {"cli_data", "cli_report", "cli_variants"},
    {"cli_doctor", "cli_trial"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def unit(path: Path) -> str:
    """The module, or the sub-package, that a file belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    # A variant of the gallery stands on what variants are made of; only the registry stands below it.
    return "gallery" if parts[0] == "variants" and parts[-1] in shipped() else parts[0]


def imported_units(path: Path) -> set[str]:
    units = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rdbench":
            parts = node.module.split(".")
            units |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            units |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rdbench.")}
    return {name for name in units if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()}


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if unit(path) != "__init__"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path):
    ours = unit(path)
    assert ours in LEVEL, f"give {ours} its place in LAYERS"
    above = {name for name in imported_units(path) - {ours} if LEVEL[name] >= LEVEL[ours]}
    assert not above, f"{ours} imports {above}, which stand beside or above it"


def test_the_package_names_every_module_in_its_docstring():
    words = set(re.findall(r"\w+", rdbench.__doc__.replace("*", "")))
    units = {unit(path) for path in FILES} - {"__main__", "gallery"}
    families = ("cli_", "spec_")  # named together
    assert {name for name in units if not name.startswith(families)} - words == set()


def test_no_module_is_longer_than_400_lines():
    assert [str(path) for path in FILES if len(path.read_text().splitlines()) > 400] == []


def imported_packages(path: Path) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        packages |= {name.split(".")[0] for name in names}
    return packages


def test_only_tune_imports_ray():
    assert {unit(path) for path in FILES if "ray" in imported_packages(path)} == {"tune"}


@pytest.mark.parametrize(
    "module",
    [
        *(
            "cli",
            "starting_points",
            "spec",
            "plan",
            "store",
            "sweep",
            "estimate",
            "datasets",
            "variants",
            "report",
            "likelihood",
            "theory",
        ),
        "calibration",
        *("metrics", "metrics.iwae", "metrics.latents", "metrics.reconstruction", "features"),
    ],
)
def test_it_starts_without_torch_or_ray(module):
    computes = module in ("theory", "calibration")
    heavy = "('torch', 'ray')" if computes else "('torch', 'ray', 'pandas', 'pyarrow', 'scipy')"
    code = f"import sys, rdbench.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_process_that_drives_ray_starts_without_torch():
    """Each sweep starts one before anything is trained, and torch alone would double what it takes."""
    code = "import sys, rdbench.tune.driver; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
