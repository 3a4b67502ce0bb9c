"""MNIST: 60,000 + 10,000 handwritten digits, 1x28x28 (LeCun et al. 1998, "Gradient-based learning")."""

from rdbench.datasets import idx
from rdbench.datasets.torchvision_files import info

INFO = info(
    "mnist",
    "60,000 + 10,000 handwritten digits, 1x28x28",
    torchvision_class="MNIST",
    folder="MNIST/raw",
    files=idx.FILES,
    shape=(1, 28, 28),
    default_model={"latent": 32, "channels": [32, 64, 128]},
    augmentation="rotate_crop",
    sizes=(60_000, 10_000),
    read=idx.read,
    packed=idx.PACKED,
)
