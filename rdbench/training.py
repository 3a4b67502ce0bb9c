"""Fit one trial: the reference recipe of the paper, on one device, without a framework around it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from rdbench import augment, nets, variants
from rdbench.datasets import Dataset, Split
from rdbench.errors import DatasetError
from rdbench.likelihood import kl_standard_normal
from rdbench.plan import Trial
from rdbench.seeding import generator


class DivergedError(Exception):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Epoch:
    """Means over the training images of one epoch; ``loss``, ``rate`` and ``sse`` are per image."""

    epoch: int
    loss: float
    rate: float
    sse: float
    lr: float
    seconds: float
    images_per_second: float

    def row(self) -> dict[str, Any]:
        """Return the epoch as a row of the ``history`` table."""
        return asdict(self)


class Images:
    """The images of one split as float batches on a device; pixels of uint8 splits become [0, 1].

    On a CPU the memory map is read in place, so workers on one machine share one copy.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self._array = split.images
        self._device = device
        self._resident = None if device.type == "cpu" else torch.tensor(split.images, device=device)

    def __len__(self) -> int:
        return len(self._array)

    def batch(self, index: Tensor) -> Tensor:
        """Return images (len(index), channels, height, width), float32."""
        if self._resident is None:
            pixels = torch.from_numpy(np.ascontiguousarray(self._array[index.numpy()]))
        else:
            pixels = self._resident[index.to(self._device)]
        if pixels.dtype == torch.uint8:
            return pixels.to(torch.float32).div_(255)
        return pixels


def squared_error(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Return the summed squared error of each image, (batch,)."""
    return (images - reconstruction).square().flatten(1).sum(1)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of whole batches; the last partial one is dropped, as the paper does.

    Raises:
        DatasetError: there is not one whole batch.
    """
    if images < batch_size:
        raise DatasetError(
            f"train.batch_size is {batch_size} but there are only {images} training images;"
            f" set train.batch_size to {images} or less"
        )
    return images // batch_size


def _epoch_batches(
    trial: Trial, data: Dataset, images: Images, steps: int, device: torch.device
) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Yield, for each epoch, its batches as (images, noise); random numbers are drawn once an epoch."""
    order = generator(trial.seed, "order")
    noise = generator(trial.seed, "noise", device)
    augmentation = generator(trial.seed, "augment", device)
    kind = data.augmentation if trial.train.augment else "none"
    size = trial.train.batch_size
    height, width = data.shape[1:]

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        permutation = torch.randperm(len(images), generator=order)
        epsilon = torch.randn(steps * size, trial.model.latent, generator=noise, device=device)
        parameters = augment.draw(kind, steps * size, height, width, augmentation)
        for step in range(steps):
            part = slice(step * size, (step + 1) * size)
            yield augment.apply(kind, images.batch(permutation[part]), parameters[part]), epsilon[part]

    for _ in range(trial.train.epochs):
        yield batches()


def train(
    network: nets.GaussianNetwork,
    trial: Trial,
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> None:
    """Train the network of one trial by the reference recipe, and leave it in evaluation mode.

    AdamW; the learning rate anneals by a cosine that restarts once, stepped per batch. A trial's result
    depends on its settings alone; on one device it repeats bit for bit.

    Args:
        network: freshly built; moved to ``device``.
        trial: all settings.
        data: its training split is used, augmented as the dataset declares.
        device: where to train.
        on_epoch: told of each epoch as it ends.

    Raises:
        DivergedError: the mean loss of an epoch is not finite.
        DatasetError: there are fewer training images than one batch holds.
    """
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = Images(data.train, device)
    steps = steps_per_epoch(len(images), trial.train.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=trial.train.lr, weight_decay=trial.train.weight_decay, fused=True
    )
    schedule = CosineAnnealingWarmRestarts(optimizer, trial.train.epochs * steps // 2 + 1)
    objective = variants.get(trial.variant.name).objective
    n = math.prod(data.shape)

    for epoch, batches in enumerate(_epoch_batches(trial, data, images, steps, device), start=1):
        start = time.perf_counter()
        totals = torch.zeros(3, dtype=torch.float64, device=device)  # read once an epoch: no waiting inside
        for batch, noise in batches:
            batch = batch.contiguous(memory_format=torch.channels_last)
            reconstruction, mean, log_var = network(batch, noise)
            sse = squared_error(batch, reconstruction)
            rate = kl_standard_normal(mean, log_var)
            loss = objective(sse, rate, trial.beta, n).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            lr = float(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            totals += torch.stack([loss.detach(), rate.detach().mean(), sse.detach().mean()])
        mean_loss, mean_rate, mean_sse = (totals / steps).tolist()
        seconds = time.perf_counter() - start
        if not math.isfinite(mean_loss):
            raise DivergedError(f"the loss became {mean_loss} in epoch {epoch} of {trial.train.epochs}")
        speed = steps * trial.train.batch_size / seconds
        on_epoch(Epoch(epoch, mean_loss, mean_rate, mean_sse, lr, seconds, speed))
    network.eval()
