"""The registry of VAE variants: one file a variant in this folder, named after it.

A variant states only its difference from the others: an objective, the per-image loss that training
minimises, as a function of what every Gaussian VAE measures::

    @variant("beta_vae", native="half", paper="Higgins et al. 2017")
    def beta_vae(sse, rate, beta, n):
        return sse + beta * rate

The names are read from the folder, so listing them imports no torch; a variant's file is imported
when the variant is used.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rdbench.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    Objective = Callable[[Tensor, Tensor, Tensor | float, int], Tensor]


@dataclass(frozen=True)
class Variant:
    """A VAE variant.

    Attributes:
        name: what a sweep file calls it.
        objective: ``(sse, rate, beta, n) -> loss``; ``sse`` and ``rate`` have shape (batch, members) and
            hold one value an image and trial trained (squared error summed over the image's ``n`` values;
            KL divergence in nats), ``beta`` (members,) one a trial, and ``loss`` is shaped as ``sse``.
            It works element by element, so trials can train side by side. Training minimises its mean
            over images.
        native: the reading of sigma^2 its loss is a likelihood under (see :mod:`rdbench.likelihood`).
        paper: where it comes from.
        summary: its mathematics in one line.
    """

    name: str
    objective: "Objective"
    native: str
    paper: str
    summary: str


_registry: dict[str, Variant] = {}


def variant(name: str, *, native: str, paper: str) -> "Callable[[Objective], Objective]":
    """Register an objective as the variant ``name``; its docstring's first line becomes the summary.

    Raises:
        ValueError: the name is taken.
    """

    def register(objective: "Objective") -> "Objective":
        if name in _registry:
            raise ValueError(f"a variant named {name!r} is registered already; names must be unique")
        summary = (objective.__doc__ or "").strip().split("\n")[0]
        _registry[name] = Variant(name, objective, native, paper, summary)
        return objective

    return register


def names() -> list[str]:
    """Return the names a sweep file may use, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Variant:
    """Return the variant ``name``.

    Raises:
        SpecError: there is no such variant.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), 1)
        mend = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise SpecError(f"unknown variant {name!r}; {mend}")
    importlib.import_module(f"{__name__}.{name}")
    return _registry[name]
