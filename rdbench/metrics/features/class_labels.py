"""Whether a dataset can train a classifier: asked before anything is trained, so without torch."""

import numpy as np
import numpy.typing as npt

from rdbench.datasets import Dataset
from rdbench.errors import DatasetError

Labels = npt.NDArray[np.int64]


def find_classes(data: Dataset) -> Labels:
    """Return the training labels that occur, sorted. Raises DatasetError if no classifier can be trained."""
    fix = "leave out what needs one"
    if data.train.labels is None or data.test.labels is None:
        raise DatasetError(f"{data.name} has no labels to train a classifier on; {fix}")
    classes: Labels = np.unique(data.train.labels)
    if len(classes) < 2:
        raise DatasetError(f"{data.name} has one class only, and a classifier needs two or more; {fix}")
    if data.train.images.dtype != np.uint8:
        kind = data.train.images.dtype
        raise DatasetError(f"{data.name}: a classifier takes uint8 images, not {kind}; {fix}")
    return classes
