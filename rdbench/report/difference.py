"""The difference of two means over seeds, with its interval and test: paired where the seeds are the same.

Trials of one seed share initial weights, the order of images and the noise, whatever their variant and beta,
so pairing them takes out what a lucky seed adds to both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtr, stdtrit

Test = Literal["paired t", "Welch's t", "none"]


@dataclass(frozen=True)
class Difference:
    """What is known of a difference of means.

    Attributes:
        mean: of the second sample less that of the first.
        half_width: of its 95% interval; None where a side has a single seed.
        test: what the interval and ``p`` come from; "none" where a side has a single seed.
        p: two-sided; None without a test.
    """

    mean: float
    half_width: float | None
    test: Test
    p: float | None


def difference(before: Mapping[int, float], after: Mapping[int, float]) -> Difference:
    """Return the difference of the means of two samples of finite values, seed -> value, neither empty.

    With the same two seeds or more on both sides, interval and p-value are those of the paired t-test, seed
    by seed; else of Welch's.
    """
    (first, one), (second, other) = (_mean_and_error(list(own.values())) for own in (before, after))
    if one is None or other is None:
        return Difference(second - first, None, "none", None)
    test: Test = "paired t" if before.keys() == after.keys() else "Welch's t"
    if test == "paired t":
        mean, own = _mean_and_error([after[seed] - before[seed] for seed in before])
        error, freedom = own or 0.0, len(before) - 1.0
    else:
        mean, error = second - first, math.hypot(one, other)
        shares = (one / error, other / error) if error else (0.0, 0.0)
        parts = shares[0] ** 4 / (len(before) - 1) + shares[1] ** 4 / (len(after) - 1)
        freedom = 1 / parts if parts else 1.0
    if not error:
        return Difference(mean, 0.0, test, 0.0 if mean else 1.0)
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
