"""Whose fault an exception is: the trial's own, or the machine's, where another may do better."""

import errno

import torch

_OF_THE_MACHINE = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.ESTALE,
    errno.ENODEV,
    errno.ENXIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ETIMEDOUT,
}
_ACCELERATOR = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of the device or of the host."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch's allocator of the host's memory has no exception of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def of_the_machine(error: BaseException) -> bool:
    """Tell whether an exception says nothing against the trial: memory, disk, network or device."""
    if out_of_memory(error) or isinstance(error, ConnectionError | TimeoutError | _ACCELERATOR):
        return True
    if isinstance(error, OSError):
        return error.errno in _OF_THE_MACHINE
    return isinstance(error, RuntimeError) and str(error).startswith(
        ("CUDA error", "cuDNN error", "NCCL error")
    )
