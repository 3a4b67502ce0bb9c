"""User-facing errors: one line that says what is wrong, where, and how to fix it; faults of the machine."""

import errno
import importlib.util


class UserError(Exception):
    """A request that cannot be served as asked. The command line prints it without a traceback.

    Attributes:
        exit_code: 2: the request has to change; 5: the same request may succeed later.
    """

    exit_code = 2


class SpecError(UserError):
    """An invalid sweep file or ``--set`` override."""


class MissingPackageError(SpecError):
    """A package that is not installed, as the extra it belongs to was not asked for."""


class DatasetError(UserError):
    """Data that is missing, not what it should be, or cannot be prepared."""


class ResultsError(UserError):
    """A results folder that cannot be read, or that holds another sweep's trials."""


class StorageError(ResultsError):
    """Results that cannot be read or written now: disk full, no permission, folder or network gone."""

    exit_code = 5


class ClusterError(UserError):
    """A Ray cluster that cannot be joined, is unfit for the sweep, or keeps dying."""


class RayDiedError(ClusterError):
    """Ray keeps dying, or does not start."""

    exit_code = 5


class GpuLostError(UserError):
    """A GPU that this process can use no longer; another process may."""

    exit_code = 5


class NotCapturable(RuntimeError):  # noqa: N818
    """A training step, or that of a pack, that is not recorded as a CUDA graph; it says why."""


class CaptureFailed(NotCapturable):
    """The recording broke off, and the process may have lost its GPU by it; another one will not try."""


EXTRAS = {
    "report": ("altair", "jinja2", "markupsafe", "pylatexenc", "vl_convert"),
    "metrics": ("cleanfid", "constriction", "torchmetrics"),
    "search": ("optuna",),
    "tensorboard": ("tensorboardX",),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""The extras of the package, ``pip install 'rdbench[report]'``, and the modules of each."""


def lacking(extra: str, *modules: str) -> str:
    """Return what is not installed of an extra, or of some modules of it, with the fix; "" for nothing."""
    absent = [name for name in modules or EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"not installed here: {', '.join(absent)}; pip install 'rdbench[{extra}]'"


def need(extra: str, *modules: str) -> None:
    """Raise MissingPackageError where an extra, or some modules of it, is not installed."""
    if line := lacking(extra, *modules):
        raise MissingPackageError(line)


_OF_THE_MACHINE = {
    errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT,
}  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the host ran out of memory."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch's allocator for host memory raises a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def of_the_machine(error: BaseException) -> bool:
    """Return whether the machine is at fault rather than the trial: memory, disk, network or device."""
    import torch

    accelerator = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
    if out_of_memory(error) or isinstance(
        error, ConnectionError | TimeoutError | CaptureFailed | accelerator
    ):
        return True
    if isinstance(error, OSError):
        return error.errno in _OF_THE_MACHINE
    names = ("CUDA error", "cuDNN error", "NCCL error")
    return isinstance(error, RuntimeError) and str(error).startswith(names)
