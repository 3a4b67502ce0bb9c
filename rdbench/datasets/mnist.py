"""MNIST: 60,000 + 10,000 handwritten digits, 1x28x28 (LeCun et al. 1998, "Gradient-based learning")."""

from rdbench.datasets.torchvision_files import info

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

INFO = info(
    "mnist",
    "60,000 + 10,000 handwritten digits, 1x28x28",
    torchvision_class="MNIST",
    folder="MNIST/raw",
    files=IDX_FILES,
    shape=(1, 28, 28),
    default_model={"latent": 32, "channels": [32, 64, 128]},
    augmentation="rotate_crop",
    sizes=(60_000, 10_000),
)
