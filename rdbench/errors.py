"""User-facing errors, each one line that says what, where, and the fix; and whose fault an exception is."""

import errno


class UserError(Exception):
    """A request that cannot be served as asked. The command line prints it without a traceback.

    Attributes:
        exit_code: 2 where the request has to change; 5 where the same request may do another time.
    """

    exit_code = 2


class SpecError(UserError):
    """A sweep file, or a ``--set`` override, that does not say a valid sweep."""


class DatasetError(UserError):
    """Data that is not there, is not what it should be, or cannot be prepared."""


class ResultsError(UserError):
    """A results folder that cannot be read, or that holds another sweep's trials."""


class StorageError(ResultsError):
    """Results that cannot be read or written just now: disk full, no permission, folder or network gone."""

    exit_code = 5


class ClusterError(UserError):
    """A Ray cluster that cannot be joined, is not fit for the sweep, or keeps dying."""


class RayDiedError(ClusterError):
    """Ray died again and again, or does not start."""

    exit_code = 5


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


def out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, of the device or of the host."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch's allocator of the host's memory has no exception of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def of_the_machine(error: BaseException) -> bool:
    """Tell whether an exception says nothing against the trial: memory, disk, network or device."""
    import torch

    accelerator = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
    if out_of_memory(error) or isinstance(error, ConnectionError | TimeoutError | accelerator):
        return True
    if isinstance(error, OSError):
        return error.errno in _OF_THE_MACHINE
    return isinstance(error, RuntimeError) and str(error).startswith(
        ("CUDA error", "cuDNN error", "NCCL error")
    )
