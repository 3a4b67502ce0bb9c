"""Train and measure trials, each in the way of its variant: an objective, a model, or a trial function."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rdbench.datasets import Dataset
from rdbench.registry import variants
from rdbench.spec.plan import Trial
from rdbench.trial.api import Run, TrialResult
from rdbench.vae import models, networks
from rdbench.vae.checkpoints import Checkpointer
from rdbench.vae.evaluation import Measurement, measure_splits, training_images
from rdbench.vae.models import Model
from rdbench.vae.training import Epoch, train

Record = Callable[[int, Epoch], None]


@dataclass
class Outcome:
    """How a trial ended."""

    diverged: str | None  # why it did; None if it did not
    measured: Mapping[float, Mapping[str, Measurement]]  # by beta, then by split
    model: Model | None  # the trained model at ``beta``; None where there is none to look at
    beta: float  # which of the betas the model, the pictures and the metrics are of
    parameters: int | None  # number of trained values; None where that is not known


def train_and_measure(
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    record: Record,
    checkpointer: Checkpointer | None = None,
) -> list[Outcome]:
    """Train and measure trials side by side, or a single trial of any kind.

    ``record`` is told the member and its figures as each epoch ends. ValueError: several trials, of which one
    does not pack.
    """
    checkpointer = checkpointer or Checkpointer(None, pack, device)
    declared = [variants.get(trial.variant).declaration for trial in pack]
    if len(pack) > 1 and (alone := [declaration.name for declaration in declared if not declaration.packs]):
        raise ValueError(f"variant {alone[0]} does not pack; run each of its trials by itself")
    trial, kind = pack[0], declared[0]
    with models.seeded(trial, device) if len(pack) == 1 else contextlib.nullcontext():
        if kind.kind == "trial":
            return [_function(trial, data, device, record, checkpointer)]
        built = [models.build(one, data.shape, len(data.train.images)) for one in pack]
        if kind.closed_form:
            built[0].to(device=device).eval()
            reasons = [built[0].solve(lambda: training_images(trial, data, device))]
        else:
            reasons = train(built, pack, data, device, record, checkpointer.stage())
        return [
            _measured({one.beta: model}, reason, one, data, device)
            for one, model, reason in zip(pack, built, reasons, strict=True)
        ]


def _function(
    trial: Trial, data: Dataset, device: torch.device, record: Record, checkpointer: Checkpointer
) -> Outcome:
    variant = variants.get(trial.variant)
    options = dict(trial.variant.options)
    betas = tuple(options.pop("betas", (trial.beta,)))
    checkpointer.several = True
    run = Run(trial, device, betas, lambda epoch: record(0, epoch), checkpointer)
    result = variant.target(run, data, **options)
    what = f"trial function {variant.declaration.name} returned"
    if not isinstance(result, TrialResult):
        raise TypeError(f"{what} a {type(result).__name__}, not an rdbench.TrialResult")
    by_beta = result.model if isinstance(result.model, Mapping) else {trial.beta: result.model}
    if not all(isinstance(model, Model) for model in by_beta.values()) and result.model is not None:
        raise TypeError(f"{what} a model that is no rdbench.Model; give one, or one for each beta")
    trained_models = {beta: model for beta, model in by_beta.items() if model is not None}
    if trained_models and result.measured:
        raise ValueError(f"{what} both models and measurements; give one of them")
    returned = {*trained_models, *result.measured}
    if result.diverged is None and not returned:
        raise ValueError(f"{what} neither a model nor measurements")
    if unasked := sorted(returned - set(betas)):
        raise ValueError(f"{what} betas {unasked}, which were not asked for")
    if result.diverged is None and (missing := sorted(set(betas) - returned)):
        raise ValueError(f"{what} nothing for betas {missing}")
    if result.measured and result.diverged is None:
        _check(result.measured, what, data)
        return Outcome(None, result.measured, None, trial.beta, None)
    return _measured(trained_models, result.diverged, trial, data, device)


def arrays(values: Measurement) -> list[np.ndarray]:
    """Return what was measured: squared errors, and rates and distortions where there are any."""
    return [numbers for numbers in (values.sse, values.rate, values.distortion) if numbers is not None]


def _check(measured: Mapping[float, Mapping[str, Measurement]], what: str, data: Dataset) -> None:
    """Refuse measurements that are not of both splits and of every image."""
    for beta, splits in measured.items():
        if set(splits) != set(data.splits):
            asked = " and ".join(data.splits)
            raise ValueError(f"{what} splits {sorted(splits)} at beta {beta:g}, not {asked}")
        for split, values in splits.items():
            sizes, images = {len(numbers) for numbers in arrays(values)}, len(getattr(data, split).images)
            if sizes != {images}:
                raise ValueError(f"{what} {sorted(sizes)} images of the {split} split, which has {images}")
            if not all(isinstance(n, np.ndarray) and n.dtype == np.float64 for n in arrays(values)):
                raise TypeError(f"{what} measurements that are not numpy arrays of float64")  # fmt: skip
            if (values.sse < 0).any() or (values.rate is not None and values.rate.mean() < 0):
                raise ValueError(f"{what} a squared error or a mean rate below 0 on the {split} split")


def _measured(
    by_beta: Mapping[float, Model], reason: str | None, trial: Trial, data: Dataset, device: torch.device
) -> Outcome:
    measured = {}
    for beta, model in by_beta.items():
        model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        if reason is None:
            measured[beta] = measure_splits(model, trial, data, device)
    if not by_beta:
        return Outcome(reason, measured, None, trial.beta, None)
    beta = trial.beta if trial.beta in by_beta else next(iter(by_beta))
    return Outcome(reason, measured, by_beta[beta], beta, networks.count_parameters(by_beta[beta]))
