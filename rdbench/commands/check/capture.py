"""Whether a GPU can record a variant's training step and replay it: found out on any device."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from rdbench.vae.models import Model

_WAITS = {
    "_local_scalar_dense": "reads a number from the device (item, float, if)",
    "nonzero": "makes a tensor whose size depends on values",
    "masked_select": "makes a tensor whose size depends on values",
    "lift_fresh": "copies numbers to the device (torch.tensor)",
}


@dataclass(frozen=True)
class Reason:
    """Why a step cannot be recorded, and the line of the author's file that is at fault, if it is known."""

    text: str
    line: int | None = None


@dataclass
class _Operation:
    """What the device is asked to do: a kernel, the numbers it is given, and the shapes of its tensors."""

    name: str
    given: list[Any]
    line: int | None


@dataclass
class _Trace(TorchDispatchMode):
    """Notes every operation below it."""

    files: Collection[str]
    operations: list[_Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves, structure = tree_flatten((args, kwargs))
        given = [(tuple(one.shape), one.dtype) if isinstance(one, Tensor) else one for one in leaves]
        name = function.overloadpacket.__name__
        if name == "index" and any(one[1:] == (torch.bool,) for one in given if isinstance(one, tuple)):
            name = "nonzero"  # which torch calls for a mask
        self.operations.append(_Operation(name, [*given, str(structure)], self._line()))
        return function(*args, **(kwargs or {}))

    def _line(self) -> int | None:
        frame: Any = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename not in self.files:
            frame = frame.f_back
        return frame and int(frame.f_lineno)


def why_not(
    model: Model, batches: Sequence[tuple[Tensor, Tensor]], files: Collection[str] = ()
) -> Reason | None:
    """Return why training steps of a model on batches (images, noise) cannot be recorded; None if they can.

    ``files`` are the author's, whose lines are named. What a step does with numpy alone is not seen.
    """
    model.train()
    before: list[_Operation] = []
    for number, (images, noise) in enumerate(batches):
        model.before_step()
        random = torch.get_rng_state()
        with _Trace(files) as trace:
            loss = model.loss(images, model(images, noise), model.about.beta)
        loss.mean().backward()
        for operation in trace.operations:
            if operation.name in _WAITS:
                return Reason(f"its step {_WAITS[operation.name]}", operation.line)
        if not torch.equal(random, torch.get_rng_state()):
            return Reason("its step draws from torch's global generator")
        for one, other in zip_longest(before, trace.operations) if number > 1 else ():
            if one is None or other is None or (one.name, one.given) != (other.name, other.given):
                return Reason("its step does other work each time", (other or one).line)
        before = trace.operations
    return None
