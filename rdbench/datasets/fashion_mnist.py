"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes in MNIST's format, 1x28x28 (Xiao et al. 2017)."""

from rdbench.datasets import idx
from rdbench.datasets.torchvision_files import info

INFO = info(
    "fashion_mnist",
    "60,000 + 10,000 pictures of clothes, 1x28x28",
    torchvision_class="FashionMNIST",
    folder="FashionMNIST/raw",
    files=idx.FILES,
    shape=(1, 28, 28),
    default_model={"latent": 32, "channels": [32, 64, 128]},
    augmentation="rotate_crop",
    sizes=(60_000, 10_000),
    read=idx.read,
    packed=idx.PACKED,
)
