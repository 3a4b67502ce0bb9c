"""A model that collapsed, or reconstructs worse than the mean image, is told from its row."""

import pytest

from rdbench.results.model_states import state


@pytest.mark.parametrize(
    ("rate", "mse", "mean_image", "expected"),
    [
        (0.009, 0.05, 0.06, "collapsed"),
        (0.009, 0.08, 0.06, "collapsed"),  # its decoder gives the mean image, nearly
        (0.011, 0.05, 0.06, None),
        (68385.0, 2.75, 0.06, "unstable"),
        (68385.0, 0.07, 0.06, "unstable"),
        (68385.0, 0.07, None, None),  # not known
        (68385.0, 0.26, None, "unstable"),  # no value in [0, 1] is farther than 1/2 from 1/2
        (None, 0.05, 0.06, None),  # a deterministic model
        (3.0, float("nan"), 0.06, None),
        (3.0, None, 0.06, None),
    ],
)
def test_a_state_is_told_by_rate_and_error(rate, mse, mean_image, expected):
    assert state(rate, mse, mean_image) == expected


def test_values_that_are_no_pixels_have_no_bound():
    assert state(3.0, 40.0, None, pixels=False) is None
    assert state(3.0, 40.0, 2.0, pixels=False) == "unstable"
