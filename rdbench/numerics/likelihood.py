"""Gaussian likelihoods: rate, distortion and the readings of the decoder variance sigma^2.

A trial measures two numbers an image, the squared error ``sse`` and the ``rate``; everything here is a
pure function of them. The functions take floats, numpy arrays and torch tensors alike, elementwise, and
return the same kind and precision (a float as ``numpy.float64``); torch is not imported. Everything is
in nats per image unless its name says otherwise; ``n`` is the number of values in one image.

An error of exactly zero is a legal measurement: the likelihood under the variance that follows it is
unbounded, and ``optimal`` reads -inf. Where a variance itself is zero (``optimal_shared`` of a split without
any error) the density is 0/0, and reads NaN. So does a NaN error.

Sources: Kim & Lee, "Beta-Sigma VAE", ICPR 2024 (the readings); Rybkin, Daniilidis & Levine, "Simple and
effective VAE training with calibrated decoders", ICML 2021 (the shared optimal variance).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    Values = TypeVar("Values", float, npt.NDArray[Any], Tensor)
else:
    Values = TypeVar("Values")


Reading = Literal["half", "beta_half", "optimal", "optimal_train", "optimal_shared"]
READINGS: tuple[Reading, ...] = get_args(Reading)

STORED_READINGS: tuple[Reading, ...] = ("half", "beta_half", "optimal", "optimal_shared")
"""Those that the rows of a trial hold; :func:`rdbench.results.load.load_results` adds ``optimal_train``."""

LIKELIHOOD: Reading = "optimal_train"
"""The reading that variants are compared under: of any model, and fitted to no image that it scores."""

FITTED: tuple[Reading, ...] = ("optimal", "optimal_shared")
"""Readings whose variance is fitted to the very images they score: bounds, not likelihoods of a model."""

OWN = "own"
"""The reading of a model with a likelihood of its own, which the model computes; beside those of sigma^2."""

READING_NAMES = {
    "half": "σ² = 1/2",
    "beta_half": "σ² = β/2",
    "optimal": "σ² optimal for each image, fitted to it",
    "optimal_train": "σ² of the training images",
    "optimal_shared": "σ² optimal, one for all images, fitted to them",
    "own": "the model's own likelihood",
}


def _is_tensor(values: object) -> bool:
    return type(values).__module__.partition(".")[0] == "torch"


def _array(values: Any) -> Any:
    """Return tensors as they are, anything else as numpy: its division by zero is inf, not an exception."""
    return values if _is_tensor(values) else np.asarray(values)[()]


def _log(values: Any) -> Any:
    """Return the natural logarithm; log 0 is -inf without a warning."""
    if _is_tensor(values):
        return values.log()
    with np.errstate(divide="ignore"):
        logarithm = np.log(values)
    # A numpy.float64 would raise float32 arrays to float64; a float takes their precision.
    return float(logarithm) if isinstance(values, float | int) else logarithm


def gaussian_nll(sse: Values, variance: Values | float, n: int) -> Values:
    """Return -ln N(x; mu, variance I) of images from their squared error, in nats per image.

    nll = sse / (2 variance) + n/2 ln(2 pi variance)

    Args:
        sse: squared error of each image, any shape.
        variance: the decoder's, > 0, the same for all ``n`` values of an image; broadcasts against ``sse``.
        n: values in one image.
    """
    s: Any = float(variance) if isinstance(variance, float | int) else variance
    with np.errstate(divide="ignore", invalid="ignore"):
        nll: Values = _array(sse) / (2 * s) + n / 2 * _log(2 * math.pi * s)
    return nll


def kl_standard_normal(mu: Values, log_var: Values) -> Values:
    """Return KL(N(mu, diag exp(log_var)) || N(0, I)), the rate in nats, summed over the last axis.

    KL = sum 1/2 (mu^2 + s^2 - 1 - ln s^2), s^2 = exp(log_var)

    ``mu`` are posterior means, (..., latent), ``log_var`` the logarithms of the variances.
    """
    mean, v = _array(mu), _array(log_var)
    # s^2 - 1 - ln s^2 cancels near the prior; with expm1 its error is eps |ln s^2|, not eps.
    growth = v.expm1() if _is_tensor(v) else np.expm1(v)
    rate: Values = (0.5 * (mean * mean + (growth - v))).sum(-1)
    return rate


def variance(
    reading: str,
    sse: Values,
    beta: Values | float,
    n: int,
    train_sse: "Values | float | None" = None,
) -> Values | float:
    """Return the decoder variance that a reading assumes.

    ==================  ====================  =========================================================
    half                1/2                   what the loss "sse + beta KL" assumes silently
    beta_half           beta / 2              the same weights as a likelihood model (Kim & Lee, Eq. 5)
    optimal             sse / n               of each image, fitted to it: not one density for all of them
    optimal_train       mean(train_sse) / n   fitted to the training images, used on every split: the
                                              likelihood of a model of one learned variance (sigma-VAE)
    optimal_shared      mean(sse) / n         fitted to the split it scores: the bound of ``optimal_train``
    ==================  ====================  =========================================================

    Args:
        reading: one of :data:`READINGS`.
        sse: squared error of every image of one split, (..., images).
        beta: the trial's beta.
        n: values in one image.
        train_sse: squared error of the training images, (..., images), or its mean as a number; only
            ``optimal_train`` needs it.

    Returns:
        A number for ``half`` and ``beta_half``; (..., images) for ``optimal``; (...) for ``optimal_train``
        and ``optimal_shared``. Without such a reading, or without the errors it needs, ValueError.
    """
    if reading == "half":
        return 0.5
    if reading == "beta_half":
        return beta / 2
    if reading == "optimal_train" and train_sse is None:
        raise ValueError("reading 'optimal_train' is fitted to the training images: give their train_sse")
    errors = _array(train_sse if reading == "optimal_train" else sse)
    if reading in ("optimal_train", "optimal_shared") and errors.ndim:
        errors = errors.mean(-1)
    if reading in ("optimal", "optimal_train", "optimal_shared"):
        best: Values = errors / n
        return best
    raise ValueError(f"no reading named {reading!r}; the readings are {', '.join(READINGS)}")


def distortion(
    reading: str,
    sse: Values,
    beta: Values | float,
    n: int,
    train_sse: "Values | float | None" = None,
) -> Values:
    """Return the negative log-likelihood of each image under a reading of sigma^2, in nats.

    The ELBO of an image is -(distortion + rate). For ``optimal`` this is the lower bound of the
    distortion over all variances, n/2 (ln(2 pi sse/n) + 1).

    Arguments and errors are those of :func:`variance`; the result has the shape of ``sse``.
    """
    nll: Values
    s: Any = variance(reading, sse, beta, n, train_sse)
    if reading == "optimal":  # not through gaussian_nll: there an error of zero would be 0/0
        nll = n / 2 * (_log(2 * math.pi * s) + 1)
    else:
        of_splits = reading in ("optimal_train", "optimal_shared") and s.ndim
        nll = gaussian_nll(sse, s[..., None] if of_splits else s, n)
    return nll


def at_variance(half: Mapping[str, Any], s: Any, n: Any) -> dict[str, Any]:
    """Return what a split measures under another constant variance than 1/2, in nats per image.

    Means over images of functions that are linear in (sse, rate) follow from the means of both, and their
    standard errors from those at 1/2: with e_D, e_R and e_E the errors of distortion, rate and ELBO there,

        e_sse = e_D     cov = (e_E^2 - e_D^2 - e_R^2) / 2     e_ELBO = sqrt(e_D^2/(4 s^2) + e_R^2 + cov/s)

    The error of ``s`` itself, if it was fitted to other images, is not part of them.

    Args:
        half: the columns sse, rate, rate_se, distortion_se and elbo_se of rows of ``points`` under the
            reading ``half``: numbers or numpy arrays, NaN where null.
        s: the variances, > 0, shaped as the columns.
        n: values in one image, shaped as them.

    Returns:
        distortion, distortion_se, elbo and elbo_se, shaped as the columns, NaN where they cannot follow.
    """
    e_d, e_r, e_e = (_array(half[name]) for name in ("distortion_se", "rate_se", "elbo_se"))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = _array(half["sse"]) / (2 * s) + n / 2 * np.log(2 * np.pi * _array(s))
        squared = e_d**2 / (4 * s**2) + e_r**2 + (e_e**2 - e_d**2 - e_r**2) / (2 * s)
        return {
            "distortion": mean,
            "distortion_se": e_d / (2 * s),
            "elbo": -(mean + _array(half["rate"])),
            "elbo_se": np.sqrt(np.maximum(squared, 0)),
        }


def psnr(mse: Values) -> Values:
    """Return the peak signal-to-noise ratio in decibels, -10 log10(mse), for a peak of 1; inf for no error.

    ``mse`` is the mean squared error of a value, sse / n, of images in [0, 1].
    """
    ratio: Values = -10 / math.log(10) * _log(_array(mse))
    return ratio


def bits_per_dim(elbo: Values, n: int) -> Values:
    """Return -elbo / (n ln 2): bits a value, of a density over images scaled to [0, 1].

    Negative where the density exceeds 1. Literature on 256-level images integrates over bins of width 1/256:
    add log2(256) = 8 to come near its numbers, which is exact only for uniformly dequantised images.
    """
    bits: Values = _array(elbo) / (-n * math.log(2))
    return bits
