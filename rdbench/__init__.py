"""rdbench: rate-distortion sweeps of variational autoencoders.

Train a sweep and look at its results::

    import rdbench

    sweep = rdbench.Sweep(name="mine", dataset="digits", variants=["bs_vae"], beta=[0.1, 1, 10], seeds=3)
    results = rdbench.run(sweep)                  # or rdbench.run("sweep.yaml", train={"epochs": 5})
    results.points                                # a pandas frame; also .trials, .history, .metrics, ...
    results.table("table1"), results.bd_rate(baseline="beta_vae"), results.to_latex("table1")
    rdbench.plot.rate_distortion(results, y="psnr")
    rdbench.write_report(results, "report.html")

With ``keep_weights=True``, ``rdbench.load_model(results, "bs_vae beta 1 seed 0")`` gives a trained network
as a torch module. ``rdbench.evaluate(module, results, name="mine")`` measures one that was trained elsewhere,
and ``rdbench.write_report([results, mine])`` shows both. ``rdbench.load_results("results/mine")`` reads what
an earlier run or ``rdbench sweep`` wrote. A path may be text, a ``pathlib.Path`` or an address such as
``s3://bucket/prefix``.

For a variant of your own: :func:`variant`, :class:`Model`, :class:`About`, :class:`Terms`, :class:`Run`,
:class:`TrialResult`, :class:`Measurement`, :class:`Dataset`, :class:`Epoch`, :func:`learning_rate`;
docs/how-to/variant.md. For a metric of your own: :func:`metric`, docs/how-to/plugins.md.
``dir(rdbench)`` lists every public name.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdbench.commands.api import load_model, plan, run, write_report
    from rdbench.commands.elsewhere import evaluate
    from rdbench.commands.results import Results, load_results
    from rdbench.datasets import Dataset
    from rdbench.metrics.plugged import metric
    from rdbench.registry.variants import variant
    from rdbench.report import plot
    from rdbench.spec.sweep import Sweep, load_sweep
    from rdbench.trial.api import Run, TrialResult
    from rdbench.vae.evaluation import Measurement
    from rdbench.vae.models import About, Model, Terms
    from rdbench.vae.training import Epoch, learning_rate

__version__ = "0.2.0"

_HOMES = {
    "run": "commands.api",
    "load_model": "commands.api",
    "evaluate": "commands.elsewhere",
    "write_report": "commands.api",
    "load_results": "commands.results",
    "Results": "commands.results",
    "plan": "commands.api",
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
    "evaluate",
    "learning_rate",
    "load_model",
    "load_results",
    "load_sweep",
    "metric",
    "plan",
    "plot",
    "run",
    "variant",
    "write_report",
]


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*__all__, "__doc__", "__file__", "__name__", "__path__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import rdbench`` costs nothing."""
    if name not in _HOMES and name != "plot":
        raise AttributeError(f"module 'rdbench' has no attribute {name!r}")
    import importlib

    if name == "plot":
        return importlib.import_module("rdbench.report.plot")
    return getattr(importlib.import_module(f"rdbench.{_HOMES[name]}"), name)
