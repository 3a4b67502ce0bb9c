"""What a trained model came to: collapsed, unstable, or neither; told from what its rows hold."""

from typing import Literal

State = Literal["collapsed", "unstable"]

LEAST_RATE = 0.01
"""The floor, in nats: below it the posterior has collapsed, and how far below says nothing."""
GREY_MSE = 0.25
"""The largest error of the constant 1/2 on values in [0, 1]: a bound where the mean image's is not known."""
TOLERANCE = 0.01
"""A share of the mean image's error: a nearly collapsed model may be so much worse without being unstable."""


def state(
    rate: float | None, mse: float | None, mean_image_mse: float | None, *, pixels: bool = True
) -> State | None:
    """Return what is wrong with a model, from its test rate and error; None where nothing is, or is known.

    Args:
        rate: nats per image; None of a deterministic model, which cannot collapse.
        mse: mean squared error of a value; None or NaN where there is none.
        mean_image_mse: that of the mean training image on the same images; None where it is not known.
        pixels: values are in [0, 1], so that ``GREY_MSE`` bounds what is not known.

    Returns:
        "collapsed": the rate is below ``LEAST_RATE``. "unstable": the model reconstructs worse than an image
        that is the same for all.
    """
    if rate is not None and rate < LEAST_RATE:
        return "collapsed"
    worst = GREY_MSE if mean_image_mse is None and pixels else mean_image_mse
    return "unstable" if mse is not None and worst is not None and mse > (1 + TOLERANCE) * worst else None
