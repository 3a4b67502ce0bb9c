"""rdbench: rate-distortion sweeps of variational autoencoders.

The house, a line a folder, in the order of the flow; each imports only from those below it::

    cli/         the verbs and their options      commands/  what the verbs do
    report/      tables -> one offline page, files, comparisons
    variants/    the gallery: one file a variant, written as a user's own is
    tune/        Ray Tune schedules packs of trials; the only importer of Ray
    trial/       a pack of trials, from settings to committed rows
    search/      chooses the next trials from those that ended
    vae/         networks, training, evaluation, checkpoints
    results/     the Parquet tables of a results folder
    spec/        sweep.yaml -> validated Sweep -> trials, known by their settings
    metrics/     one file a proxy metric          datasets/  prepared once, memory-mapped
    registry/    how a plugged-in variant is declared, found, hashed and imported
    numerics/    likelihood, theory, statistics of features, seeding, precision
    storage/     folders and buckets, the cache, scratch folders, outputs

Beside them ``errors`` (what is told in one line), ``text`` (shared wording), ``machine`` (cores, versions).

Public, for results: :func:`load_results`, :class:`Results`, :func:`load_sweep`, :class:`Sweep`. For a
variant of your own: :func:`variant`, :class:`Model`, :class:`About`, :class:`Terms`, :class:`Run`,
:class:`TrialResult`, :class:`Measurement`, :class:`Dataset`, :class:`Epoch`, :func:`learning_rate`; see
:mod:`rdbench.registry.variants`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdbench.datasets import Dataset
    from rdbench.registry.variants import variant
    from rdbench.results.load import Results, load_results
    from rdbench.spec.sweep import Sweep, load_sweep
    from rdbench.trial.api import Run, TrialResult
    from rdbench.vae.evaluation import Measurement
    from rdbench.vae.models import About, Model, Terms
    from rdbench.vae.training import Epoch, learning_rate

__version__ = "0.1.0"

_HOMES = {
    "load_results": "results.load",
    "Results": "results.load",
    "load_sweep": "spec.sweep",
    "Sweep": "spec.sweep",
    "variant": "registry.variants",
    "Model": "vae.models",
    "About": "vae.models",
    "Terms": "vae.models",
    "Run": "trial.api",
    "TrialResult": "trial.api",
    "Measurement": "vae.evaluation",
    "Dataset": "datasets",
    "Epoch": "vae.training",
    "learning_rate": "vae.training",
}

__all__ = [
    "About",
    "Dataset",
    "Epoch",
    "Measurement",
    "Model",
    "Results",
    "Run",
    "Sweep",
    "Terms",
    "TrialResult",
    "__version__",
    "learning_rate",
    "load_results",
    "load_sweep",
    "variant",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import rdbench`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rdbench' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"rdbench.{_HOMES[name]}"), name)
