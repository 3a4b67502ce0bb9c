"""No change moves a curve unnoticed."""

import json

import pytest
from expected_values import EXPECTED, measured

# Processors round differently. Affine networks pass that on as it is, and tell a learning rate that is 1%
# off; convolutions with BatchNorm amplify it within a dozen steps, to 2.5% of a rate between AVX2, SSE and
# AVX-512: Adam's first steps go by the sign of a gradient, and that of a bias before BatchNorm is rounding.
TOLERANCE = {"linear": 1e-4, "conv": 5e-2}


def test_small_trials_land_where_they_did():
    expected, found = json.loads(EXPECTED.read_text()), measured()
    assert found.keys() == expected.keys()
    for point, values in expected.items():
        within = TOLERANCE["conv" if point.startswith("digits_conv") else "linear"]
        for column, value in values.items():
            near = value if value is None else pytest.approx(value, rel=within, abs=within / 2)
            assert found[point][column] == near, f"{point}: {column}: was it meant? see expected_values.py"
