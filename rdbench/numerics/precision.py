"""The arithmetic of a trial: float32 that is float32, in the same order every time, unless it asks for less.

Evaluation is always exact float32. Training may be told to use TF32 or bf16, which a GPU's matrix units
are several times faster at; that changes numbers, so it is one of a trial's settings.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import backends
from torch.utils import deterministic

from rdbench.errors import SpecError

# Without it cuBLAS may share out its workspace, and with it the order of sums, by what runs at the time.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep TF32, autotuned kernels and those without a fixed order of sums out of what is computed within.

    By default a GPU rounds the inputs of float32 convolutions to TF32's 10 bits, and may choose another
    kernel each run: a rate would change in its fourth digit, and a trial would not repeat. An operation that
    has no deterministic kernel, which only an author's code can ask for, runs and torch warns of it.
    """
    with _float32_as("ieee"), _deterministic():
        yield


@contextmanager
def _deterministic() -> Iterator[None]:
    """Have a GPU sum in one order; a CPU does so anyway, and its kernels stay as they are."""
    if not torch.cuda.is_available():
        yield
        return
    os.environ.setdefault(*CUBLAS_WORKSPACE)  # read when a process first multiplies matrices
    options: Any = deterministic
    before = torch.get_deterministic_debug_mode(), options.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("warn")
    options.fill_uninitialized_memory = False  # a pass over memory for each tensor, of no use here
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        options.fill_uninitialized_memory = before[1]


@contextmanager
def _float32_as(precision: str) -> Iterator[None]:
    wanted: list[tuple[Any, str, Any]] = [
        (backends.cudnn.conv, "fp32_precision", precision),  # type: ignore[attr-defined]  # set up on import
        (backends.cuda.matmul, "fp32_precision", precision),
        (backends.cudnn, "deterministic", True),
        (backends.cudnn, "benchmark", False),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in wanted]
    try:
        for setting in wanted:
            setattr(*setting)
        yield
    finally:
        for setting in before:
            setattr(*setting)


def training_arithmetic(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return a context to compute in as ``train.precision`` says, inside of :func:`exact_float32`.

    ``float32``; ``tf32``, which rounds the inputs of products to 10 bits; or ``bf16``, which keeps
    activations in 8 bits too (weights, statistics, losses and the optimizer stay float32). SpecError: the
    device lacks it.
    """
    check_precision(precision, device.type)
    if precision == "tf32":
        return _float32_as("tf32")
    if precision == "bf16":
        # Without the cache of cast weights: a captured graph would keep the casts of the first step.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
    return nullcontext()


def check_precision(precision: str, device_type: str) -> None:
    """Raise SpecError for an arithmetic that a device lacks: float32 must not be labelled otherwise."""
    if precision == "tf32" and device_type != "cuda":
        raise SpecError("train.precision tf32 needs an NVIDIA GPU, and there is none; use float32 or bf16")


def resolve_device(device: str) -> str:
    """Return "cpu" or "cuda" for --device (``auto``: the GPU, if any); SpecError: no such device here."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise SpecError(f"--device {device}: no such device; use cpu, cuda or auto")
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError("--device cuda: torch sees no GPU here; use cpu, or install a CUDA build of torch")
    return device
