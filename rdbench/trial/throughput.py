"""How fast a pack of a trial's kind trains, measured by training on made-up images."""

import gc
import time
from collections.abc import Callable

import numpy as np
import torch

from rdbench import datasets
from rdbench.datasets import Dataset, Split
from rdbench.numerics.precision import exact_float32
from rdbench.spec.plan import Trial
from rdbench.vae import models
from rdbench.vae.evaluation import EVALUATION_BATCH, measure
from rdbench.vae.memory import PeakMemory, keep_freed_memory
from rdbench.vae.models import Model
from rdbench.vae.training import Epoch, train


def synthetic(trial: Trial, images: int) -> Dataset:
    """Return random images of a trial's shape, to be augmented as its own."""
    info = datasets.of(trial.dataset)
    shape = info.shape(trial.dataset)
    random = np.random.default_rng(0)
    values: np.ndarray = random.standard_normal((images, *shape), dtype=np.float32)
    if info.generate is None:
        values = random.integers(0, 256, values.shape, dtype=np.uint8)
    split = Split(values, None)
    return Dataset("synthetic", split, split, "none", info.augmentation(trial.dataset), shape)


def _built(trial: Trial, size: int, data: Dataset) -> tuple[list[Model], list[Trial]]:
    """Return trials that differ in beta, as those of a sweep that train side by side, and their models."""
    pack = [trial.model_copy(update={"beta": 0.1 + index / size}) for index in range(size)]
    return [models.build(one, data.shape, len(data.train.images)) for one in pack], pack


@exact_float32()
def repeat_epochs(
    trial: Trial,
    size: int,
    device: torch.device,
    steps: int,
    repetitions: int,
    on_repetition: Callable[[float], None],
) -> int:
    """Train a pack of ``size`` for an epoch of ``steps`` to warm up and then for ``repetitions``.

    Return the peak memory in bytes. ``on_repetition`` is told the images a second of every epoch, the first
    included.
    """
    keep_freed_memory()
    memory = PeakMemory(device)
    recipe = trial.train.model_copy(update={"epochs": repetitions + 1})
    data = synthetic(trial, steps * trial.train.batch_size)
    built, pack = _built(trial.model_copy(update={"train": recipe}), size, data)

    def ended(member: int, epoch: Epoch) -> None:
        if member == 0:
            on_repetition(epoch.images_per_second)

    if any(train(built, pack, data, device, ended)):
        raise ArithmeticError(f"{trial.variant.name} diverged on random images, so nothing was measured")
    return memory.bytes()


@exact_float32()
def evaluation_speed(trial: Trial, device: torch.device) -> float:
    """Return the images a second that a model is evaluated at; members of a pack take turns."""
    data = synthetic(trial, 4 * EVALUATION_BATCH)
    (model,), (one,) = _built(trial, 1, data)
    model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    clean = one.model_copy(update={"protocol": "clean"})
    measure(model, clean, data, "test", device)  # to warm up
    start = time.perf_counter()
    measure(model, clean, data, "test", device)
    return len(data.test.images) / (time.perf_counter() - start)


def measure_training(trial: Trial, size: int, device: torch.device, steps: int) -> tuple[float, int]:
    """Return the images a second that a pack trains at, summed over its members, and its peak bytes.

    torch.OutOfMemoryError: the device has not got the memory.
    """
    speeds: list[float] = []
    peak = repeat_epochs(trial, size, device, steps, 1, speeds.append)
    gc.collect()
    torch.cuda.empty_cache()  # nothing without a GPU
    return speeds[-1], peak
