"""scikit-learn's handwritten digits (Alpaydin & Kaynak 1998): real data that need no download, 1x8x8."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rdbench.datasets.base import DatasetInfo, RawSplit, Source
from rdbench.errors import DatasetError

TRAIN_IMAGES = 1437  # of 1,797: scikit-learn publishes no split, so this one is fixed here, 80 to 20


def _file() -> Path:
    """Return scikit-learn's file; to have scikit-learn read it would import it, for most of a second."""
    spec = find_spec("sklearn")
    file = Path(spec.origin if spec and spec.origin else "").parent / "datasets/data/digits.csv.gz"
    if not file.is_file():
        raise DatasetError(
            f"digits come with scikit-learn, as {file}: it is not there; pip install scikit-learn"
        )
    return file


def _read() -> tuple[RawSplit, RawSplit]:
    table = np.loadtxt(_file(), delimiter=",")  # 64 pixels of 0..16, and the digit
    images = np.round(table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
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
