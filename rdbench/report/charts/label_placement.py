"""Where a chart's labels go: beside their points, over no point or label, the roundest numbers first."""

import math
from collections.abc import Sequence

import numpy as np

from rdbench.report.numbers import plain
from rdbench.report.statistics.curves import Floats, evenly_spaced

# Where a label may stand from its point, the most wanted first.
CORNERS = ("right above", "left below", "right below", "left above")
# In fractions of a plot of 400 x 340 pixels, for text of 11 pixels. A narrower plot may show an overlap.
FEW = 10
CHARACTER, HEIGHT, NEAR_X, NEAR_Y, MARK = 0.016, 0.036, 0.018, 0.014, 0.008

Box = tuple[float, float, float, float]
Ranges = tuple[tuple[float, float], tuple[float, float]]


def domain(values: Sequence[float], *, log: bool = False, pad: float = 0.06) -> tuple[float, float]:
    """Return the range of an axis: that of the values, and a margin for marks and labels.

    Values that a logarithmic axis cannot show are left out; without any other the range is (0.1, 1).
    """
    shown = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not shown:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = (math.log10(v) if log else v for v in (min(shown), max(shown)))
    # Around a single value: a factor of two, or a tenth of its size.
    margin = pad * (high - low) or (0.3 if log else abs(low) / 10 or 1.0)
    return (10 ** (low - margin), 10 ** (high + margin)) if log else (low - margin, high + margin)


def short(beta: float) -> str:
    """Write a beta in three significant digits."""
    return f"β {plain(float(f'{beta:.3g}'))}"


def wanted(betas: Sequence[float]) -> set[float]:
    """Return the betas to label: all where they are few, else the powers of ten, else some, evenly spaced."""
    distinct = set(betas)
    if len(distinct) <= FEW:
        return distinct
    tens = {beta for beta in distinct if _roundness(beta)[0] == 0}
    return tens if len(tens) >= 3 else set(evenly_spaced(list(distinct), FEW))


def place(
    x: Sequence[float],
    y: Sequence[float],
    betas: Sequence[float],
    ranges: Ranges,
    *,
    log_x: bool,
    others: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> list[tuple[str, str] | None]:
    """Choose which points get a label of their beta: (text, corner) a point, None without room for one.

    Args:
        x, y, betas: of the points, in data units.
        ranges: of the two axes, from :func:`domain`.
        log_x: the x axis is logarithmic; a point at x <= 0 is not on it.
        others: x and y of marks that get no label, and that none may cover.
    """
    across = _fractions([*x, *others[0]], ranges[0], log=log_x)
    up = _fractions([*y, *others[1]], ranges[1], log=False)
    taken: list[Box] = []
    labels: list[tuple[str, str] | None] = [None] * len(x)
    labelled = wanted(betas)
    for index in sorted(range(len(x)), key=lambda i: _roundness(betas[i])):
        if betas[index] not in labelled or math.isnan(across[index]) or math.isnan(up[index]):
            continue
        text = short(betas[index])
        for corner in CORNERS:
            box = _box(float(across[index]), float(up[index]), corner, CHARACTER * len(text))
            if _free(box, across, up, taken):
                taken.append(box)
                labels[index] = (text, corner)
                break
    return labels


def _fractions(values: Sequence[float], span: tuple[float, float], *, log: bool) -> Floats:
    """Return positions as fractions of the axis; NaN for what is not on it."""
    array = np.asarray(values, float)
    array = np.where(np.isfinite(array) & ((array > 0) | (not log)), array, np.nan)
    low, high = span
    if log:
        array, low, high = np.log10(array), math.log10(low), math.log10(high)
    return np.asarray((array - low) / (high - low))


def _roundness(beta: float) -> tuple[int, float]:
    """Sort powers of ten first, then what takes few digits to write."""
    digits = f"{beta:.5e}".split("e")[0].rstrip("0").rstrip(".")
    return (0 if digits == "1" else len(digits)), beta


def _box(x: float, y: float, corner: str, width: float) -> Box:
    side, level = corner.split()
    left = x + NEAR_X if side == "right" else x - NEAR_X - width
    bottom = y + NEAR_Y if level == "above" else y - NEAR_Y - HEIGHT
    return left, bottom, left + width, bottom + HEIGHT


def _free(label: Box, x: Floats, y: Floats, taken: list[Box]) -> bool:
    """Tell whether a label fits into the plot and covers neither a point nor another label."""
    left, bottom, right, top = label
    if left < 0 or bottom < 0 or right > 1 or top > 1:
        return False
    near = (x > left - MARK) & (x < right + MARK) & (y > bottom - MARK) & (y < top + MARK)
    return not near.any() and not any(
        left < box[2] and box[0] < right and bottom < box[3] and box[1] < top for box in taken
    )
