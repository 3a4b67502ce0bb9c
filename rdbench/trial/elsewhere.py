"""Networks of this process that were trained elsewhere, for the variants that stand for them.

:func:`source` writes the file of such a variant, which is stored with the results like any other author's, so
that folder, report and comparison treat it as they treat every variant. Its network is only there while
``rdbench.evaluate`` runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rdbench.errors import SpecError
from rdbench.vae.models import Model

SYMBOL = "trained_elsewhere"
"""What the function of every such file is called."""

_FILE = '''"""{name}: a network that was trained elsewhere, and measured by rdbench.evaluate."""

from typing import Literal

import rdbench
from rdbench.trial.elsewhere import network


@rdbench.variant({declared})
def {symbol}(
    trial: rdbench.Run, data: rdbench.Dataset, *, trained: Literal["here", "elsewhere"] = "here"
) -> rdbench.TrialResult:
    """Trained elsewhere; its settings of training are not known."""
    return rdbench.TrialResult(network("{digest}", trial.beta, trial.seed))
'''

_networks: dict[str, Mapping[tuple[float, int], Model]] = {}


def source(name: str, digest: str, native: str | None, beta_rate: bool) -> str:
    """Return the text of the file that stands for networks of this name and digest."""
    declared = [f'"{name}"', 'paper="trained elsewhere"']
    declared += [f'native="{native}"'] if native else []
    declared += ["beta_rate=True"] if beta_rate else []
    return _FILE.format(name=name, symbol=SYMBOL, digest=digest, declared=", ".join(declared))


@contextmanager
def offered(digest: str, networks: Mapping[tuple[float, int], Model]) -> Iterator[None]:
    """Have networks, by beta and seed, found by the variant of this digest."""
    _networks[digest] = networks
    try:
        yield
    finally:
        del _networks[digest]


def network(digest: str, beta: float, seed: int) -> Model:
    """Return the network at a beta and seed. SpecError: it is not in this process."""
    try:
        return _networks[digest][beta, seed]
    except KeyError:
        raise SpecError(
            f"the network at beta {beta:g}, seed {seed} was trained elsewhere and is not in this process;"
            " call rdbench.evaluate with it again"
        ) from None
