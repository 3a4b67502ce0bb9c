"""scikit-learn's handwritten digits (Alpaydin & Kaynak 1998): real data that need no download, 1x8x8."""

import numpy as np

from rdbench.datasets.base import DatasetInfo, RawSplit, Source

TRAIN_IMAGES = 1437  # of 1,797: scikit-learn publishes no split, so this one is fixed here, 80 to 20


def _read() -> tuple[RawSplit, RawSplit]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[:, None]  # published as 0..16
    labels = data.target.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(images))
    indices = order[:TRAIN_IMAGES], order[TRAIN_IMAGES:]
    train, test = (RawSplit.from_arrays(images[index], labels[index]) for index in indices)
    return train, test


INFO = DatasetInfo(
    name="digits",
    summary="1,437 + 360 small handwritten digits, 1x8x8; comes with scikit-learn",
    shape=lambda options: (1, 8, 8),
    default_model=lambda options: {"latent": 8, "channels": [32, 64]},
    augmentation=lambda options: "none",
    sizes=(TRAIN_IMAGES, 1797 - TRAIN_IMAGES),
    source=lambda options, root: Source({}, _read),
)
