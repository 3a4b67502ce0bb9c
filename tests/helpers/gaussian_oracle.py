"""What theory says of a Gaussian source beyond what rdbench asks of it: ELBOs, and exact likelihoods."""

import numpy as np
import numpy.typing as npt

from rdbench.numerics.likelihood import READINGS, distortion
from rdbench.numerics.theory import _NODES, _STEP, Prediction, _laplace


def log_likelihood(eigenvalues: npt.ArrayLike, variance: float, latent: int) -> float:
    """The exact expected ln p(x) (nats) of the best linear Gaussian model with this noise variance s.

    Probabilistic PCA (Tipping & Bishop 1999): the model's covariance has the eigenvalues
    m_i = max(l_i, s) in the ``latent`` largest dimensions and m_i = s in the others, so

        E ln p(x) = -1/2 sum (ln(2 pi m_i) + l_i / m_i)

    A linear VAE of constant variance s trained with beta = 1 has this ELBO: its bound is tight. The best s is
    the mean of the discarded eigenvalues.
    """
    values = np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1]
    model = np.where(np.arange(len(values)) < latent, np.maximum(values, variance), variance)
    return float(-0.5 * (np.log(2 * np.pi * model) + values / model).sum())


def mean_log_sse(residuals: npt.ArrayLike) -> float:
    """E ln Q of an image's squared error Q = sum_i residuals_i chi^2_1, independent and Gaussian.

    E ln Q = integral over u > 0 of (exp(-u) - E exp(-u Q)) / u du, which is below ln E Q: the gap is what
    the reading ``optimal`` gains over ``optimal_shared``.
    """
    variances = np.asarray(residuals, dtype=np.float64)
    total = variances.sum()
    return float(np.log(total) + _STEP * (np.exp(-_NODES) - _laplace(variances / total)).sum())


def elbo(prediction: Prediction, eigenvalues: npt.ArrayLike, latent: int, beta: float) -> dict[str, float]:
    """The expected ELBO (nats) of a prediction under every reading of sigma^2."""
    residuals = np.sort(np.asarray(eigenvalues, dtype=np.float64))[::-1].copy()
    residuals[:latent] = np.minimum(residuals[:latent], prediction.level)
    # Every distortion is linear in sse but that of `optimal`, which is linear in its logarithm.
    typical = dict.fromkeys(READINGS, prediction.sse) | {"optimal": float(np.exp(mean_log_sse(residuals)))}
    return {
        reading: -(float(distortion(reading, error, beta, len(residuals), error)) + prediction.rate)
        for reading, error in typical.items()
    }
