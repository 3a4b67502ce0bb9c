"""Where a result comes from: versions, commit, machine."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import torch

import rdbench

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pyarrow", "ray")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that can matter to a number; a package that is not installed is left out."""
    found = {"rdbench": rdbench.__version__, "python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str | None:
    """Return the git commit rdbench runs from, with ``-dirty`` if files differ; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # A virtual environment inside somebody else's checkout is not our history.
        if git("ls-files", "--error-unmatch", Path(__file__).name) == "":
            return None
        revision = git("rev-parse", "HEAD")
        return f"{revision}-dirty" if git("status", "--porcelain", "--", str(here)) else revision
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def _processor() -> str:
    """Return the processor's model name; Linux keeps it where ``platform`` does not look."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """Return what a device is, in its maker's words, with the threads a CPU trial used."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"
