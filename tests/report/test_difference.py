"""The difference of two means over seeds has the interval and p-value of scipy's t-tests."""

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from rdbench.report.statistics.difference import difference


@pytest.mark.parametrize("size", [1e-200, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("one", "other"), [(2, 2), (5, 5), (3, 7)])
def test_interval_and_p_are_those_of_scipy_to_nine_digits(one, other, size):
    random = np.random.default_rng(one + other)
    for paired in {one == other, False}:
        for _ in range(20):
            before, after = random.normal(size=one), random.normal(0.5, 2, size=other)
            truth = ttest_rel(after, before) if paired else ttest_ind(after, before, equal_var=False)
            low, high = truth.confidence_interval(0.95)
            seeds = range(one) if paired else range(100, 100 + other)
            found = difference(dict(enumerate(before * size)), dict(zip(seeds, after * size, strict=True)))
            assert found.test == ("paired t" if paired else "Welch's t")
            assert found.p == pytest.approx(truth.pvalue, rel=1e-9)
            assert found.half_width == pytest.approx((high - low) / 2 * size, rel=1e-9)
            assert found.mean == pytest.approx((high + low) / 2 * size, rel=1e-9, abs=1e-12 * size)
