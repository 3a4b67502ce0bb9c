"""A piecewise cubic through points that stays monotone: PCHIP."""

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class Monotone:
    """PCHIP: a piecewise cubic through points that stays monotone. Fritsch & Butland, SISC 5, 1984.

    The same curve as ``scipy.interpolate.PchipInterpolator``, with which the tests compare it. That one takes
    107 microseconds a curve (this: 23; a comparison bootstraps 126 to 200) and 0.46 s to import: with it the
    report of 1,000 trials takes 3.4 s of CPU time instead of 2.9 s (medians of five, alternating).

    Args:
        x: ascending, shape (points,), two or more.
        y: strictly monotone, of the same shape.
    """

    def __init__(self, x: Float64, y: Float64) -> None:
        self.x, self.y = x, y
        self.steps = step = np.diff(x)
        rise = np.diff(y) / step
        self.slopes = np.full(len(x), rise[0])
        if len(rise) > 1:
            first, second = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
            self.slopes[1:-1] = (first + second) / (first / rise[:-1] + second / rise[1:])
            self.slopes[0] = _end_slope(step[0], step[1], rise[0], rise[1])
            self.slopes[-1] = _end_slope(step[-1], step[-2], rise[-1], rise[-2])
        whole = step * (y[:-1] + y[1:]) / 2 + step**2 * (self.slopes[:-1] - self.slopes[1:]) / 12
        self.areas = np.concatenate([[0.0], np.cumsum(whole)])

    def at(self, x: Float64) -> Float64:
        """Return the values at some places within the points, of the same shape."""
        i = np.clip(np.searchsorted(self.x, x, "right") - 1, 0, len(self.steps) - 1)
        step, s = self.steps[i], (x - self.x[i]) / self.steps[i]
        values = self.y[i] * (1 + 2 * s) * (1 - s) ** 2 + self.y[i + 1] * s**2 * (3 - 2 * s)
        bends = self.slopes[i] * s * (1 - s) ** 2 - self.slopes[i + 1] * s**2 * (1 - s)
        return np.asarray(values + step * bends)

    def area(self, low: float, high: float) -> float:
        """Return the integral from ``low`` to ``high``, both within the points."""
        return self._area_to(high) - self._area_to(low)

    def _area_to(self, end: float) -> float:
        i = min(max(int(np.searchsorted(self.x, end, "right")) - 1, 0), len(self.steps) - 1)
        step, s = self.steps[i], (end - self.x[i]) / self.steps[i]
        values = self.y[i] * (s - s**3 + s**4 / 2) + self.y[i + 1] * (s**3 - s**4 / 2)
        bends = self.slopes[i] * (s**2 / 2 - 2 * s**3 / 3 + s**4 / 4)
        bends += self.slopes[i + 1] * (s**4 / 4 - s**3 / 3)
        return float(self.areas[i] + step * (values + step * bends))


def _end_slope(step: float, following: float, rise: float, next_rise: float) -> float:
    """Return the slope at an end: of the parabola through three points, if it keeps the curve monotone."""
    slope = ((2 * step + following) * rise - step * next_rise) / (step + following)
    return slope if slope * rise > 0 else 0.0


def falling(x: Float64, y: Float64, weights: Float64) -> list[list[int]]:
    """Return the blocks of points that a falling curve takes as one each, by least squares.

    Pool adjacent violators (Ayer et al., Annals of Mathematical Statistics 26, 1955): a block's height is its
    weighted mean, and blocks fall strictly. Points at one place share a block.

    Args:
        x: ascending, shape (points,).
        y, weights: of the same shape; weights above 0.

    Returns:
        The indices of each block's points, ascending.
    """
    blocks: list[list[int]] = []
    heights: list[float] = []
    for index in range(len(x)):
        blocks.append([index])
        heights.append(float(y[index]))
        while len(blocks) > 1 and (heights[-2] <= heights[-1] or x[blocks[-2][-1]] == x[blocks[-1][0]]):
            last = blocks.pop()
            heights.pop()
            blocks[-1] += last
            heights[-1] = float(np.average(y[blocks[-1]], weights=weights[blocks[-1]]))
    return blocks
