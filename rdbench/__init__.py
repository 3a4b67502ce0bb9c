"""rdbench: rate-distortion sweeps of variational autoencoders.

Train a sweep and look at its results::

    import rdbench

    sweep = rdbench.Sweep(name="mine", dataset="digits", variants=["bs_vae"], beta=[0.1, 1, 10], seeds=3)
    results = rdbench.run(sweep)                  # or rdbench.run("sweep.yaml", train={"epochs": 5})
    results.points                                # a pandas frame; also .trials, .history, .metrics, ...
    rdbench.write_report(results, "report.html")

With ``keep_weights=True``, ``rdbench.load_model(results, "bs_vae beta 1 seed 0")`` gives a trained network
as a torch module. ``rdbench.load_results("results/mine")`` reads what an earlier run or ``rdbench sweep``
wrote. A path may be text, a ``pathlib.Path`` or an address such as ``s3://bucket/prefix``.

For a variant of your own: :func:`variant`, :class:`Model`, :class:`About`, :class:`Terms`, :class:`Run`,
:class:`TrialResult`, :class:`Measurement`, :class:`Dataset`, :class:`Epoch`, :func:`learning_rate`; README,
section "A variant of your own". For a metric of your own: :func:`metric`. ``dir(rdbench)`` lists every
public name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdbench.commands.api import load_model, run, write_report
    from rdbench.datasets import Dataset
    from rdbench.metrics.plugged import metric
    from rdbench.registry.variants import variant
    from rdbench.results.load import Results, load_results
    from rdbench.spec.sweep import Sweep, load_sweep
    from rdbench.trial.api import Run, TrialResult
    from rdbench.vae.evaluation import Measurement
    from rdbench.vae.models import About, Model, Terms
    from rdbench.vae.training import Epoch, learning_rate

__version__ = "0.1.0"

_HOMES = {
    "run": "commands.api",
    "load_model": "commands.api",
    "write_report": "commands.api",
    "load_results": "results.load",
    "Results": "results.load",
    "load_sweep": "spec.sweep",
    "Sweep": "spec.sweep",
    "variant": "registry.variants",
    "metric": "metrics.plugged",
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
    "load_model",
    "load_results",
    "load_sweep",
    "metric",
    "run",
    "variant",
    "write_report",
]


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*__all__, "__doc__", "__file__", "__name__", "__path__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import rdbench`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rdbench' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"rdbench.{_HOMES[name]}"), name)
