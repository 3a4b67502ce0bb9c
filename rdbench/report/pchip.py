"""Monotone interpolation of a rate-distortion curve, as BD-rate is defined by."""

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


class Monotone:
    """A monotone piecewise cubic through points: PCHIP, which bends no curve beyond its points.

    Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5, 1984. The same curve as
    ``scipy.interpolate.PchipInterpolator``, which takes a quarter of a millisecond to make; a bootstrap makes
    a thousand. (The package ``bjontegaard`` makes them with scipy too, and imports pyplot besides.)

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
