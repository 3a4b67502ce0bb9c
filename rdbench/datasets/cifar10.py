"""CIFAR-10: 50,000 + 10,000 colour photographs, 3x32x32 (Krizhevsky 2009).

torchvision checks the MD5 of each file before it unpickles it.
"""

from rdbench.datasets.base import DatasetInfo
from rdbench.datasets.torchvision_files import TorchvisionFiles

_FILES = TorchvisionFiles(
    "cifar10",
    "CIFAR10",
    "cifar-10-batches-py",
    (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
)

INFO = DatasetInfo(
    name="cifar10",
    summary="50,000 + 10,000 colour photographs in ten classes, 3x32x32",
    shape=lambda options: (3, 32, 32),
    default_model=lambda options: {"latent": 64, "channels": [32, 64, 128]},
    augmentation=lambda options: "flip",
    sizes=(50_000, 10_000),
    source=_FILES.source,
    download=_FILES.download,
)
