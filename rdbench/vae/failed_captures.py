"""Training steps that could not be recorded as CUDA graphs on this machine: they train without from then on.

A recording that breaks off may leave its process without a GPU, so the trials go on in another one, which has
to know. It goes by the network and the variant, whose code is most often at fault.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from rdbench import machine
from rdbench.errors import CaptureFailed
from rdbench.spec.plan import Trial, canonical_json, speed_key
from rdbench.storage import paths
from rdbench.storage.cache import remembered


def _file() -> Path:
    return paths.cache_root() / "failed_captures.json"


def _keys(pack: Sequence[Trial], device: torch.device) -> list[str]:
    where = {"device": machine.device_name(device), "torch": torch.__version__}
    variants = {canonical_json(trial.variant.model_dump(mode="json", exclude={"source"})) for trial in pack}
    return [speed_key(pack[0], variant=variant, **where) for variant in sorted(variants)]


def why_failed(pack: Sequence[Trial], device: torch.device) -> str | None:
    """Return why the step of one of these trials could not be recorded here; None where none is known."""
    with remembered(_file()) as known:
        return next((str(known[key]) for key in _keys(pack, device) if key in known), None)


@contextlib.contextmanager
def noted(pack: Sequence[Trial], device: torch.device) -> Iterator[None]:
    """Remember a recording of these trials that fails within, and raise CaptureFailed with what follows."""
    try:
        yield
    except CaptureFailed as error:
        with remembered(_file()) as known:
            known |= dict.fromkeys(_keys(pack, device), str(error))
        raise CaptureFailed(
            f"its step could not be recorded as a CUDA graph ({error}), and trains without one here from now"
            f" on; to try again delete {_file()}"
        ) from error
