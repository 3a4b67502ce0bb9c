"""The error of the mean image: what a model without any information about its input can reach."""

import math

import numpy as np

from rdbench.datasets.base import Dataset

_CHUNK = 4096  # images at a time, so that memory stays bounded


_known: dict[str, float] = {}
"""By the checksum of a dataset."""


def mean_image_mse(data: Dataset) -> float:
    """Return the mean squared error of the training images' mean on the test images, of a value.

    8-bit images are taken in [0, 1], as models see them. Remembered by the data's checksum.
    """
    if data.checksum not in _known:
        _known[data.checksum] = _measured(data)
    return _known[data.checksum]


def _measured(data: Dataset) -> float:
    train, test = data.train.images, data.test.images
    scale = 255.0 if train.dtype == np.uint8 else 1.0
    total = np.zeros(train.shape[1:])
    for start in range(0, len(train), _CHUNK):
        total += train[start : start + _CHUNK].sum(0, dtype=np.float64)
    mean = total / len(train)
    squared = sum(
        float(((test[start : start + _CHUNK] - mean) ** 2).sum()) for start in range(0, len(test), _CHUNK)
    )
    return squared / (len(test) * math.prod(data.shape) * scale**2)
