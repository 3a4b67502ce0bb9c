"""MNIST's file format, IDX, as it is or as .gz; Fashion-MNIST is published in it too."""

import gzip
from pathlib import Path

import numpy as np

from rdbench.datasets.base import RawSplit

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKED = ".gz"


def read(root: Path, folder: Path) -> tuple[RawSplit, RawSplit]:
    """Return (train, test) of the files in ``folder``; nothing is unpacked on the disk.

    Raises OSError, EOFError, zlib.error, ValueError: a file is damaged.
    """
    train_images, train_labels, test_images, test_labels = (_array(folder / file) for file in FILES)
    return (
        RawSplit.from_arrays(train_images[:, None], train_labels.astype(np.int64)),
        RawSplit.from_arrays(test_images[:, None], test_labels.astype(np.int64)),
    )


def _array(path: Path) -> np.ndarray:
    """Return the bytes of a file: images (N, H, W) or labels (N,), uint8."""
    if path.is_file():
        content = path.read_bytes()
    else:
        content = gzip.decompress(path.with_name(path.name + PACKED).read_bytes())
    dimensions = 3 if "idx3" in path.name else 1
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < start:
        raise ValueError(f"{path.name} is no IDX file of bytes in {dimensions} dimensions")
    shape = np.frombuffer(content, ">u4", dimensions, 4).astype(np.int64)
    if len(content) != start + shape.prod():
        raise ValueError(f"{path.name} has {len(content)} bytes instead of {start + shape.prod()}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
