"""rdbench: rate-distortion sweeps of variational autoencoders.

The flow, and the house it lives in::

    sweep.yaml -> spec -> plan -> tune -> worker -> trial -> store -> report

    cli, cli_*    the verbs; no logic          sweep        what is left to do, and its account
    spec, spec_*  YAML -> validated Sweep      plan         Sweep -> trials, known by their settings
    yaml_lines    where in a file a value is   search_checks  whether a search fits its sweep
    tune/         Ray Tune schedules packs     worker       runs a pack, commits each trial
    lease         one driver a folder          resume       state of trainings, to go on from
    beforehand    what is refused before training  failures  how often a metric failed, and how
    faults        whose fault an exception is  watchdog     a limit on a trial's time
    progress      the console's lines          errors       what is the user's to mend, in one line
    streams       standard output and error, whatever becomes of them
    trial         from settings to tables      evaluation   rate and distortion, measured once an image
    models        a VAE of one's own           runs         what a trial function is given
    outcomes      trains each kind of variant  afterwards   metrics of networks that were kept
    foreground    one trial, with its stack    samples      images drawn from a kept network
    training      fit a pack of trials         batches      its images and random numbers
    seeding       a generator for each purpose precision    the arithmetic of a trial
    nets          encoder and decoder, packed  augment      torchvision's augmentations in batches
    graphs        a step as a CUDA graph       allocator    memory that stays with the process
    likelihood    readings of sigma^2          theory       Shannon's R(D) of Gaussian sources
    datasets/     prepared once, memory-mapped metrics/     one file a proxy metric
    features/     what they look at images through
    statistics/   what they make of features   variants/    one file a variant: what is its own
    conformance/  whether a variant is right   starting_points  files to begin one from
    bench         against a plain loop (plain) packing      how many trials a GPU takes at once
    throughput    how fast packs train         roofline     what a device can do at most
    orchestration what Ray itself costs        estimate     how long a sweep will take
    store         the Parquet tables           places       a folder, or (remote) a bucket
    parquet       rows to bytes, with a digest table_files  own and compacted files as one
    compact       merges them                  snapshots    kept whole, to be read at once
    checkpoint_file  tensors without pickle    provenance   versions, commit, machine
    paths         a path as a user means it    outputs      a file that a user names to be written
    cores         that this process may use (cgroups)
    sweep_files   a file, stdin, one that ships
    catalogue     what a listing says of metrics and variants
    signals       that ask to stop             scratch      temporary folders, where Ray's sockets fit
    doctor/       looks at the machine         calibration  measured against theory
    report/       tables -> one offline page, files, comparisons
    search/       chooses the next trials from those that ended, and ends early those that cannot matter

Public, for results: :func:`load_results`, :class:`Results`, :func:`load_sweep`, :class:`Sweep`. For a
variant of your own: :func:`variant`, :class:`Model`, :class:`About`, :class:`Terms`, :class:`Run`,
:class:`TrialResult`, :class:`Measurement`, :class:`Dataset`, :class:`Epoch`; see :mod:`rdbench.registry.variants`.
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
    from rdbench.vae.training import Epoch

__version__ = "0.1.0"

_HOMES = {
    "load_results": "store",
    "Results": "store",
    "load_sweep": "spec",
    "Sweep": "spec",
    "variant": "variants",
    "Model": "models",
    "About": "models",
    "Terms": "models",
    "Run": "runs",
    "TrialResult": "runs",
    "Measurement": "evaluation",
    "Dataset": "datasets",
    "Epoch": "training",
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
