"""Versions, and whether they fit together."""

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from rdbench.commands.doctor.finding import Finding

PACKAGES = ("torch", "torchvision", "ray", "pyarrow", "numpy", "pandas")


def python() -> Iterator[Finding]:
    """Yield the versions of Python and of rdbench."""
    import rdbench

    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("rdbench", f"{rdbench.__version__}, {Path(rdbench.__file__).parent}")


def packages() -> Iterator[Finding]:
    """Yield the version of each package that computes, and whether it can be imported."""
    wanted = _requirements("rdbench")
    for name in PACKAGES:
        found, fits = _installed(name, wanted.get(name, ""))
        fix = "" if fits else f"uv sync, or pip install '{name}{wanted.get(name, '')}'"
        yield Finding(name, found, "ok" if fits else "problem", fix)


def _installed(name: str, requirement: str) -> tuple[str, bool]:
    """Return the version of a package, or what is wrong with it, and whether it fits."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed", False
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a broken package may raise anything
        return f"{version}, but {type(error).__name__}: {error}", False
    if not _allows(requirement, version):
        return f"{version}, and rdbench needs {requirement}", False
    return version, True


def torch_and_torchvision() -> Iterator[Finding]:
    """Yield whether the two are of one release and one build, and torchvision has its operators."""
    import torch
    import torchvision

    what, version = "torch and torchvision", importlib.metadata.version("torch")
    needed = _requirements("torchvision").get("torch", "")
    if not _allows(needed, version):
        fix = "reinstall both together: uv sync --reinstall-package torchvision"
        yield Finding(what, f"torchvision is made for torch {needed}, not {version}", "problem", fix)
        return
    # torchvision compares the CUDA versions when it is imported, and without its operators this raises.
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    yield Finding(what, f"match, built for {f'CUDA {cuda}' if (cuda := torch.version.cuda) else 'the CPU'}")


def commit() -> Iterator[Finding]:
    """Yield the git commit that results will be marked with, "-dirty" where files differ from it."""
    from rdbench.machine import commit

    yield Finding("commit", commit() or "none: rdbench does not run from a git checkout")


def _requirements(package: str) -> dict[str, str]:
    """Return what a package needs, as {name: version specifier}; {} where that is not known."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:  # run from its folder, not installed
        return {}
    needs = map(Requirement, lines)
    return {need.name: str(need.specifier) for need in needs if not need.marker or need.marker.evaluate()}


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)
