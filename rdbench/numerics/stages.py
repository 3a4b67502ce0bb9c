"""Where a long computation keeps its state, so that one that is killed goes on from there; imports no torch.

A stage is one loop of it. :class:`rdbench.vae.checkpoints.Stage` writes its state to a results folder.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Stage(Protocol):
    """Gives a loop the state an earlier attempt left, and is told the state as each step ends."""

    def begin(self, parts: dict[str, Any], /) -> tuple[int, Any]:
        """Give generators, by name, the state they had.

        Returns the steps that are done, and what else was kept, on the host: 0 and None where nothing was.
        """

    def ended(self, done: int, /, more: Any = None, *, last: bool = False) -> None:
        """Keep the state if it is time to.

        Args:
            done: steps that are done.
            more: what else to keep: numbers, text and tensors, in lists and dictionaries.
            last: no step follows.
        """


Stages = Callable[[], Stage]
"""Gives the stages of a computation, in their order, which is the same each time."""


class Unkept:
    """A stage of which nothing is kept."""

    def begin(self, parts: dict[str, Any], /) -> tuple[int, Any]:
        """Return that nothing is done."""
        return 0, None

    def ended(self, done: int, /, more: Any = None, *, last: bool = False) -> None:
        """Keep nothing."""


UNKEPT: Stage = Unkept()
