"""Checkpoints of trainings under way, so that a fault costs at most the epochs since the last one.

    results/<sweep>/resume/<pack>-<number>-<digest>.safetensors     two are kept while a pack trains
    results/<sweep>/resume/<pack>.json                              the trials of a pack of several

A checkpoint is one safetensors file: the tensors, and in its header all else as JSON. Its name carries a
SHA-256 of its bytes, so a damaged one is never used. Nothing is pickled.
"""

import contextlib
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, nn, optim

from rdbench import machine
from rdbench.errors import StorageError
from rdbench.spec.plan import Trial
from rdbench.storage import places
from rdbench.storage.places import Place
from rdbench.vae import tensor_file

FORMAT = 1
PACK = "a network a member"  # how the state of several trials is laid out
# The second is of a metric under way (:mod:`rdbench.vae.metric_states`).
_NAME = re.compile(r"([0-9a-f]{16}|[0-9a-f]{16}-[A-Za-z0-9_]+)-([0-9]{6,})-[0-9a-f]{16}\.safetensors")
KEPT = 2
SHARE_OF_TIME = 0.01  # that writing checkpoints may cost
SELDOM = 600.0  # seconds between two checkpoints at most, whatever writing them costs
FIRST_COST = 0.05  # assumed cost of the first, in seconds: trials of a few seconds never write any

HOST = torch.device("cpu")

log = logging.getLogger("rdbench.vae.checkpoints")

Rows = list[dict[str, Any]]


class Stopped(BaseException):
    """The user asked to stop, and the state is kept. Not an Exception, which a variant's code may catch."""


Kept = nn.Module | optim.Optimizer | optim.lr_scheduler.LRScheduler | Generator


def folder(root: Place) -> Place:
    """Return where the checkpoints of a results folder lie."""
    return root / "resume"


def keys(names: Iterable[str]) -> set[str]:
    """Return what the checkpoints are of that files are, by their names."""
    return {match[1] for name in names if (match := _NAME.fullmatch(name))}


def _key(ids: Sequence[str]) -> str:
    """Return the name of a pack: the id of a single trial, else a hash of all."""
    return ids[0] if len(ids) == 1 else hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


def interrupted(root: Place) -> list[tuple[str, ...]]:
    """Return the ids of the trials of each pack that has a checkpoint in a results folder."""
    files = places.entries(folder(root))
    packs = []
    for key in sorted(key for key in keys(files) if "-" not in key):
        ids: Any = [key]
        if f"{key}.json" in files:
            with contextlib.suppress(StorageError, OSError, ValueError):
                ids = json.loads((folder(root) / f"{key}.json").read_text())
        if isinstance(ids, list) and ids and all(isinstance(name, str) for name in ids) and _key(ids) == key:
            packs.append(tuple(ids))
    return packs


def tidy(root: Place, done: Collection[str]) -> None:
    """Remove the checkpoints of packs whose trials are all done."""
    for ids in interrupted(root):
        if set(ids) <= set(done):
            discard(root, ids)


def discard(root: Place, trials: Sequence[str]) -> bool:
    """Remove the checkpoints of a pack, by its trials' ids; tell whether there were any."""
    return remove(root, _key(trials))


def _numbers(root: Place, key: str) -> dict[str, int]:
    """Return the number of each checkpoint of a pack, by its name."""
    matches = map(_NAME.fullmatch, places.entries(folder(root)))
    return {match[0]: int(match[2]) for match in matches if match and match[1] == key}


def remove(root: Place, key: str, below: float = math.inf) -> bool:
    """Remove the checkpoints of a pack or metric that are numbered lower; tell whether there were any."""
    old = [name for name, number in _numbers(root, key).items() if number < below]
    for name in [*old, *([f"{key}.json"] if below == math.inf else [])]:
        (folder(root) / name).unlink(missing_ok=True)
    return bool(old)


@dataclass(frozen=True)
class Keeping:
    """Where states are kept, of which data, and how often.

    Attributes:
        root: the results folder.
        data_checksum: of the data; a state of other data is not used.
        minutes: least time between two. None: as often as costs under a hundredth of the time, and every
            :data:`SELDOM` seconds whatever it costs.
        stop: tells whether the user asked to stop.
    """

    root: Place
    data_checksum: str = ""
    minutes: float | None = None
    stop: Callable[[], bool] = lambda: False


class Checkpointer:
    """Keeps the state of a pack's training, gives back what an earlier attempt left; by default nothing."""

    def __init__(
        self,
        keeping: Keeping | None = None,
        pack: Sequence[Trial] = (),
        device: torch.device = HOST,
        key: str = "",
        **of: Any,
    ) -> None:
        """Look for a checkpoint of trials, in order, and use the newest intact one.

        ``key`` names, and ``of`` describes, what it is of where that is not their training.
        """
        self.keeping, self.device = keeping, device
        self._ids = [trial.id for trial in pack]
        self._key = key or _key(self._ids)
        versions = machine.versions()
        self._of = of | {
            "format": FORMAT,
            "trials": self._ids,
            "data": keeping.data_checksum if keeping else "",
            "device": device.type,
            "versions": {name: versions.get(name) for name in ("rdbench", "torch")},
        }
        if len(pack) > 1:  # the members of older packs were one network
            self._of["pack"] = PACK
        self._stages: list[Any] = []
        self._begun = self.number = 0  # of the newest there is; 0 for none
        self.several = False  # stages: what follows the last state of one is kept together with it
        self.keep_last = False  # write the last state of a training too, as what follows it may take hours
        self._storable = True  # what there is to keep is numbers, text and tensors
        self._cost = FIRST_COST
        self.history: list[Rows] = [[] for _ in pack]  # by member, of the epochs trained in earlier attempts
        self.seconds = 0.0  # that these took
        if keeping:
            self._load(keeping.root)
        self._restored = len(self._stages)
        self._start = self._last = time.monotonic()

    def _load(self, root: Place) -> None:
        numbers = _numbers(root, self._key)
        self.number = max(numbers.values(), default=0)
        for name in sorted(numbers, reverse=True):
            try:
                content = (folder(root) / name).read_bytes()
                if name != _name(self._key, numbers[name], content):
                    raise ValueError("its digest differs")
                of, state = tensor_file.decode(content, HOST)  # to be copied where it belongs
                if of.get("trials") == self._ids and of.get("pack") != self._of.get("pack"):
                    raise ValueError("it is of an earlier rdbench's packs, so these trials begin again")
                if of == self._of:
                    kept = (state[name] for name in ("stages", "history", "seconds"))
                    self._stages, self.history, self.seconds = kept
                    return
            except Exception as error:  # a damaged file may raise anything: try the one before it
                log.warning("checkpoint %s cannot be used: %s", folder(root) / name, error)

    def stage(self) -> "Stage":
        """Begin the next training of these trials; a trial function, or a metric, may have several."""
        self._begun += 1
        return Stage(self, self._begun - 1)

    def save(self, number: int, state: Callable[[], Any], *, last: bool) -> None:
        """Keep a stage's state if it is time to, and raise as :meth:`Stage.ended` does."""
        if self.keeping is None:
            return
        stopping, start = self.keeping.stop(), time.monotonic()
        del self._stages[number:]
        # A stage that its author broke off has no last state, so nothing after it can be resumed.
        complete = len(self._stages) == number and all(stage["last"] for stage in self._stages)
        if not (complete and self._storable):
            return
        write = stopping or self._due(self.keeping) or (last and self.keep_last)
        try:
            if write or (last and self.several):
                self._stages.append(state())
            if write:
                self._write(self.keeping.root, start - self._start)
                self._last = time.monotonic()
                self._cost = self._last - start
        except StorageError as error:
            if stopping:
                raise
            self._last = time.monotonic()  # tried again later; if it lasts, the commit fails and says so
            log.warning("no checkpoint: %s", error)
        except (TypeError, ValueError) as error:
            log.warning("no checkpoints of %s: %s", self._ids, error)
            self._storable = False  # so the trial runs to its end, also where the user asked to stop
        if stopping and self._storable:
            raise Stopped

    def _due(self, keeping: Keeping) -> bool:
        often = min(self._cost / SHARE_OF_TIME, SELDOM)
        least = often if keeping.minutes is None else 60 * keeping.minutes
        return time.monotonic() - self._last >= least

    def _write(self, root: Place, seconds: float) -> None:
        state = {"stages": self._stages, "history": self.history, "seconds": self.seconds + seconds}
        content = tensor_file.encode(self._of, state)
        if len(self._ids) > 1 and not self.number:
            places.write_atomically(folder(root) / f"{self._key}.json", json.dumps(self._ids).encode())
        self.number += 1
        places.write_atomically(folder(root) / _name(self._key, self.number, content), content)
        remove(root, self._key, below=self.number - KEPT + 1)


class Stage:
    """One training of a trial: where it goes on, and what is kept as its epochs end."""

    def __init__(self, checkpointer: Checkpointer, number: int) -> None:
        self._keeper, self._number = checkpointer, number

    def begin(self, parts: dict[str, Kept]) -> tuple[int, Any]:
        """Give modules, optimizers and generators, by name, the state they had at the checkpoint.

        Returns the epochs that are done, and what else was kept: 0 and None where nothing was.
        """
        self._parts, stages = parts, self._keeper._stages
        if self._number >= self._keeper._restored:
            return 0, None
        before = stages[self._number]
        if not before["last"]:  # else its tensors, once they are copied, are held as long as it trains
            del stages[self._number :]
        for name, part in parts.items():
            state = before["parts"][name]
            if isinstance(part, Generator):
                part.set_state(state.cpu())
            else:
                part.load_state_dict(state)
        if before["random"] is not None:  # by an earlier rdbench where nothing drew from them
            on_host, on_gpu = before["random"]
            torch.set_rng_state(on_host.cpu())
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu.cpu(), self._keeper.device)
        return before["epochs"], before["more"]

    def ended(self, epochs: int, more: Any = None, *, last: bool = False) -> None:
        """Keep the state as an epoch ends, if it is time to, with that of torch's global generators.

        ``epochs`` are done; ``last``: no epoch follows. ``more`` is what else to keep: numbers, text and
        tensors, in lists and dictionaries. Where the user asked to stop it raises Stopped: the state is kept;
        or StorageError: it cannot be.
        """

        def state() -> Any:
            device = self._keeper.device
            on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
            now = {
                "parts": {
                    name: part.get_state() if isinstance(part, Generator) else part.state_dict()
                    for name, part in self._parts.items()
                },
                "random": [torch.get_rng_state(), on_gpu],
                "epochs": epochs,
                "last": last,
                "more": more,
            }
            return tensor_file.copied(now)

        self._keeper.save(self._number, state, last=last)


def _name(key: str, number: int, content: bytes) -> str:
    return f"{key}-{number:06d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
