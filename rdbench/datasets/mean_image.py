"""The error of the mean image: what a model without any information about its input can reach."""

import functools
import math

import numpy as np

from rdbench.datasets.base import Dataset

_CHUNK = 4096  # images at a time, so that memory stays bounded


def mean_image_mse(data: Dataset) -> float:
    """Return the mean squared error of the training images' mean on the test images, of a value.

    8-bit images are taken in [0, 1], as models see them. Remembered by the data's checksum.
    """
    return _computed(_ByChecksum(data))


class _ByChecksum:
    """A dataset that equals another of the same checksum."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __hash__(self) -> int:
        return hash(self.data.checksum)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByChecksum) and self.data.checksum == other.data.checksum


@functools.lru_cache(maxsize=4)
def _computed(of: _ByChecksum) -> float:
    train, test = of.data.train.images, of.data.test.images
    scale = 255.0 if train.dtype == np.uint8 else 1.0
    total = np.zeros(train.shape[1:])
    for start in range(0, len(train), _CHUNK):
        total += train[start : start + _CHUNK].sum(0, dtype=np.float64)
    mean = total / len(train)
    squared = sum(
        float(((test[start : start + _CHUNK] - mean) ** 2).sum()) for start in range(0, len(test), _CHUNK)
    )
    return squared / (len(test) * math.prod(of.data.shape) * scale**2)
