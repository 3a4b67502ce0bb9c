"""This machine, and what runs on it: cores, the limits of control groups, devices, versions, commit."""

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rdbench

if TYPE_CHECKING:
    import torch

PROCESS = Path("/proc/self")


def limits(controller: str, new: str, *old: str) -> list[list[str]]:
    """Return the words of a limit of control groups, of this process's group and of each group above it.

    The file ``new`` holds it in version 2, the files ``old`` of a ``controller`` such as "cpu" in version 1,
    a word each; one machine may have both.
    """
    words = []
    for version, folder in _groups(controller):
        with contextlib.suppress(OSError):  # a group at the top has no limits
            texts = [(folder / name).read_text() for name in ((new,) if version == 2 else old)]
            words.append(" ".join(texts).split())
    return words


def _groups(controller: str) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of each group, those of this process before those above them."""
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
        mounts = (PROCESS / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, names, path = line.split(":", 2)  # version 2 names no controllers
        if names and controller not in names.split(","):
            continue
        for mount in mounts:
            where, _, system = mount.partition(" - ")
            root, point = where.split()[3:5]
            kind, options = system.split()[0], system.split()[-1].split(",")
            if kind == "cgroup" and controller in options if names else kind == "cgroup2":
                # A container may see its own group at the top, but the path that it has on the host.
                below = Path(path).relative_to(root) if Path(path).is_relative_to(root) else Path()
                for up in (below, *below.parents):
                    yield 1 if names else 2, Path(point) / up


def usable_cores() -> int:
    """Return the number of cores this process may use, at least 1, by affinity and by quota.

    The quota is rounded to a whole number, a half downwards.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else min(cores, max(1, math.ceil(quota - 0.5)))


def cpu_quota() -> float | None:
    """Return how many cores' worth of time control groups allow; None without a limit."""
    shares = map(_share, limits("cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return min(filter(None, shares), default=None)


def _share(words: list[str]) -> float | None:
    try:
        quota, period = map(float, words)
    except ValueError:  # "max 100000"
        return None
    return quota / period if quota > 0 and period > 0 else None  # version 1 says -1 for no limit


def limit_threads() -> None:
    """Limit torch to as many threads as there are usable cores: torch ignores quotas."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pyarrow", "ray", "pillow")
CODECS = {"libjpeg": "jpg", "libwebp": "webp", "libavif": "avif", "openjpeg": "jpg_2000"}
"""Libraries that Pillow codes images with -> their names there; a wheel of Pillow has its own."""


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that can change a result; a package that is not installed is left out."""
    known = {"rdbench": rdbench.__version__, "python": platform.python_version(), "platform": sys.platform}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            known[package] = importlib.metadata.version(package)
    from PIL import features

    codecs = {library: features.version(name) for library, name in CODECS.items() if features.check(name)}
    return known | {library: version for library, version in codecs.items() if version}


@functools.cache
def commit() -> str | None:
    """Return the git commit rdbench runs from, with ``-dirty`` if files differ; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # Not that of a checkout which only contains the virtual environment.
        if git("ls-files", "--error-unmatch", Path(__file__).name) == "":
            return None
        revision = git("rev-parse", "HEAD")
        return f"{revision}-dirty" if git("status", "--porcelain", "--", str(here)) else revision
    except (OSError, subprocess.SubprocessError):
        return None


@functools.cache
def _processor() -> str:
    """Return the processor's model name, on Linux from a file that ``platform`` does not read."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: "torch.device") -> str:
    """Return a device's model name, for a CPU with torch's number of threads."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"
