"""The registry of VAE variants, and how one of your own joins it.

Three ways in, the simplest that fits::

    @rdbench.variant("my_objective", native="half", paper="...")
    def my_objective(sse, rate, beta, n, *, gamma: float = 1.0):
        '''sse + beta rate^gamma, of each image.'''
        return sse + beta * rate**gamma

1. an *objective*, as above: the per-image loss that training minimises, as a function of what every
   Gaussian VAE measures. ``sse`` (squared error summed over an image's ``n`` values), ``rate`` (KL
   divergence, nats) and the loss have shape (batch,); ``beta`` is a tensor of one number.
2. a *model*: a subclass of :class:`rdbench.Model`, for a prior, posterior, likelihood or loss of its own.
3. a *trial function* ``(trial, data) -> rdbench.TrialResult``, for any training loop at all; see
   :class:`rdbench.Run`.

Keyword-only parameters with a type and a default are its options, which a sweep sets:
``variants: [bs_vae, {name: my_objective, gamma: 2}, ./my_vae.py:my_vae, my_package.vaes:my_vae]``. A value
out of the range that a type such as ``Annotated[float, Field(gt=0)]`` gives is refused as the sweep is read.

Those that ship are one file each in ``rdbench/variants/``, named after the variant. A source is read before
it is run, so listing variants and checking a sweep file import no torch. What your own variant imports of
your files counts as it does: see :mod:`rdbench.registry.imports`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rdbench.errors import SpecError
from rdbench.registry import running, source
from rdbench.registry.declaration import Declaration, declarations
from rdbench.registry.imports import Files
from rdbench.text import choose

if TYPE_CHECKING:
    from torch import Tensor

    Objective = Callable[..., Tensor]

Target = TypeVar("Target", bound=Callable[..., Any])


class Named(Protocol):
    """What names a variant: of a sweep file, once it is settled.

    ``source``, "package.module:symbol" or "file:symbol", and ``code``, the hash of the files it runs from,
    are "" for one that ships with rdbench.
    """

    name: str
    source: str
    code: str


@dataclass(frozen=True)
class Variant:
    """A variant, ready to be run: what its source declares, and the function or class itself."""

    declaration: Declaration
    target: "Callable[..., Any]"

    @property
    def objective(self) -> "Objective":
        """The per-image loss ``(sse, rate, beta, n, **options)``, of a variant that is an objective."""
        if self.declaration.kind != "objective":
            raise TypeError(f"variant {self.declaration.name} is a {self.declaration.kind}, not an objective")
        return self.target


def variant(
    name: str,
    *,
    native: str | None = None,
    paper: str = "",
    curve: bool = False,
    closed_form: bool = False,
    beta_rate: bool = False,
) -> Callable[[Target], Target]:
    """Declare a function or class as a variant; write the arguments as plain values, as they are also read.

    Args:
        name: what sweeps, tables and reports call it.
        native: the reading of sigma^2 whose distortion the loss minimises, up to constants (see
            :mod:`rdbench.numerics.likelihood`); "own" for a model with a likelihood of its own; None if there
            is none.
        paper: where it comes from.
        curve: of a trial function: one training gives a point at every beta of the sweep.
        closed_form: of a model: its method ``solve`` sets the weights from the training images, in place of
            training.
        beta_rate: the loss is the distortion of the native reading + beta rate, up to constants, and beta
            multiplies nothing but that rate. Then, and only then, the report gives its effective weight
            2 sigma^2 beta, and reads it at sigma^2 = beta/2 where its native reading is "half".
    """
    return lambda target: target


def names() -> list[str]:
    """Return the names a sweep file may use; SpecError: a package's variant has the name of one of ours."""
    ours, theirs = source.shipped(), source.plugged_in()
    if taken := sorted(ours.keys() & theirs.keys()):
        raise SpecError(
            f"the variant {taken[0]!r} of {theirs[taken[0]]} has the name of one of rdbench's own; rename its"
            f" entry point in the group {source.GROUP}"
        )
    return sorted([*ours, *theirs])


def declared(name: str) -> Declaration:
    """Return what a registered variant declares, without importing it; SpecError where there is none."""
    return _registered(name).declaration


def _registered(name: str) -> source.Source:
    if name not in names():
        raise SpecError(f"unknown variant {name!r}; {choose(name, names())}")
    return source.find(name)


def get(which: "str | Named") -> Variant:
    """Return a variant, imported, by its registered name or as a sweep has it.

    SpecError: there is none, or its source is not what it was when the sweep was planned.
    """
    if isinstance(which, str):
        origin = _registered(which)
    elif not which.source:
        origin = _registered(which.name)
    elif files := running.shipped(which.code):
        return _run(files, which.source.rpartition(":")[2])
    else:
        origin = source.find(which.source)
        if origin.code != which.code:
            edited = f"{origin.path}{' or a file it imports' if len(origin.files) > 1 else ''} was edited"
            raise SpecError(
                f"{edited}: trials of variant {which.name} were trained with another version"
                f" (hash {which.code}, now {origin.code})"
            )
    symbol = origin.declaration.symbol
    if origin.files:
        return _run(origin.files, symbol)
    target = running.run_module(origin.module, symbol, origin.path, origin.text, origin.code)
    return Variant(origin.declaration, target)


def _run(files: Files, symbol: str) -> Variant:
    declared = declarations(files[0].text, files[0].path)
    (declaration,) = (variant for variant in declared if symbol in (variant.symbol, variant.name))
    return Variant(declaration, running.run_files(files, declaration.symbol))
