"""Checks of a metric of one's own, on a small model trained on digits."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch

from rdbench import datasets, metrics
from rdbench.commands.check.plugged import findings, imports, options_line
from rdbench.commands.check.subject import DATA, NETWORK, TRAIN
from rdbench.commands.check.verdicts import CheckError, Finding, Note, need
from rdbench.metrics import stored
from rdbench.metrics.failures import reason
from rdbench.metrics.plugged import PluggedOptions
from rdbench.registry import plugins
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.storage import paths
from rdbench.trial.job import Kept
from rdbench.trial.run import metric_rows, run_trial
from rdbench.vae.models import Model


class MetricSubject:
    """A metric, with a model to measure: ``bs_vae`` of 4 latents after two epochs on 128 digits."""

    def __init__(self, asked: PluggedOptions, device: torch.device) -> None:
        self.asked, self.device = asked, device
        self.plugin = plugins.settled("metric", asked.source, asked.code)
        recipe = {"dataset": DATA, "beta": [1.0], "train": TRAIN, "model": NETWORK}
        sweep = Sweep.model_validate({"name": "check", "variants": ["bs_vae"], **recipe})
        (self.trial,) = plan(sweep).trials
        self.data = datasets.load(sweep.dataset, paths.data_root())

    @cached_property
    def model(self) -> Model:
        """The trained model."""
        models: list[Model] = []
        run_trial(self.trial, self.data, self.device, on_network=lambda trial, model: models.append(model))
        return models[0]

    def measure(self) -> list[dict[str, Any]]:
        """Return the rows that the metric leaves of the model."""
        return metric_rows(self.model, self.trial, self.data, self.device, [self.asked], Kept())


def check(reference: str, options: dict[str, Any], device: torch.device) -> Iterator[Finding]:
    """Check a metric: yield each finding as it is made. The first that fails is the last.

    Raises SpecError: an option is wrong.
    """

    def subject() -> MetricSubject:
        return MetricSubject(metrics.plugged.settle(reference, options, (), metrics.names()), device)

    return findings(subject, (declared, imports, measures, repeats))


def declared(subject: MetricSubject) -> str:
    """What it looks at, its options, and which way is better."""
    metric, plugin = metrics.of(subject.asked), subject.plugin
    options = options_line(subject.asked.options)
    looks = f" of {', '.join(plugin.inputs)}" if plugin.inputs else ""
    text = f"metric {metric.name}{looks}, {options}"
    ways = {quantity.name: quantity.better for quantity in metric.quantities if quantity.better}
    if not metric.summary:
        return Note(f"{text}; it has no docstring: begin it with what it measures, in a line")
    if not ways:
        return Note(f'{text}; a report draws no arrow: @rdbench.metric(better="higher") would say which way')
    return f"{text}; better: {', '.join(f'{name} {way}' for name, way in ways.items())}"


def measures(subject: MetricSubject) -> str:
    """It gives finite numbers of a trained model."""
    rows = subject.measure()
    shown = []
    for row in rows:
        settings = stored.settings(row)
        if settings.get("undefined"):
            return Note(settings["error"])
        if row["value"] is None:
            raise CheckError(reason(row).partition("; try 'rdbench check")[0], "said")
        need(math.isfinite(row["value"]), f"{row['name']} is {row['value']}")
        error = "" if row["standard_error"] is None else f" (standard error {row['standard_error']:.2g})"
        shown.append(f"{settings.get('quantity', row['name'])} {row['value']:.4g}{error}")
    return f"of bs_vae at beta 1 after two epochs on digits: {', '.join(shown)}"


def repeats(subject: MetricSubject) -> str:
    """The same model gives the same numbers."""
    first, second = ([row["value"] for row in subject.measure()] for _ in range(2))
    need(
        first == second,
        f"one model measured twice gives {first} and {second}; draw from torch's, numpy's or Python's global"
        " generator, which are seeded for each trial, or from one with a seed of its own",
    )
    return "one model measured twice gives the same numbers"
