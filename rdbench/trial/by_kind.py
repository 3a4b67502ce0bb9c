"""Train and measure trials, each in the way of its variant: an objective, a model, or a trial function."""

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
from rdbench.vae.models import Model, Standard
from rdbench.vae.packs import joined, separate
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
    """Train and measure objectives side by side, or a single trial of any kind.

    ``record`` is told the member and its figures as each epoch ends. ValueError: several trials, of which one
    is no objective.
    """
    checkpointer = checkpointer or Checkpointer(None, pack, device)
    declared = [variants.get(trial.variant).declaration for trial in pack]
    alone = [declaration for declaration in declared if not declaration.packs]
    if not alone:
        return _objectives(pack, data, device, record, checkpointer)
    if len(pack) > 1:
        raise ValueError(f"variant {alone[0].name} is no objective; run each of its trials by itself")
    (trial,) = pack
    with models.seeded(trial, device):
        if alone[0].kind == "trial":
            return [_function(trial, data, device, record, checkpointer)]
        model = models.build(trial, data.shape, len(data.train.images))
        if alone[0].closed_form:
            model.to(device=device).eval()
            reason = model.solve(lambda: training_images(trial, data, device))
        else:
            (reason,) = train(model, pack, data, device, record, checkpointer.stage())
        return [_measured({trial.beta: model}, reason, trial, data, device)]


def _objectives(
    pack: Sequence[Trial], data: Dataset, device: torch.device, record: Record, checkpointer: Checkpointer
) -> list[Outcome]:
    about = [models.about(trial, data.shape, len(data.train.images)) for trial in pack]
    network = joined(about)
    reasons = train(network, pack, data, device, record, checkpointer.stage())
    measured: dict[str, list[Measurement]] = {}
    if None in reasons:
        measured = measure_splits(network, pack, data, device)
    parameters = networks.count_parameters(network) // len(pack)
    outcomes = []
    for member, (trial, single) in enumerate(zip(pack, separate(network, about), strict=True)):
        splits = {split: values[member] for split, values in measured.items()}
        model = Standard(about[member], single)
        outcomes.append(Outcome(reasons[member], {trial.beta: splits}, model, trial.beta, parameters))
    return outcomes


def _function(
    trial: Trial, data: Dataset, device: torch.device, record: Record, checkpointer: Checkpointer
) -> Outcome:
    variant = variants.get(trial.variant)
    options = dict(trial.variant.options)
    betas = tuple(options.pop("betas", (trial.beta,)))
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
            splits = measure_splits(model, [trial], data, device)
            measured[beta] = {split: values[0] for split, values in splits.items()}
    if not by_beta:
        return Outcome(reason, measured, None, trial.beta, None)
    beta = trial.beta if trial.beta in by_beta else next(iter(by_beta))
    return Outcome(reason, measured, by_beta[beta], beta, networks.count_parameters(by_beta[beta]))
