"""MNIST and what is published like it: IDX files, as they are or as .gz, of 28x28 grey images."""

import gzip
from pathlib import Path

import numpy as np

from rdbench.datasets.base import DatasetInfo, RawSplit
from rdbench.datasets.torchvision_files import TorchvisionFiles

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PACKED = ".gz"


def info(name: str, summary: str, torchvision_class: str) -> DatasetInfo:
    """Return the dataset of a torchvision class that has MNIST's format and sizes."""
    files = TorchvisionFiles(name, torchvision_class, f"{torchvision_class}/raw", FILES, _read, PACKED)
    return DatasetInfo(
        name=name,
        summary=summary,
        shape=lambda options: (1, 28, 28),
        default_model=lambda options: {"latent": 32, "channels": [32, 64, 128]},
        augmentation=lambda options: "rotate_crop",
        sizes=(60_000, 10_000),
        source=files.source,
        download=files.download,
    )


def _read(folder: Path) -> tuple[RawSplit, RawSplit]:
    """Return (train, test); nothing is unpacked on the disk."""
    train_images, train_labels, test_images, test_labels = (_array(folder / file) for file in FILES)
    return (
        RawSplit.from_arrays(train_images[:, None], train_labels.astype(np.int64)),
        RawSplit.from_arrays(test_images[:, None], test_labels.astype(np.int64)),
    )


def _array(path: Path) -> np.ndarray:
    """Return images (N, H, W) or labels (N,), uint8. Raises OSError, EOFError, zlib.error, ValueError."""
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
