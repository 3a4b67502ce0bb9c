"""Training steps that could not be recorded as CUDA graphs on this machine: they train without from then on.

A recording that breaks off may leave its process without a GPU, so the trials go on in another one, which has
to know. It goes by the network and the variant, whose code is most often at fault; what fails in a pack is
then tried alone.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from rdbench import machine
from rdbench.errors import CaptureFailed, NotCapturable
from rdbench.spec.plan import Trial, canonical_json, speed_key
from rdbench.storage import paths
from rdbench.storage.cache import remembered


def _file() -> Path:
    return paths.cache_root() / "failed_captures.json"


_of_this_process: dict[str, str] = {}


def _keys(pack: Sequence[Trial], device: torch.device) -> list[str]:
    """Return a key for each variant: of its training beside others, or alone."""
    where: dict[str, Any] = {"device": machine.device_name(device), "torch": torch.__version__}
    where |= {"together": True} if len(pack) > 1 else {}
    variants = {canonical_json(trial.variant.model_dump(mode="json", exclude={"source"})) for trial in pack}
    return [speed_key(pack[0], variant=variant, **where) for variant in sorted(variants)]


def why_failed(pack: Sequence[Trial], device: torch.device) -> str | None:
    """Return why the step of one of these trials could not be recorded here; None where none is known.

    What failed in a pack may be recorded alone: that verdict is of packs, of one trial's step of both.
    """
    keys = [key for part in (pack, *([trial] for trial in pack)) for key in _keys(part, device)]
    with remembered(_file()) as known:
        verdicts = _of_this_process | known
    return next((str(verdicts[key]) for key in keys if key in verdicts), None)


@contextlib.contextmanager
def noted(pack: Sequence[Trial], device: torch.device) -> Iterator[None]:
    """Remember a recording of these trials that fails within, and raise CaptureFailed with what follows.

    Where that cannot be written another process would not know, so NotCapturable: this one is to go on.
    """
    try:
        yield
    except CaptureFailed as error:
        verdicts = dict.fromkeys(_keys(pack, device), str(error))
        with remembered(_file()) as known:
            known |= verdicts
        with remembered(_file()) as known:
            written = verdicts.keys() <= known.keys()
        what = f"its step could not be recorded as a CUDA graph ({error}), and trains without one"
        if written:
            raise CaptureFailed(f"{what} here from now on; to try again delete {_file()}") from error
        _of_this_process.update(verdicts)
        raise NotCapturable(f"{what} in this process from now on: {_file()} cannot be written") from error
