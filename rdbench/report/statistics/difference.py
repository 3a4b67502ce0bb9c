"""The difference of two means over seeds, with its interval and test: paired where the seeds are the same.

Trials of one seed share initial weights, the order of images and the noise, whatever their variant and beta,
so pairing them takes out what a lucky seed adds to both. Where seeds do not differ at all, as counts and
shares often do, nothing is known of the spread: there is no test, however large the difference.

``scipy.stats.ttest_rel`` and ``ttest_ind`` give the same numbers, and the tests compare with them. They are
not used here for their time: the report of 1,000 trials makes 1,900 tests, at half a millisecond each, and
importing ``scipy.stats`` takes a second. With them the report takes 4.3 s of CPU time instead of 2.9 s
(medians of five, alternating).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr

from rdbench.report.statistics.curves import mean_and_error, t_quantile

Test = Literal["paired t", "Welch's t", "none"]

ROUNDING = 1e-12
"""Of the largest value: what is smaller comes from adding them up."""


@dataclass(frozen=True)
class Difference:
    """What is known of a difference of means.

    Attributes:
        mean: of the second sample less that of the first.
        half_width: of its 95% interval; None without a test.
        test: what the interval and ``p`` come from; "none" where the spread of seeds is not known.
        p: two-sided; None without a test.
        reason: why there is no test; "" where there is one.
    """

    mean: float
    half_width: float | None
    test: Test
    p: float | None
    reason: str = ""


def difference(before: Mapping[int, float], after: Mapping[int, float]) -> Difference:
    """Return the difference of the means of two samples of finite values, seed -> value, neither empty.

    With the same two seeds or more on both sides, interval and p-value are those of the paired t-test, seed
    by seed; else of Welch's. There is no test where a side has a single seed, nor where the means differ and
    nothing varies from seed to seed (paired: no seed's difference from another's). Equal values on both sides
    do not differ: p = 1, at a half-width of 0.
    """
    (first, first_error), (second, second_error) = (mean_and_error([*s.values()]) for s in (before, after))
    if first_error is None or second_error is None:
        return Difference(second - first, None, "none", None, "a single seed on a side has no interval")
    test: Test = "paired t" if before.keys() == after.keys() else "Welch's t"
    if test == "paired t":
        mean, paired_error = mean_and_error([after[seed] - before[seed] for seed in before])
        error, freedom = paired_error or 0.0, len(before) - 1.0
    else:
        mean, error = second - first, math.hypot(first_error, second_error)
        shares = (first_error / error, second_error / error) if error else (0.0, 0.0)
        parts = shares[0] ** 4 / (len(before) - 1) + shares[1] ** 4 / (len(after) - 1)
        freedom = 1 / parts if parts else 1.0
    rounding = ROUNDING * max(map(abs, (*before.values(), *after.values())))
    if error <= rounding:
        if abs(mean) <= rounding:
            return Difference(mean, 0.0, test, 1.0)
        return Difference(mean, None, "none", None, "nothing varies from seed to seed, so it has no interval")
    p = float(2 * stdtr(freedom, -abs(mean) / error))
    return Difference(mean, t_quantile(freedom) * error, test, p)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): all those <= 0.05 hold together at 5%."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted
