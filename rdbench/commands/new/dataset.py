"""my_data: in a line, what it holds.

Here: grey images of a ring each, of random radius and place, in as many classes as there are radii.
"""

from collections.abc import Iterator

import numpy as np


def my_data(*, count: int = 2000, size: int = 16, radii: int = 4) -> Iterator[tuple[np.ndarray, int]]:
    """Rings of a few radii at random places.

    Args:
        count: how many images.
        size: height and width, pixels.
        radii: how many radii, which are the classes.
    """
    # Instead of yielding (image, label) one by one a dataset may return a pair of arrays (images, labels), a
    # torch Dataset, or {"train": ..., "test": ...} of either; else a tenth is held out for testing
    # (test_fraction). With a parameter named split it is called with "train", then "test". Images are
    # (height, width), (channels, height, width) or (height, width, channels), with 1 or 3 channels, of one
    # size; uint8 of 0 to 255, or floats of 0 to 1, which are rounded to 256 levels. Labels are whole numbers,
    # or left out.
    #
    # It is run once, and a copy kept: an edit of this file, or another option, makes it another dataset.
    # Options stand after the *, with a type (int, float, bool, str) and a default; a sweep sets them by
    # dataset: {name: ./my_data.py:my_data, size: 32, test_fraction: 0.2, augment: flip}.
    random = np.random.default_rng(0)  # with a seed: every machine must get the same images
    y, x = np.mgrid[:size, :size]
    for _ in range(count):
        label = int(random.integers(radii))
        radius = size / 8 * (1 + label * 2 / radii)
        centre_y, centre_x = random.uniform(size / 4, 3 * size / 4, 2)
        distance = np.hypot(y - centre_y, x - centre_x) - radius
        yield np.round(255 * np.exp(-(distance**2))).astype(np.uint8), label
