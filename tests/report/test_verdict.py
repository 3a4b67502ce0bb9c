"""Verdicts: four values, one correction over all that have a test, and the weakest comparison decides."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.verdict import Finding, every, judge


def test_the_four_verdicts_and_their_reasons():
    findings = [
        Finding(True, 0.001), Finding(True, 0.3), Finding(True, None, reason="a single seed"),
        Finding(False, 0.001), Finding(False, 0.3), Finding(False, None, reason="a single seed"),
        Finding(None, reason="no FID"),
    ]  # fmt: skip
    assert [(each.verdict, each.reason) for each in judge(findings)] == [
        ("held", "shown over seeds"),
        ("in the mean only", "the seeds do not show it"),
        ("in the mean only", "no test: a single seed"),
        ("did not hold", "its opposite is shown over seeds"),
        ("did not hold", "the means say the opposite, which the seeds do not show"),
        ("did not hold", "no test: a single seed"),
        ("not tested", "no FID"),
    ]


def test_the_correction_is_holms_over_the_findings_that_have_a_test_in_their_order():
    # 0.01 x 3, 0.02 x 2, 0.04 x 1: Holm, Scandinavian Journal of Statistics 6, 1979.
    findings = [Finding(True, 0.04), Finding(None), Finding(False, 0.01), Finding(True), Finding(True, 0.02)]
    assert [each.p for each in judge(findings)] == [pytest.approx(0.04), None, pytest.approx(0.03), None,
                                                    pytest.approx(0.04)]  # fmt: skip
    # Benjamini and Hochberg's, which controls another rate, would say 0.04, 0.03 and 0.03.
    assert false_discovery_control([0.04, 0.01, 0.02])[2] != pytest.approx(0.04)


def test_a_level_of_five_per_cent_is_of_two_sides_as_the_interval_beside_it():
    # t = 2.5 of four degrees of freedom: p = 0.067 of two sides, 0.033 of one; the interval holds zero.
    off = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    before = dict.fromkeys(range(5), 0.0)
    after = dict(enumerate(off + 2.5 * off.std(ddof=1) / np.sqrt(5)))
    agrees, p, _ = every({1.0: difference(before, after)})
    assert agrees
    assert p == pytest.approx(ttest_rel([*after.values()], [*before.values()]).pvalue)
    assert 0.05 < p < 0.1
    assert judge([Finding(agrees, p)])[0].verdict == "in the mean only"


def lead(mean, p, reason=""):
    return Difference(mean, None, "paired t", p, reason)


def test_the_weakest_of_all_comparisons_decides():
    leads = {1.0: lead(9.0, 0.001), 2.0: lead(5.0, 0.4), 3.0: lead(1.0, 0.01)}
    assert every(leads) == (True, 0.4, "")


def test_of_contrary_comparisons_the_clearest_counts_times_their_number():
    leads = {1.0: lead(9.0, 0.001), 2.0: lead(-5.0, 0.01), 3.0: lead(-1.0, 0.3)}
    assert every(leads) == (False, pytest.approx(0.03), "")
    assert every({1.0: lead(0.0, 1.0)}) == (False, 1.0, "")


def test_one_comparison_without_a_test_leaves_the_claim_without_one():
    leads = {1.0: lead(9.0, 0.001), 2.0: lead(5.0, None, "a single seed")}
    assert every(leads) == (True, None, "a single seed")
    assert every({1.0: lead(-9.0, None, "a single seed")}) == (False, None, "a single seed")
