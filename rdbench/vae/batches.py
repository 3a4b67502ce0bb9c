"""What a pack trains on: batches of images on the device, and the random numbers of an epoch in bulk."""

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from rdbench.datasets import Dataset, Split
from rdbench.numerics.seeding import generator
from rdbench.spec.plan import Trial, steps_per_epoch
from rdbench.vae import augment

RESIDENT_SHARE = 0.4  # of a GPU's free memory that a dataset may fill
PREFETCHED = 3  # batches that are read ahead of the GPU
HOST = torch.device("cpu")
_END = object()

T = TypeVar("T")


class Images:
    """The images of one split as batches on a device.

    On a CPU the memory map is read in place, so workers on one machine share one copy. A GPU holds the whole
    split where it fits, once for all that reads it; else a thread reads the memory map ahead.
    """

    _on_device: ClassVar[weakref.WeakKeyDictionary[Split, Tensor]] = weakref.WeakKeyDictionary()

    def __init__(self, split: Split, device: torch.device) -> None:
        self._array = split.images
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda":
            self._resident = self._on_device.get(split)
            room = RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
            if self._resident is None and self._array.nbytes <= room:
                self._resident = self._on_device[split] = torch.tensor(self._array, device=device)

    def __len__(self) -> int:
        return len(self._array)

    def batch(self, index: Tensor) -> Tensor:
        """Return images (len(index), channels, height, width), float32."""
        return as_float(self._pixels(index))

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each index tensor, in their own type, (len(index), channels, height, width)."""
        if self._resident is None and self._device.type == "cuda":
            host = ahead(lambda: (self._gather(index).pin_memory() for index in indices), PREFETCHED)
            return (pixels.to(self._device, non_blocking=True) for pixels in host)
        return (self._pixels(index) for index in indices)

    def _pixels(self, index: Tensor) -> Tensor:
        if self._resident is not None:
            return self._resident[index.to(self._device)]
        return self._gather(index).to(self._device)

    def _gather(self, index: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._array[index.cpu().numpy()]))

    @property
    def index_device(self) -> torch.device:
        """Where indices are best kept: beside the images."""
        return torch.device("cpu") if self._resident is None else self._device


def as_float(pixels: Tensor) -> Tensor:
    """Return uint8 pixels in [0, 1], and float images as they are."""
    if pixels.dtype == torch.uint8:
        return pixels.to(torch.float32).div_(255)
    return pixels


def on_host(values: Tensor) -> Tensor:
    """Return values on the host; all reading of the device goes through here, as it waits for it."""
    return values.cpu()


def channels_last(images: Tensor) -> Tensor:
    """Return images (batch, channels, height, width) in the memory order that the networks are fastest in.

    One channel is contiguous in either order, so torch's conversion leaves its strides alone. But a
    convolution chooses the order of its result by them: half of the first block would get the other one.
    """
    if images.shape[1] == 1:
        return images.reshape(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)
    return images.contiguous(memory_format=torch.channels_last)


def ahead(items: Callable[[], Iterator[T]], depth: int) -> Iterator[T]:
    """Yield what ``items()`` yields, made by a thread that runs at most ``depth`` items ahead.

    An exception in the thread is raised here; the thread ends when this iterator is closed.
    """
    made = items()
    pool = ThreadPoolExecutor(1, thread_name_prefix="rdbench-prefetch")
    try:
        pending = deque(pool.submit(next, made, _END) for _ in range(depth))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, made, _END))
            yield cast(T, item)
    finally:
        pool.shutdown(cancel_futures=True)


class Draws:
    """The order, noise and augmentation of a pack's training, from generators of each member's seed.

    Members of one seed see the same images with the same noise, as they would alone; so these are drawn,
    gathered and augmented once for each *seed*, and for each exactly as of a trial alone.
    """

    def __init__(self, pack: Sequence[Trial], data: Dataset, device: torch.device) -> None:
        self.steps = steps_per_epoch(len(data.train.images), pack[0].train.batch_size)
        self.seeds = list(dict.fromkeys(trial.seed for trial in pack))
        self._images = Images(data.train, device)
        # Their states are what the next epoch starts from.
        self.generators = {
            f"{purpose}/{seed}": generator(seed, purpose, where)
            for purpose, where in (("order", HOST), ("noise", device), ("augment", device))
            for seed in self.seeds
        }
        self._kind = data.augmentation if pack[0].train.augment else "none"
        self._size, self._latent = data.shape[1:], pack[0].model.latent
        self._batch, self._device = pack[0].train.batch_size, device

    def _of(self, purpose: str) -> list[torch.Generator]:
        return [self.generators[f"{purpose}/{seed}"] for seed in self.seeds]

    def epoch(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield each step's inputs, for :meth:`batches`: pixels as stored (batch, channels, height, width) of
        each seed, then parameters of their augmentation (batch, ...), then noise (batch, latent).
        """
        count = self.steps * self._batch
        orders = [torch.randperm(len(self._images), generator=g)[:count] for g in self._of("order")]
        noise = [
            torch.randn(count, self._latent, generator=g, device=self._device) for g in self._of("noise")
        ]
        parameters = [augment.draw(self._kind, count, *self._size, g) for g in self._of("augment")]
        where = self._images.index_device
        index = zip(*(order.to(where).split(self._batch) for order in orders), strict=True)
        # The seeds' batches are read in turns, by one thread.
        pixels = self._images.stream(itertools.chain.from_iterable(index))
        drawn = [values.split(self._batch) for values in (*parameters, *noise)]
        for of_step in zip(*drawn, strict=True):
            read = [next(pixels) for _ in self.seeds]
            yield (*read, *of_step)

    def batches(self, inputs: Sequence[Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
        """Return by seed the images, float32 (batch, channels, height, width), and the noise of a step."""
        seeds = len(self.seeds)
        return {
            seed: (channels_last(augment.apply(self._kind, as_float(pixels), parameters)), noise)
            for seed, pixels, parameters, noise in zip(
                self.seeds, inputs[:seeds], inputs[seeds : 2 * seeds], inputs[2 * seeds :], strict=True
            )
        }
