"""What the machine has: cores, memory, GPUs, limits; and what of it this process may use."""

import math
import os
import resource
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdbench.commands.doctor.finding import Finding, gigabytes
from rdbench.machine import cpu_quota, limits, usable_cores

WORKER_BYTES = 2**30  # of one trial on a CPU: Python with torch, and a small network
SHARED_BYTES = 128 * 2**20  # of Ray's object store, through which only settings pass
GOOD_SHARED_BYTES = 2 * SHARED_BYTES
OPEN_FILES, GOOD_OPEN_FILES = 1024, 4096


def processor() -> Iterator[Finding]:
    """Yield the processor, and the cores that a container or scheduler leaves of it."""
    import torch

    from rdbench.machine import device_name

    quota = cpu_quota()
    limit = f", as a container's limit leaves the time of {quota:g}" if quota is not None else ""
    cores = f"{usable_cores()} of {os.cpu_count() or 1} cores may be used{limit}"
    yield Finding("processor", f"{device_name(torch.device('cpu'))}; {cores}")


def gpus() -> Iterator[Finding]:
    """Yield each GPU that torch can use, having computed on it; or why it can use none that is there."""
    import torch

    driver = _nvidia_smi()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch warns of a driver that is too old, and sees no GPU
        available, count = torch.cuda.is_available(), torch.cuda.device_count()
    if not available or not count:
        yield _no_gpu(torch.version.cuda, driver, [str(warning.message) for warning in caught])
        return
    versions = f"CUDA {torch.version.cuda}, driver {driver[0][0] if driver else 'version not known'}"
    for index in range(count):
        yield _gpu(torch, index, versions, driver)


def _no_gpu(cuda: str | None, driver: list[list[str]], warned: list[str]) -> Finding:
    if not driver:
        return Finding("GPU", "none; trials train on the CPU")
    names = ", ".join(row[1] for row in driver if len(row) > 1)
    if cuda is None:
        fix = "install a CUDA build of torch and torchvision; until then trials train on the CPU"
        return Finding("GPU", f"{names}, but this torch is built for the CPU", "problem", fix)
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        hidden = f"{names}, hidden by CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r}"
        return Finding("GPU", hidden, "note", "unset it to train on the GPU")
    why = warned[0] if warned else f"torch (CUDA {cuda}) cannot use it"
    fix = f"install a driver for CUDA {cuda}, or a torch built for the CUDA that driver {driver[0][0]} has"
    return Finding("GPU", f"{names}: {why}", "problem", fix)


def _gpu(torch: Any, index: int, versions: str, driver: list[list[str]]) -> Finding:
    what = f"GPU {index}"
    about = torch.cuda.get_device_properties(index)
    try:
        ones = torch.ones(64, 64, device=f"cuda:{index}")
        works = float((ones @ ones).sum()) == 64.0**3
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:  # such as "no kernel image is available for execution on the device"
        fix = "wait until it is free, install a torch built for it, or hide it by CUDA_VISIBLE_DEVICES"
        return Finding(what, f"{about.name}: {str(error).splitlines()[0]}", "problem", fix)
    mig = "MIG" in about.name or any(len(row) > 2 and row[2] == "Enabled" for row in driver)
    found = (
        f"{about.name}, {gigabytes(free)} of {gigabytes(total)} free,"
        f" compute capability {about.major}.{about.minor}, {versions},"
        f" bf16 and tf32: {'yes' if about.major >= 8 else 'no'}{', MIG: a part of a GPU' if mig else ''}"
    )
    if not works:
        return Finding(what, f"{found}; a sum of ones comes out wrong", "problem", "do not use this GPU")
    fix = "another process holds most of its memory: see nvidia-smi"
    return Finding(what, found).graded(free, (total / 2, "note", fix))


def _nvidia_smi() -> list[list[str]]:
    """Return driver, name and MIG mode of each GPU from NVIDIA's tool, [] without it."""
    command = ["nvidia-smi", "--query-gpu=driver_version,name,mig.mode.current", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]


def memory() -> Iterator[Finding]:
    """Yield the free memory: the machine's, or what a container's limit leaves."""
    import psutil

    host = psutil.virtual_memory()
    free, found = host.available, f"{gigabytes(host.available)} of {gigabytes(host.total)} free"
    limit = memory_limit()
    if limit is not None and limit < host.total:
        free = min(free, max(0, limit - psutil.Process().memory_info().rss))
        found += f", a container's limit is {gigabytes(limit)}"
    cores, fit = usable_cores(), int(free // WORKER_BYTES)
    yield Finding("memory", found).graded(
        free,
        (WORKER_BYTES, "problem", f"free some: a trial takes up to {gigabytes(WORKER_BYTES)}"),
        (cores * WORKER_BYTES, "note", f"{cores} trials at a time may not fit: use --concurrency {fit}"),
    )


def memory_limit() -> int | None:
    """Return the bytes that cgroups allow; None where they set no limit."""
    words = [words[0] for words in limits("memory", "memory.max", "memory.limit_in_bytes") if words]
    sizes = [int(word) for word in words if word.isdecimal()]  # else "max"
    return min((size for size in sizes if size < 2**60), default=None)  # version 1 says nearly 2^63


def shared_memory() -> Iterator[Finding]:
    """Yield the size of /dev/shm, where Ray keeps its objects."""
    place = Path("/dev/shm")
    if not place.is_dir():
        return
    size = shutil.disk_usage(place)
    found = f"{gigabytes(size.free)} of {gigabytes(size.total)} free in {place}"
    fix = "in a container, give it more: docker run --shm-size=2g"
    yield Finding("shared memory", found).graded(
        size.free,
        (SHARED_BYTES, "problem", f"Ray keeps its objects there; {fix}"),
        (GOOD_SHARED_BYTES, "note", f"Ray may use a slower folder instead; {fix}"),
    )


def open_files() -> Iterator[Finding]:
    """Yield how many files a process may open; Ray raises its own limit as far as it may."""
    soft, hard = (
        math.inf if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    found = f"{soft:,} at a time, may be raised to {hard:,}".replace("inf", "any number")
    yield Finding("open files", found).graded(
        hard,
        (OPEN_FILES, "problem", "Ray runs out of them: ulimit -n 65536, or ask for it"),
        (GOOD_OPEN_FILES, "note", "few for many workers: ulimit -n 65536, or ask for it"),
    )
