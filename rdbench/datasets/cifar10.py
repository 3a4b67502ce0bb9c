"""CIFAR-10: 50,000 + 10,000 colour photographs, 3x32x32 (Krizhevsky 2009).

torchvision checks the MD5 of each file before it unpickles it.
"""

from rdbench.datasets.torchvision_files import info

INFO = info(
    "cifar10",
    "50,000 + 10,000 colour photographs in ten classes, 3x32x32",
    torchvision_class="CIFAR10",
    folder="cifar-10-batches-py",
    files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
    shape=(3, 32, 32),
    default_model={"latent": 64, "channels": [32, 64, 128]},
    augmentation="flip",
    sizes=(50_000, 10_000),
)
