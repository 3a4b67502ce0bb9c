"""A trial, or a pack of them, from settings to tables: train, evaluate, and account for both."""

import datetime
import functools
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from rdbench import machine, metrics
from rdbench.datasets import Dataset
from rdbench.errors import StorageError
from rdbench.metrics.base import MetricOptions, TrainedModel
from rdbench.numerics.precision import exact_float32
from rdbench.numerics.stages import Unkept
from rdbench.registry import variants
from rdbench.spec.plan import Trial, check_fits
from rdbench.trial.by_kind import Outcome, arrays, train_and_measure
from rdbench.trial.job import POINTS_ONLY, Kept, Outputs
from rdbench.trial.rows import Rows, Tables, data_columns, point_key, training_speed, trial_row
from rdbench.vae import models
from rdbench.vae.batches import Images, channels_last
from rdbench.vae.checkpoints import Checkpointer, Keeping
from rdbench.vae.evaluation import Measurement, measure, picture_rows, point_rows
from rdbench.vae.memory import PeakMemory, give_back_freed_memory, keep_freed_memory
from rdbench.vae.metric_states import MetricStates
from rdbench.vae.models import Model, Terms
from rdbench.vae.training import Epoch


def _why_not_finite(outcome: Outcome) -> str | None:
    for beta, splits in outcome.measured.items():
        at = f" at beta {beta:g}" if len(outcome.measured) > 1 else ""
        for split, values in splits.items():
            if not all(math.isfinite(numbers.sum()) for numbers in arrays(values)):
                return f"rate, squared error or distortion on the {split} split is not finite{at}"
    return None


def _own_likelihood(
    model: Model, images: Tensor, posterior: tuple[Tensor, ...], latents: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the decoder's mean at latents, and -ln p(x|z) under the model's own likelihood, (batch,)."""
    output = model.decode(latents)
    mean = model.mean(output)
    sse = (images - mean).square().flatten(1).sum(1)
    terms = Terms(mean, posterior, latents, sse, model.rate(posterior, latents), output)
    distortion = model.distortion(images, terms)
    assert distortion is not None  # as it was measured
    return mean, distortion


def _trained_model(
    model: Model, trial: Trial, data: Dataset, measured: Measurement, device: torch.device, kept: Kept
) -> TrainedModel:
    """Return what metrics may look at; ``measured`` is of the test split, at the model's own beta."""
    images = Images(data.test, device)
    model.requires_grad_(False)  # it is trained: a metric differentiates by latents alone, in half the time
    lacks = {
        "gaussian": not model.gaussian,
        "prior": model.rate_free,
        "density": not models.has_density(model),
        "encoder": not model.encodes,
    }
    return TrainedModel(
        encode=model.encode,  # type: ignore[arg-type]  # mean and log variance where gaussian says so
        decode=lambda latents: model.mean(model.decode(latents)),
        latent=trial.model.latent,
        data=data,
        test_images=lambda index: channels_last(images.batch(index)),
        n_test=len(images),
        test_sse=measured.sse,
        classifier=kept.classifier,
        train_sse=kept.train_sse.get(model.about.beta),
        own=None if measured.distortion is None else functools.partial(_own_likelihood, model),
        test_rates=measured.rate if trial.protocol == "clean" else None,  # else of augmented images
        beta=model.about.beta,
        seed=trial.seed,
        protocol=trial.protocol,
        device=device,
        prior=model.prior,
        reconstruct=lambda images, noise: model(images, noise).reconstruction,
        sample=lambda images, noise: model.sample(model.encode(images), noise),
        log_prior=model.log_prior,
        lacks=frozenset(name for name, lacking in lacks.items() if lacking),
        say=kept.say,
        stages=MetricStates(kept.keeping, trial, model, device) if kept.keeping else lambda asked: Unkept,
    )


def _measured_tables(
    outcome: Outcome,
    trial: Trial,
    data: Dataset,
    device: torch.device,
    outputs: Outputs,
    keeping: Keeping | None,
) -> Tables:
    """Return the tables of one trained trial with finite measurements."""
    asked = outputs.metrics
    pixels = data.train.images.dtype == "uint8"
    native = variants.get(trial.variant).declaration.native
    points = [
        point_key(trial) | {"beta": beta} | row
        for beta, splits in outcome.measured.items()
        for split, values in splits.items()
        for row in point_rows(values, split, beta, math.prod(data.shape), native, pixels)
    ]
    tables: Tables = {"points": points}
    test = outcome.measured[outcome.beta]["test"]
    if outputs.per_image:
        tables["per_image"] = [
            {"index": index, "sse": sse, "rate": None if test.rate is None else test.rate[index]}
            for index, sse in enumerate(test.sse)
        ]
    if outcome.model is None and asked:
        tables["metrics"] = metrics.undefined(asked, trial.protocol, "its trial function returned no model")
    if outcome.model is not None:
        if pixels:
            tables["images"] = picture_rows(outcome.model, trial, data, device)
        if asked:
            train = outcome.measured[outcome.beta]["train"]
            train_sse = {outcome.model.about.beta: float(train.sse.mean())}
            known = Kept(train_sse, outputs.classifier, keeping=keeping)
            model = _trained_model(outcome.model, trial, data, test, device, known)
            with models.seeded(trial, device):  # anew, so that a metric measured later finds the same state
                tables["metrics"] = metrics.rows(asked, model)
    return tables


@dataclass(frozen=True)
class Hooks:
    """Who is told while trials train; by default nobody."""

    # Told the member of the pack and its figures as each epoch ends.
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None
    # Given each trained model whose measurements are finite, to keep it.
    on_network: Callable[[Trial, Model], None] = lambda trial, model: None


NO_HOOKS = Hooks()


@exact_float32()
def run_pack(
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    outputs: Outputs = POINTS_ONLY,
    hooks: Hooks = NO_HOOKS,
    checkpointer: Checkpointer | None = None,
) -> list[Tables]:
    """Train and evaluate one trial, or several side by side that differ in variant, beta and seed only.

    Besides points and history it returns what ``outputs`` says; a metric that raises leaves a row that says
    so. By default nothing of the state of training is kept.

    Returns:
        For each trial its rows by table, as if it had been trained alone; its times are its share of the
        pack's. A trial whose loss is not finite has status ``diverged``, its history up to there, no points.

    Raises:
        DatasetError: the dataset is too small for a batch.
        SpecError: the device has not got the arithmetic asked for.
        Stopped, StorageError: as of :meth:`rdbench.vae.checkpoints.Stage.ended`.
        ValueError: several trials that cannot train side by side.
    """
    check_fits(pack[0], data)
    keep_freed_memory()
    give_back_freed_memory()
    started = datetime.datetime.now(datetime.UTC)
    start = time.perf_counter()
    memory = PeakMemory(device)
    checkpointer = checkpointer or Checkpointer(None, pack, device)
    results: list[Tables] = [{"history": rows} for rows in checkpointer.history]

    def record(member: int, epoch: Epoch) -> None:
        results[member]["history"].append(asdict(epoch))
        hooks.on_epoch(member, epoch)

    outcomes = train_and_measure(pack, data, device, record, checkpointer)
    for trial, outcome, tables in zip(pack, outcomes, results, strict=True):
        outcome.diverged = outcome.diverged or _why_not_finite(outcome)
        if not outcome.diverged:
            if outcome.model is not None:
                hooks.on_network(trial, outcome.model)
            with models.seeded(trial, device):
                tables |= _measured_tables(outcome, trial, data, device, outputs, checkpointer.keeping)
    shared = {
        "seconds": (checkpointer.seconds + time.perf_counter() - start) / len(pack),
        "pack": len(pack),
        "peak_memory_bytes": memory.bytes(),
        "device": machine.device_name(device),
        **data_columns(data),
    }
    for trial, outcome, tables in zip(pack, outcomes, results, strict=True):
        row = trial_row(trial, "diverged" if outcome.diverged else "done", outcome.diverged, started)
        speed = {"parameters": outcome.parameters, "images_per_second": training_speed(tables["history"])}
        tables["trials"] = [row | shared | speed]
    return results


def run_trial(
    trial: Trial,
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    *,
    outputs: Outputs = POINTS_ONLY,
    on_network: Callable[[Trial, Model], None] = NO_HOOKS.on_network,
) -> Tables:
    """Train and evaluate one trial: :func:`run_pack` with a pack of one."""
    hooks = Hooks(lambda member, epoch: on_epoch(epoch), on_network)
    return run_pack([trial], data, device, outputs, hooks)[0]


@exact_float32()
def metric_rows(
    model: Model,
    trial: Trial,
    data: Dataset,
    device: torch.device,
    asked: Sequence[MetricOptions],
    kept: Kept,
) -> Rows:
    """Return rows of the ``metrics`` table of a model that was trained before, as its trial would.

    What cannot be measured, for want of memory say, is a row that says so: no reason to train it again.
    StorageError: the results cannot be written now; Stopped: the user asked to stop.
    """
    try:
        with models.seeded(trial, device):
            measured = measure(model, trial, data, "test", device)
        with models.seeded(trial, device):
            return metrics.rows(asked, _trained_model(model, trial, data, measured, device, kept))
    except StorageError:
        raise
    except Exception:
        return metrics.failed(asked, trial.protocol, traceback.format_exc())
