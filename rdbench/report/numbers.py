"""How the report writes numbers. A missing number is an en dash, never 0."""

import math
from dataclasses import dataclass

from rdbench.text import counted

count = counted


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds; ``half_width`` of its 95% t-interval is None for a single seed."""

    mean: float
    half_width: float | None
    n: int


ABSENT = "–"


def number(value: float | None, decimals: int | None = None) -> str:
    """Write a number: with ``decimals``, or with about four significant digits and never fewer units.

    >>> number(-1234.56), number(0.012345), number(None)
    ('−1,234.6', '0.01235', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if decimals is None:
        size = abs(value)
        if size and not 1e-4 <= size < 1e9:
            return f"{value:.3e}".replace("-", "−")
        # One decimal at least: differences of some tenths of a nat are what ELBO tables are read for.
        decimals = max(1, 3 - math.floor(math.log10(size))) if size else 0
    text = f"{value:,.{decimals}f}"
    # Rounding may leave a negative zero.
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def interval(estimate: Estimate | None) -> str:
    """Write mean ± half-width with two significant digits of the latter; a single value without."""
    if estimate is None:
        return ABSENT
    half = estimate.half_width
    if not half:
        return number(estimate.mean) + ("" if half is None else " ± 0")
    decimals = max(0, 1 - math.floor(math.log10(half)))
    if decimals > 6:
        return f"{number(estimate.mean)} ± {number(half)}"
    return f"{number(estimate.mean, decimals)} ± {number(half, decimals)}"


def plain(value: float) -> str:
    """Write a setting such as beta as it would be typed: 0.01, 1, 100, 1e-05."""
    return f"{value:g}"


def seconds(value: float | None) -> str:
    """Write a duration in the unit that suits it."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value < 120:
        return f"{number(value, 1)} s"
    return f"{number(value / 60, 1)} min" if value < 7200 else f"{number(value / 3600, 1)} h"
