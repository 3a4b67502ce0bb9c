"""The baseline of ``rdbench bench``: the training loop a practitioner writes first.

A ``DataLoader`` with workers, torchvision's transforms on one image at a time, eager float32, one model: the
same model and made-up images, with all threads the machine has.
"""

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rdbench.datasets import Augmentation, Dataset
from rdbench.machine import usable_cores
from rdbench.spec.plan import Trial
from rdbench.storage.scratch import Scratch
from rdbench.vae import augment, models

MOST_WORKERS = 8


def transform(kind: Augmentation, size: tuple[int, int]) -> Any:
    """Return the per-image transform that torchvision's examples would use for an augmentation."""
    from torchvision import transforms

    steps = {
        "none": [],
        "flip": [transforms.RandomHorizontalFlip(augment.FLIP_PROBABILITY)],
        "rotate_crop": [
            transforms.RandomRotation(augment.DEGREES),
            transforms.RandomResizedCrop(size, augment.SCALE, augment.RATIO),
        ],
    }
    return transforms.Compose([*steps[kind], transforms.ToTensor()])


class PicturesOneByOne(torch.utils.data.Dataset[Tensor]):
    """Images as torchvision's datasets hand them out: each a PIL image, transformed when asked for."""

    def __init__(self, data: Dataset, kind: Augmentation) -> None:
        self._images = data.train.images
        self._transform = transform(kind, data.shape[1:]) if self._images.dtype == "uint8" else None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image, float32 (channels, height, width)."""
        if self._transform is None:
            return torch.tensor(self._images[index])
        from PIL import Image

        pixels = self._images[index]
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        image: Tensor = self._transform(picture)
        return image


class PlainLoop:
    """A model, its optimizer and its loader, ready to take steps."""

    def __init__(self, trial: Trial, data: Dataset, device: torch.device) -> None:
        self._trial, self._device = trial, device
        self._model = models.build(trial, data.shape, len(data.train.images)).to(device)
        for module in self._model.modules():
            if isinstance(module, nn.LeakyReLU):
                module.inplace = False  # as it is by default
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=trial.train.lr, weight_decay=trial.train.weight_decay
        )
        self.workers = min(MOST_WORKERS, usable_cores())
        self._batches = _endless(
            PicturesOneByOne(data, data.augmentation if trial.train.augment else "none"),
            batch_size=trial.train.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            persistent_workers=True,
        )

    def images_per_second(self, steps: int) -> float:
        """Take some steps and return their images a second; between calls the loader's queue stays full."""
        start = time.perf_counter()
        for _ in range(steps):
            images = next(self._batches).to(self._device, non_blocking=True)
            noise = torch.randn(len(images), self._trial.model.latent, device=self._device)
            loss = self._model.loss(images, self._model(images, noise), self._trial.beta).mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            loss.item()  # for the progress bar
        return steps * self._trial.train.batch_size / (time.perf_counter() - start)


def _endless(images: PicturesOneByOne, **options: Any) -> Iterator[Tensor]:
    """Yield batches, epoch after epoch. The loader's workers talk over sockets, whose paths must be short."""
    with Scratch() as folder:
        loader = DataLoader(images, worker_init_fn=partial(_keep_sockets_in, str(folder)), **options)
        try:
            while True:
                yield from loader
        finally:
            del loader  # and with it the workers, before the folder


def _keep_sockets_in(folder: str, worker: int) -> None:
    tempfile.tempdir = folder
