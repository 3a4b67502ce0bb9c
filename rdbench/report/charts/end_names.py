"""Where the name of each curve stands: at its end where there is room, else beside the plot with its mark.

Nothing joins a name to its curve: a thin line would look like data.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from rdbench.report.charts.chart import Rows, rounded
from rdbench.report.charts.fit import Axis, Span, by_variant
from rdbench.report.statistics.curves import Floats
from rdbench.report.statistics.monotone import falling

MOST = 10  # curves that have room for their names
LENGTH = 24  # characters of a name
HEIGHT = 0.055  # of a name, as a fraction of the plot's height
CHARACTER = 0.0185  # the width of a character, as a fraction of the plot's width
PIXELS = 350.0  # the plot's height, for which shifts are given
GAP = 0.03  # from the end of a curve to its name, as a fraction of the width
SHIFTS = (0, -10, 10, -18, 18)  # up or down from the curve's end, pixels, the most wanted first
BESIDE = 0.8  # a curve that ends further to the right has its name beside the plot

Box = tuple[float, float, float, float]
"""Left, right, bottom and top, as fractions of the plot."""


def end_names(curves: Rows, points: Rows, name: str, axes: tuple[Axis, Axis], *, log: bool) -> Rows:
    """Return a row a curve: variant, text, its end (rate and ``name``), ``beside``, ``shift`` and ``place``.

    ``beside``: the name stands beside the plot, at ``place``, a fraction of its height from below; else at
    the curve's end, ``shift`` pixels below it, where it covers no curve, no point and no other name. Empty
    for more than :data:`MOST` curves, and for names that are alike once shortened.

    Args:
        curves: from :func:`~rdbench.report.charts.fit.curve_rows`.
        points: the marks: rate and ``name``.
        name: the field of the height.
        axes: of the rate and of the height.
        log: the axis of the rate is logarithmic.
    """
    ends = _ends(curves, name, *axes)
    if not 0 < len(ends) <= MOST or len({end["text"] for end in ends}) < len(ends):
        return []
    rates, heights = axes[0].fit, axes[1].fit
    inked = _fractions(_dense(curves, name) + [(row["rate"], row[name]) for row in points],
                       rates, heights, log)  # fmt: skip
    taken: list[Box] = []
    for end in ends:
        ((x, y),) = _fractions([(end["rate"], end[name])], rates, heights, log)
        shift = _free_shift(float(x), float(y), len(end["text"]), inked, taken)
        end |= {"beside": shift is None, "shift": shift or 0, "place": float(y)}
    beside = [end for end in ends if end["beside"]]
    for end, place in zip(beside, spread([end["place"] for end in beside], HEIGHT), strict=True):
        end["place"] = rounded(place, 4)
    for end in ends:
        end["place"] = rounded(end["place"], 4)
    return ends


def _ends(curves: Rows, name: str, rates: Axis, heights: Axis) -> Rows:
    """Return the last point of each curve that is within the axes, from the lowest upwards."""
    ends = []
    for variant, rows in by_variant(curves).items():
        if inside := [row for row in rows if rates.holds(row["rate"]) and heights.holds(row[name])]:
            end = max(inside, key=lambda row: row["rate"])
            text = variant if len(variant) <= LENGTH else f"{variant[: LENGTH - 1]}…"
            ends.append({"variant": variant, "text": text, "rate": end["rate"], name: end[name]})
    return sorted(ends, key=lambda end: float(end[name]))


def _dense(curves: Rows, name: str) -> list[tuple[float, float]]:
    """Return points of the curves so close that none passes between them through a name."""
    dense = []
    for rows in by_variant(curves).values():
        places = sorted((row["rate"], row[name]) for row in rows)
        for (r, h), (rate, height) in itertools.pairwise(places):
            dense += [(r + share * (rate - r), h + share * (height - h)) for share in np.linspace(0, 1, 9)]
    return dense


def _fractions(points: Sequence[tuple[float, float]], rates: Span, heights: Span, log: bool) -> Floats:
    """Return (x, y) of each point as fractions of the plot."""
    array = np.array(points, float).reshape(-1, 2)
    low, high = map(math.log10, rates) if log else rates
    if log:
        array[:, 0] = np.log10(np.maximum(array[:, 0], 1e-300))
    array[:, 0] = (array[:, 0] - low) / (high - low)
    array[:, 1] = (array[:, 1] - heights[0]) / (heights[1] - heights[0])
    return array


def _free_shift(x: float, y: float, length: int, inked: Floats, taken: list[Box]) -> int | None:
    """Return the shift at which a name fits behind the end of its curve, and add its box to ``taken``."""
    left, right = x + GAP, x + GAP + CHARACTER * length
    if x > BESIDE or right > 1:
        return None
    for shift in SHIFTS:
        middle = y - shift / PIXELS
        bottom, top = middle - HEIGHT / 2, middle + HEIGHT / 2
        within = (
            (inked[:, 0] > left - 0.01) & (inked[:, 0] < right) & (inked[:, 1] > bottom) & (inked[:, 1] < top)
        )
        free = not within.any() and all(
            right < box[0] or left > box[1] or top < box[2] or bottom > box[3] for box in taken
        )
        if free and bottom > 0 and top < 1:
            taken.append((left, right, bottom, top))
            return shift
    return None


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places in [0, 1] near the wanted ones, ascending like them, at least ``gap`` from each other.

    Least squares: the places less multiples of the gap have to ascend. There must be room for all.
    """
    shifted = np.array([-(place - index * gap) for index, place in enumerate(wanted)])
    at, ones = np.arange(len(shifted), dtype=float), np.ones(len(shifted))
    places = np.empty(len(shifted))
    for block in falling(at, shifted, ones):
        places[block] = -shifted[block].mean()
    top = 1 - (len(wanted) - 1) * gap
    return [float(np.clip(place, 0, top)) + index * gap for index, place in enumerate(places)]
