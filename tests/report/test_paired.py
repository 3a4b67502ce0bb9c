"""Paired differences between variants rest on the same images, and their errors are smaller for it."""

import math

import numpy as np
import pandas as pd
import pytest

from rdbench.report.sections import Section
from rdbench.report.tables.paired import paired_differences, table

N = 10


def frames(measured):
    """Build the two tables from {(variant, beta, seed): (sse of each image, rate of each image)}."""
    per_image, points = [], []
    for (variant, beta, seed), (sse, rate) in measured.items():
        key = {"variant": variant, "beta": beta, "seed": seed}
        per_image += [
            key | {"index": i, "sse": s, "rate": r} for i, (s, r) in enumerate(zip(sse, rate, strict=True))
        ]
        points.append(
            key
            | {"split": "test", "reading": "half", "sse": np.mean(sse), "mse": np.mean(sse) / N, "elbo": 0.0}
        )
    return pd.DataFrame(per_image), pd.DataFrame(points)


def test_a_difference_is_taken_image_by_image():
    measured = {("a", 1.0, 0): ([1.0, 5.0, 9.0], [1.0] * 3), ("b", 1.0, 0): ([0.5, 4.0, 8.7], [2.0] * 3)}
    (difference,) = paired_differences(*frames(measured), "half")
    # at sigma^2 = 1/2 the ELBO is -(sse + rate) and a constant: b - a is 0.5 - 1, 1 - 1, 0.3 - 1
    values = np.array([-0.5, 0.0, -0.7])
    assert (difference.variant, difference.baseline, difference.images, difference.seeds) == ("b", "a", 3, 1)
    assert difference.mean == pytest.approx(values.mean())
    assert difference.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(3))
    spread = math.hypot(np.std([1, 5, 9], ddof=1), np.std([0.5, 4, 8.7], ddof=1))
    assert difference.independent == pytest.approx(spread / math.sqrt(3))
    assert difference.standard_error < difference.independent / 10


def test_the_order_of_rows_does_not_matter():
    measured = {("a", 1.0, 0): ([1.0, 5.0, 9.0], [1.0] * 3), ("b", 1.0, 0): ([0.5, 4.0, 8.7], [2.0] * 3)}
    per_image, points = frames(measured)
    shuffled = per_image.sample(frac=1, random_state=1)
    assert paired_differences(shuffled, points, "half") == paired_differences(per_image, points, "half")


def test_an_images_elbo_is_its_mean_over_the_seeds_both_have():
    one, two = ([1.0, 5.0], [1.0, 1.0]), ([3.0, 6.0], [1.0, 1.0])
    measured = {
        ("a", 1.0, 0): one,
        ("a", 1.0, 1): two,
        ("a", 1.0, 2): one,
        ("b", 1.0, 0): two,
        ("b", 1.0, 1): two,
    }
    (difference,) = paired_differences(*frames(measured), "half")
    assert difference.seeds == 2
    assert difference.mean == pytest.approx(np.mean([-1.0, -0.5]))


def test_only_equal_betas_and_equal_images_are_compared():
    three, two = ([1.0, 5.0, 9.0], [1.0] * 3), ([1.0, 5.0], [1.0] * 2)
    assert paired_differences(*frames({("a", 1.0, 0): three, ("b", 2.0, 0): three}), "half") == []
    assert paired_differences(*frames({("a", 1.0, 0): three, ("b", 1.0, 0): two}), "half") == []
    assert paired_differences(*frames({("a", 1.0, 0): three, ("b", 1.0, 1): three}), "half") == []


def test_under_beta_half_only_variants_whose_loss_is_sse_and_beta_rate_are_paired():
    images = ([1.0, 5.0, 9.0], [1.0] * 3)
    per_image, points = frames({(name, 1.0, 0): images for name in ("a", "b", "c")})
    points = pd.concat([points.assign(reading=reading) for reading in ("half", "beta_half")])
    points["native"], points["beta_rate"] = points["reading"] == "half", points["variant"] != "c"
    own = Section({}, None, ("half", "beta_half"), points, per_image=per_image)
    pairs = {reading: [row[1].text for row in table(own, reading).rows] for reading in own.readings}
    assert pairs == {"half": ["b − a", "c − a", "c − b"], "beta_half": ["b − a"]}
