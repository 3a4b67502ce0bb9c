"""Shannon's rate-distortion function of Gaussian sources: the oracle the harness is calibrated against.

A source x ~ N(0, Sigma) with eigenvalues l_1 >= ... >= l_n of Sigma, under squared error, is coded best by
reverse water-filling (Cover & Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3): at water
level t

    D(t) = sum min(t, l_i)          R(t) = sum over l_i > t of 1/2 ln(l_i / t)          dR/dD = -1/(2t)

A linear VAE with k latents attains it on the k largest eigenvalues; the others keep all their variance.
In a dimension with encoder z ~ N(a x, v) and decoder w z the loss E[(x - w z)^2] + 2t KL is stationary in
a, v and w at

    w^2 = l - t      v = t / l      a = w / l

where the error of one sample is l (1 - wa)^2 + w^2 v = t, the rate -1/2 ln v = 1/2 ln(l/t), and the
residual x - wz Gaussian of variance t. So a loss "sse + beta KL" stops at t = beta/2, and an sse measured
with one latent sample estimates D(t). A loss f(sse) + beta KL is, at its optimum, weighted by f'. The
water levels of the variants follow (:func:`predict`); for beta = 1 see Tipping & Bishop, "Probabilistic
principal component analysis", 1999, and Lucas et al., "Don't blame the ELBO!", NeurIPS 2019.

Rates are in nats and sse in squared units, both per image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rdbench.errors import UserError

Float64 = npt.NDArray[np.float64]
Eigenvalues = Sequence[float] | npt.NDArray[Any]


class NoFixedPointError(UserError):
    """A variant's loss has no optimum on a source: its decoder variance runs to zero or is undetermined."""


@dataclass(frozen=True)
class Prediction:
    """Where a variant's optimum lies: the water level, the expected rate (nats) and sse, latents in use."""

    level: float
    rate: float
    sse: float
    active: int


def _spectrum(eigenvalues: Eigenvalues, latent: int | None = None) -> tuple[Float64, Float64]:
    """Return the eigenvalues that can be coded, and the others; descending, rounding below zero as zero."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or not (values > 0).any():
        raise ValueError("eigenvalues must be a list of finite numbers, one of them positive")
    if values.min() < -1e-10 * values.max():
        raise ValueError(f"eigenvalues of a covariance are >= 0, but the smallest is {values.min():g}")
    if latent is not None and latent < 1:
        raise ValueError(f"latent must be >= 1, not {latent}")
    descending = np.maximum(np.sort(values)[::-1], 0.0)
    return descending[:latent], descending[latent:] if latent is not None else descending[:0]


def rate_distortion(eigenvalues: Eigenvalues, level: float, latent: int | None = None) -> tuple[float, float]:
    """Return (D, R) of reverse water-filling at a water level: sum of squared errors, and nats.

    The eigenvalues of the source's covariance come in any order; the level t > 0 is the error of every coded
    dimension; ``latent`` of them can be coded, the largest ones, None for all (Shannon's function).
    ValueError: the level is not positive, or the eigenvalues are not those of a covariance.
    """
    if not level > 0:
        raise ValueError(f"the water level must be positive, not {level}")
    coded, rest = _spectrum(eigenvalues, latent)
    used = coded[coded > level]
    return float(np.minimum(coded, level).sum() + rest.sum()), float(0.5 * np.log(used / level).sum())


def rate_at(eigenvalues: Eigenvalues, sse: npt.ArrayLike, latent: int | None = None) -> Float64:
    """Return R(D), the least rate in nats at which the squared error can be ``sse``.

    Zero from D = sum l_i on, and infinite where no code reaches D. ``sse`` is of any shape, the other
    arguments are those of :func:`rate_distortion`.
    """
    coded, rest = _spectrum(eigenvalues, latent)
    coded = coded[coded > 0]
    # D is piecewise linear in the level and increasing: its kinks are the eigenvalues.
    levels = np.concatenate([[0.0], coded[::-1]])
    distortions = np.minimum(coded, levels[:, None]).sum(1)
    level = np.interp(np.asarray(sse, dtype=np.float64) - rest.sum(), distortions, levels)
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.maximum(np.log(coded) - np.log(level[..., None]), 0.0).sum(-1))


def sse_at(eigenvalues: Eigenvalues, rate: npt.ArrayLike, latent: int | None = None) -> Float64:
    """Return D(R), the least squared error that ``rate`` nats can buy: the inverse of :func:`rate_at`.

    ``rate`` is of any shape; ValueError where one is negative.
    """
    rates = np.asarray(rate, dtype=np.float64)
    if (rates < 0).any():
        raise ValueError("rates are >= 0 nats")
    coded, rest = _spectrum(eigenvalues, latent)
    coded = coded[coded > 0]
    # R is piecewise linear in the level's logarithm: kinks at the eigenvalues, and one slope below them all.
    log_coded = np.log(coded)
    kinks = 0.5 * np.maximum(log_coded - log_coded[:, None], 0.0).sum(1)
    log_level = np.interp(rates, kinks, log_coded) - 2 / len(coded) * np.maximum(rates - kinks[-1], 0.0)
    return np.asarray(np.minimum(coded, np.exp(log_level)[..., None]).sum(-1) + rest.sum())


_STEP = 0.25
_NODES = np.exp(np.arange(-40.0, 80.0, _STEP))  # u, equally spaced in ln u


def _laplace(residuals: Float64) -> Float64:
    """Return E exp(-u Q) at the nodes u of a quadrature, for Q = sum_i residuals_i chi^2_1, E Q = 1.

    The integrands over ln u are smooth and vanish at both ends, where the trapezoidal rule converges
    exponentially: from one value an image to 100,000 this grid is exact to about 1e-12.
    """
    return np.asarray(np.exp(-0.5 * np.log1p(2 * _NODES[:, None] * residuals).sum(1)))


def _share_of_image(level: float, residuals: Float64) -> float:
    """Return E[q / Q], the share of a coded dimension's error q = level chi^2_1 in its image's error Q."""
    nodes = _NODES * level / residuals.sum()
    return float(_STEP * (_laplace(residuals / residuals.sum()) * nodes / (1 + 2 * nodes)).sum())


def _share_of_split(level: float, residuals: Float64) -> float:
    """Return E[q] / E[Q], the share of a coded dimension's error in the error of all images."""
    return float(level / residuals.sum())


_SHARES = {"bs_vae": _share_of_image, "optimal_shared": _share_of_split}


def _fixed_point(variant: str, coded: Float64, rest: Float64, beta: float) -> float:
    """Return the water level t at which a coded dimension's share of the error is beta / n.

    The share grows with t, since no other dimension's error grows faster, from 0, or from 1/rank where the
    latents code every dimension: there is at most one such level. From the largest eigenvalue on nothing is
    coded, and that eigenvalue stands for every higher level.
    """
    from scipy.optimize import brentq  # here: a quarter of a second, which reports can do without

    share, n, rank = _SHARES[variant], len(coded) + len(rest), int((coded > 0).sum())
    if not rest.any() and beta * rank <= n:
        fate = "is undetermined" if beta * rank == n else "runs to zero"
        raise NoFixedPointError(
            f"{variant} has no optimum here: {len(coded)} latents code all {rank} dimensions of the source,"
            f" and at beta {beta:g} the decoder variance {fate};"
            f" use under {rank} latents, or beta above {n / rank:g}"
        )

    def excess(log_level: float) -> float:
        level = float(np.exp(log_level))
        return n * share(level, np.concatenate([np.minimum(coded, level), rest])) - beta

    top = bottom = float(np.log(coded[0]))
    if excess(top) <= 0:
        return float(coded[0])
    while excess(bottom) > 0:
        bottom -= 2.0
    return float(np.exp(brentq(excess, bottom, top, xtol=1e-13)))


def predict(
    variant: str, eigenvalues: Eigenvalues, latent: int, beta: float, decoder_variance: float = 0.5
) -> Prediction:
    """Return the optimum of a variant on a linear network and a Gaussian source of infinitely many images.

    ==================  ==========================================  ===================================
    variant             loss of an image                            water level t
    ==================  ==========================================  ===================================
    beta_vae            sse / (2s) + beta rate                      beta s
    optimal_shared      n/2 ln(mean of sse) + beta rate             beta D / n
    bs_vae              n/2 ln(sse) + beta rate                     n E[q / sse] = beta
    ==================  ==========================================  ===================================

    The two losses with a logarithm have fixed points. Both are convex in the logarithms of the residual
    variances, so the optimum is unique. With one variance for all images (sigma-VAE, Rybkin et al. 2021)
    it is t = beta D(t)/n. ``bs_vae`` takes the logarithm of each image's error: images with a small error
    weigh more, and the level follows the mean share E[q/sse] that the error q = t chi^2_1 of one coded
    dimension has in an image. As n grows the share tends to t/D and the level to beta D/n; at 16
    dimensions they can differ by a tenth and more. Its epsilon of 1e-5 inside the logarithm is left out: it
    adds about beta 1e-5 / 2 pi to t, a floor under the variance where there is no optimum without it.

    Args:
        variant: "beta_vae", "optimal_shared" (sigma-VAE) or "bs_vae".
        eigenvalues: of the source's covariance, any order; as many as an image has values.
        latent: latent dimensions, >= 1; more than the source has stay unused.
        beta: weight of the rate, > 0.
        decoder_variance: the constant s of ``beta_vae``; 1/2 is that of rdbench's loss "sse + beta rate".

    Raises:
        NoFixedPointError: the latents code the whole source and beta is too small (below 1, for a source
            of full rank): the decoder variance runs to zero. At exactly 1 every small level is as good.
        ValueError: no prediction for such a variant, or an argument is out of range.
    """
    if not 0 < beta < np.inf:
        raise ValueError(f"beta must be positive and finite, not {beta}")
    coded, rest = _spectrum(eigenvalues, latent)
    if variant == "beta_vae":
        level = beta * decoder_variance
    elif variant in _SHARES:
        level = _fixed_point(variant, coded, rest, beta)
    else:
        raise ValueError(f"no prediction for {variant!r}; there is one for beta_vae, {', '.join(_SHARES)}")
    sse, rate = rate_distortion(eigenvalues, level, latent)
    return Prediction(level, rate, sse, int((coded > level).sum()))
