"""The state of metrics under way, so that a fault costs at most the work since it was last kept.

    results/<sweep>/resume/<trial>-<metric>_<digest>-<number>-<digest>.safetensors     two are kept

The first digest is of the metric's options. A state is used where trial, network, data, options, device and
versions are the same, so what goes on from one is bit for bit what an uninterrupted measurement gives. It is
no part of a row, and removed once a committed row answers what it is of: that of a metric which failed by the
machine's fault, or that was not asked for this time, is kept.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rdbench.metrics import is_measured
from rdbench.metrics.base import MetricOptions
from rdbench.numerics.seeding import generator
from rdbench.numerics.stages import Stages
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial
from rdbench.storage import places
from rdbench.storage.places import Place
from rdbench.vae import checkpoints
from rdbench.vae.checkpoints import Checkpointer, Keeping
from rdbench.vae.models import Model

LATENTS = 4
"""That a network is decoded at, to tell it from another of the same trial."""


def checkpointer(
    keeping: Keeping, trial: Trial, model: Model, asked: MetricOptions, device: torch.device
) -> Checkpointer:
    """Return what keeps the state of what is ``asked`` of a trial's model, and gives back an earlier one."""
    network = fingerprint(model, trial, device)
    key = _key(trial.id, asked)
    keeper = Checkpointer(keeping, [trial], device, key, metric=_options(asked), network=network)
    keeper.several = True
    return keeper


@dataclass
class MetricStates:
    """Where metrics of one trial's trained network keep their states."""

    keeping: Keeping
    trial: Trial
    model: Model
    device: torch.device
    begun: dict[str, int] = field(default_factory=dict)  # number of the state that a metric last began from

    def __call__(self, asked: MetricOptions) -> Stages:
        """Return the stages of a metric; without a state that it began from before, in vain."""
        key = _key(self.trial.id, asked)
        keeper = checkpointer(self.keeping, self.trial, self.model, asked, self.device)
        if keeper.number and keeper.number == self.begun.get(key):
            checkpoints.remove(self.keeping.root, key)
            keeper = checkpointer(self.keeping, self.trial, self.model, asked, self.device)
        self.begun[key] = keeper.number
        return keeper.stage


def _options(asked: MetricOptions) -> dict[str, Any]:
    return {"name": asked.name, **asked.settings()}


def _key(trial: str, asked: MetricOptions) -> str:
    """Return what the states of a metric of a trial are named by."""
    digest = hashlib.sha256(json.dumps(_options(asked), sort_keys=True).encode()).hexdigest()[:8]
    return f"{trial}-{asked.name}_{digest}"


@torch.no_grad()
def fingerprint(model: Model, trial: Trial, device: torch.device) -> str:
    """Return a digest of what a network on a device decodes some latents to, bit for bit."""
    noise = generator(trial.seed, "metric states")
    latents = torch.randn(LATENTS, model.about.latent, generator=noise).to(device)
    decoded = model.mean(model.decode(latents)).float().cpu().contiguous()
    return hashlib.sha256(decoded.numpy().tobytes()).hexdigest()[:16]


def left(root: Place) -> set[str]:
    """Return the ids of the trials of which a results folder holds the state of a metric."""
    keys = checkpoints.keys(places.entries(checkpoints.folder(root)))
    return {key.split("-")[0] for key in keys if "-" in key}


def discard(root: Place, trials: Collection[str], asked: Sequence[MetricOptions]) -> None:
    """Remove the states of metrics that are ``asked``, of those trials, by their ids, whose rows answer them.

    A stored row without a value answers where the metric has no meaning for the variant, or is given up.
    """
    table = ResultsFolder(root).table("metrics")
    for trial in sorted(left(root).intersection(trials)) if trials and asked else ():
        rows = table.read_one(trial).to_pylist()
        for options in asked:
            if is_measured(options, rows, or_failed=True, complete=True):
                checkpoints.remove(root, _key(trial, options))
