"""The difference of two means over seeds, with its interval and test: paired where the seeds are the same.

Trials of one seed share initial weights, the order of images and the noise, whatever their variant and beta,
so pairing them takes out what a lucky seed adds to both.

Seeds that do not differ at all, as counts and shares often do, say nothing of how others would: no test can
be made of them, and a difference between two such means is not shown, however large.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr, stdtrit

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
    (first, one), (second, other) = (_mean_and_error(list(own.values())) for own in (before, after))
    if one is None or other is None:
        return Difference(second - first, None, "none", None, "a single seed on a side has no interval")
    test: Test = "paired t" if before.keys() == after.keys() else "Welch's t"
    if test == "paired t":
        mean, own = _mean_and_error([after[seed] - before[seed] for seed in before])
        error, freedom = own or 0.0, len(before) - 1.0
    else:
        mean, error = second - first, math.hypot(one, other)
        shares = (one / error, other / error) if error else (0.0, 0.0)
        parts = shares[0] ** 4 / (len(before) - 1) + shares[1] ** 4 / (len(after) - 1)
        freedom = 1 / parts if parts else 1.0
    nothing = ROUNDING * max(map(abs, (*before.values(), *after.values())))
    if error <= nothing:
        if abs(mean) <= nothing:
            return Difference(mean, 0.0, test, 1.0)
        return Difference(mean, None, "none", None, "nothing varies from seed to seed, so it has no interval")
    p = float(2 * stdtr(freedom, -abs(mean) / error))
    return Difference(mean, float(stdtrit(freedom, 0.975)) * error, test, p)


def _mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None for a single value."""
    n = len(values)
    size = max(map(abs, values)) or 1.0  # else the square of a huge value overflows before it is divided
    mean = math.fsum(value / size for value in values) / n
    if n == 1:
        return values[0], None
    squares = math.fsum((value / size - mean) ** 2 for value in values) / (n - 1) / n
    return mean * size, math.sqrt(squares) * size
