"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes in MNIST's format, 1x28x28 (Xiao et al. 2017)."""

from rdbench.datasets import idx

INFO = idx.info("fashion_mnist", "60,000 + 10,000 pictures of clothes, 1x28x28", "FashionMNIST")
