"""rdbench: rate-distortion sweeps of variational autoencoders.

The flow, and the house it lives in::

    sweep.yaml -> spec -> plan -> tune -> worker -> trial -> store -> report

    cli           the verbs; no logic          sweep        what is left to do, and its account
    spec          YAML -> validated Sweep      plan         Sweep -> trials, known by their settings
    tune          Ray Tune schedules packs     worker       runs a pack, commits each trial
    trial         from settings to tables      evaluation   rate and distortion, measured once an image
    training      fit a pack of trials         batches      its images and random numbers
    nets          encoder and decoder, packed  augment      torchvision's augmentations in batches
    likelihood    readings of sigma^2          theory       Shannon's R(D) of Gaussian sources
    datasets/     prepared once, memory-mapped variants/    one file a variant: its objective
    metrics/      one file a proxy metric      features/    what they look at images through
    statistics/   what they make of features   afterwards   metrics of networks that were kept
    bench         against a plain loop         packing      how many trials a GPU takes at once
    store         the Parquet tables           report/      tables -> one offline HTML page
    calibration   measured against theory      estimate     how long a sweep will take

Public: :func:`load_results` and :class:`Results`; :func:`load_sweep` and :class:`Sweep`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdbench.spec import Sweep, load_sweep
    from rdbench.store import Results, load_results

__version__ = "0.1.0"
__all__ = ["Results", "Sweep", "__version__", "load_results", "load_sweep"]

_HOMES = {"load_results": "store", "Results": "store", "load_sweep": "spec", "Sweep": "spec"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import rdbench`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rdbench' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"rdbench.{_HOMES[name]}"), name)
