"""MNIST: 60,000 + 10,000 handwritten digits, 1x28x28 (LeCun et al. 1998, "Gradient-based learning")."""

from rdbench.datasets import idx

INFO = idx.info("mnist", "60,000 + 10,000 handwritten digits, 1x28x28", "MNIST")
