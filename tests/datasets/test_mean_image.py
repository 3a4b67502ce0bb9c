"""The error of the mean image is that of a prediction which knows nothing of its input."""

import numpy as np
import pytest

from rdbench.datasets.base import Dataset, Split
from rdbench.datasets.mean_image import mean_image_mse


@pytest.mark.parametrize(("kind", "scale"), [(np.uint8, 255.0), (np.float32, 1.0)])
def test_it_is_the_mean_squared_distance_of_test_images_from_the_training_mean(kind, scale):
    draws = np.random.default_rng(0)
    train, test = ((draws.random((n, 1, 3, 2)) * 200).astype(kind) for n in (5000, 70))
    splits = (Split(images, None) for images in (train, test))
    data = Dataset("made_up", *splits, checksum=f"mean image {kind}", augmentation="none", shape=(1, 3, 2))
    mean = (train.astype(float) / scale).mean(0)
    expected = np.mean([(image.astype(float) / scale - mean) ** 2 for image in test])
    assert mean_image_mse(data) == pytest.approx(expected, rel=1e-12)
