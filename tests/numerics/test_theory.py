"""Claims about the oracle; the independent truth is numerical optimisation that does not know theory.py."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from gaussian_oracle import elbo, log_likelihood, mean_log_sse
from numpy.testing import assert_allclose
from torch import Tensor

from rdbench.numerics.likelihood import READINGS, gaussian_nll
from rdbench.numerics.theory import (
    NoFixedPointError,
    predict,
    rate_at,
    rate_distortion,
    sse_at,
)

EIGENVALUES = np.array([3.0, 1.4, 0.6, 0.25, 0.1])
POWER_LAW = 2 * np.arange(1, 17) ** -1.2


def covariance(eigenvalues: np.ndarray) -> np.ndarray:
    """A covariance whose eigenvectors are not the axes."""
    axes = scipy.stats.ortho_group(len(eigenvalues), seed=0).rvs()
    return axes @ np.diag(eigenvalues) @ axes.T


class LinearVAE:
    """z ~ N(A x, diag v), mean of x = W z, on x ~ N(0, sigma): expectations in closed form, any W, A, v."""

    def __init__(self, parameters: Tensor, eigenvalues: np.ndarray, latent: int) -> None:
        n = len(eigenvalues)
        w, a, self.log_v = parameters.split([n * latent, n * latent, latent])
        self.w, self.a = w.reshape(n, latent), a.reshape(latent, n)
        self.sigma = torch.from_numpy(covariance(eigenvalues))
        self.left = torch.eye(n, dtype=torch.float64) - self.w @ self.a  # what the mean leaves of x

    def sse(self) -> Tensor:
        of_mean = (self.left @ self.sigma @ self.left.T).trace()
        return of_mean + (self.w.square() * self.log_v.exp()).sum()

    def rate(self) -> Tensor:
        mu_squared = (self.a @ self.sigma @ self.a.T).diagonal()
        return 0.5 * (mu_squared + self.log_v.exp() - 1 - self.log_v).sum()

    def sampled_sse(self, count: int) -> Tensor:
        """The squared error of ``count`` images, one latent sample each; the same images every time."""
        sampler = torch.quasirandom.SobolEngine(len(self.sigma) + len(self.log_v), scramble=True, seed=0)
        uniform = sampler.draw(count, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        normal = torch.special.ndtri(uniform)
        x = normal[:, : len(self.sigma)] @ torch.linalg.cholesky(self.sigma).T
        z = x @ self.a.T + normal[:, len(self.sigma) :] * (0.5 * self.log_v).exp()
        return (x - z @ self.w.T).square().sum(1)


def optimise(
    loss: Callable[[LinearVAE], Tensor], eigenvalues: np.ndarray, latent: int, tolerance: float = 1e-15
) -> LinearVAE:
    """Minimise an expected loss over all W, A and v, from random weights."""

    def value_and_gradient(values: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.tensor(values, requires_grad=True)
        value = loss(LinearVAE(parameters, eigenvalues, latent))
        (gradient,) = torch.autograd.grad(value, parameters)
        return value.item(), gradient.numpy()

    start = np.random.default_rng(1).normal(0, 0.3, 2 * len(eigenvalues) * latent + latent)
    result = scipy.optimize.minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "ftol": tolerance, "gtol": 1e-9},
    )
    return LinearVAE(torch.from_numpy(result.x), eigenvalues, latent)


@pytest.mark.parametrize("distortion", [0.05, 0.4, 1.0, 3.0, 5.0])
def test_water_filling_is_the_least_rate_over_all_splits_of_the_distortion(distortion):
    best = scipy.optimize.minimize(
        lambda d: 0.5 * np.log(EIGENVALUES / d).sum(),
        EIGENVALUES * distortion / EIGENVALUES.sum(),
        jac=lambda d: -0.5 / d,
        bounds=[(1e-9, value) for value in EIGENVALUES],
        constraints={"type": "eq", "fun": lambda d: d.sum() - distortion, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert_allclose(rate_at(EIGENVALUES, distortion), best.fun, rtol=1e-5)


def test_a_scalar_source_has_shannons_half_log_ratio():
    d = np.array([0.1, 1.0, 2.0, 3.0])
    assert_allclose(rate_at([2.0], d), np.maximum(0.5 * np.log(2.0 / d), 0), atol=1e-15)


@pytest.mark.parametrize("latent", [None, 1, 3, 5, 9])
def test_rate_and_distortion_functions_are_inverse_to_each_other_and_lie_on_the_water_level_curve(latent):
    eigenvalues = np.array(
        [0.6, 3.0, 0.25, 0.0, 1.4, 0.6]
    )  # unsorted, tied, and one dimension without variance
    curve = [rate_distortion(eigenvalues, level, latent) for level in np.logspace(-6, 0.47, 50)]
    sse, rate = np.array(curve).T
    assert_allclose(rate_at(eigenvalues, sse, latent), rate, rtol=1e-9, atol=1e-12)
    assert_allclose(sse_at(eigenvalues, rate, latent), sse, rtol=1e-12)


def test_rate_at_is_zero_beyond_the_variance_and_infinite_where_latents_do_not_reach():
    total, discarded = EIGENVALUES.sum(), EIGENVALUES[3:].sum()
    assert rate_at(EIGENVALUES, total) == rate_at(EIGENVALUES, 10.0) == 0
    assert rate_at(EIGENVALUES, discarded, latent=3) == rate_at(EIGENVALUES, 0.01, latent=3) == math.inf
    assert rate_at(EIGENVALUES, 0.0) == math.inf
    assert sse_at(EIGENVALUES, 0.0) == pytest.approx(total)
    assert sse_at(EIGENVALUES, 1e3, latent=3) == pytest.approx(discarded)


def test_eigenvalues_that_rounding_left_below_zero_are_zero_and_wrong_ones_are_refused():
    assert_allclose(rate_at([1.0, -1e-17], 0.5), 0.5 * math.log(2))
    for wrong in ([1.0, -0.1], [], [0.0], [1.0, math.nan], [[1.0]]):
        with pytest.raises(ValueError, match="eigenvalues"):
            rate_distortion(wrong, 0.1)
    with pytest.raises(ValueError, match="level"):
        rate_distortion([1.0], 0.0)
    with pytest.raises(ValueError, match="latent"):
        rate_distortion([1.0], 0.1, latent=0)
    with pytest.raises(ValueError, match="rates"):
        sse_at([1.0], -1.0)


@pytest.mark.parametrize(("latent", "beta"), [(5, 0.1), (3, 0.1), (3, 1.0), (2, 0.02), (3, 4.0)])
def test_the_best_linear_vae_of_sse_plus_beta_rate_sits_at_water_level_half_beta(latent, beta):
    vae = optimise(lambda vae: vae.sse() + beta * vae.rate(), EIGENVALUES, latent)
    prediction = predict("beta_vae", EIGENVALUES, latent, beta)
    assert prediction.level == beta / 2
    assert_allclose([vae.rate(), vae.sse()], [prediction.rate, prediction.sse], rtol=1e-5)
    assert prediction.active == (vae.log_v < -1e-4).sum()


def test_the_error_of_one_latent_sample_averages_to_the_water_filling_distortion():
    vae = optimise(lambda vae: vae.sse() + 0.4 * vae.rate(), EIGENVALUES, 3)
    prediction = predict("beta_vae", EIGENVALUES, 3, 0.4)
    sse = vae.sampled_sse(1 << 16)
    assert_allclose(sse.mean(), prediction.sse, rtol=1e-3)
    of_the_mean_alone = (vae.left @ vae.sigma @ vae.left.T).trace()
    assert of_the_mean_alone < 0.9 * prediction.sse  # decoding the posterior's mean would not do
    optimal = 5 / 2 * ((2 * np.pi / 5 * sse).log() + 1).mean()
    assert_allclose(optimal + prediction.rate, -elbo(prediction, EIGENVALUES, 3, 0.4)["optimal"], rtol=1e-3)


def test_a_constant_variance_s_sits_at_beta_times_s():
    s, beta = 0.2, 1.5
    vae = optimise(lambda vae: vae.sse() / (2 * s) + beta * vae.rate(), EIGENVALUES, 3)
    prediction = predict("beta_vae", EIGENVALUES, 3, beta, decoder_variance=s)
    assert prediction.level == pytest.approx(beta * s)
    assert_allclose([vae.rate(), vae.sse()], [prediction.rate, prediction.sse], rtol=1e-5)


@pytest.mark.parametrize(("latent", "beta"), [(3, 0.5), (3, 1.0), (3, 2.0), (5, 1.5), (2, 0.1)])
def test_the_best_sigma_vae_sits_at_the_fixed_point_beta_d_over_n(latent, beta):
    n = len(EIGENVALUES)
    vae = optimise(lambda vae: n / 2 * vae.sse().log() + beta * vae.rate(), EIGENVALUES, latent)
    prediction = predict("optimal_shared", EIGENVALUES, latent, beta)
    assert_allclose([vae.rate(), vae.sse()], [prediction.rate, prediction.sse], rtol=1e-5)
    assert prediction.level == pytest.approx(beta * prediction.sse / n, rel=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1.2])
def test_the_best_bs_vae_sits_at_the_fixed_point_of_the_mean_share_in_each_image(beta):
    n, latent = len(EIGENVALUES), 3

    def loss(vae: LinearVAE) -> Tensor:
        return n / 2 * vae.sampled_sse(1 << 12).log().mean() + beta * vae.rate()

    vae = optimise(loss, EIGENVALUES, latent, tolerance=1e-9)
    prediction = predict("bs_vae", EIGENVALUES, latent, beta)
    found = np.array([vae.rate().item(), vae.sse().item()])
    assert_allclose(found, [prediction.rate, prediction.sse], rtol=0.01)
    shared = predict("optimal_shared", EIGENVALUES, latent, beta)
    assert abs(found[0] / shared.rate - 1) > 0.1  # at 5 dimensions the limit of large n does not hold


def test_bs_vae_tends_to_the_fixed_point_beta_d_over_n_as_images_grow():
    gaps = []
    for n in (16, 64, 256, 1024):
        eigenvalues = np.repeat(POWER_LAW, n // 16)
        levels = [predict(v, eigenvalues, n // 2, 2.0).level for v in ("bs_vae", "optimal_shared")]
        gaps.append(abs(levels[0] / levels[1] - 1))
    assert_allclose(np.array(gaps[:-1]) / gaps[1:], 4, rtol=0.15)  # a bias of order 1/n


def test_training_256_dimensions_came_within_the_log_bias_that_is_predicted():
    # Trained with 32 latents (2 i^-0.7) BS-VAE came within 0.4% in D and 3.6% in rate of beta D/n.
    eigenvalues = 2 * np.arange(1, 257) ** -0.7
    pairs = [
        (predict("bs_vae", eigenvalues, 32, beta), predict("optimal_shared", eigenvalues, 32, beta))
        for beta in (0.5, 1, 2, 4)
    ]
    assert 0.002 < max(abs(a.sse / b.sse - 1) for a, b in pairs) < 0.004
    assert 0.03 < max(abs(a.rate / b.rate - 1) for a, b in pairs) < 0.036


@pytest.mark.parametrize("variant", ["bs_vae", "optimal_shared"])
def test_without_a_fixed_point_the_reason_is_said(variant):
    for latent in (5, 8):
        with pytest.raises(NoFixedPointError, match=r"runs to zero; use under 5 latents, or beta above 1$"):
            predict(variant, EIGENVALUES, latent, 0.99)
        with pytest.raises(NoFixedPointError, match="is undetermined"):
            predict(variant, EIGENVALUES, latent, 1.0)
    assert predict(variant, EIGENVALUES, 5, 1.01).rate > 0
    assert predict(variant, EIGENVALUES, 4, 1e-6).rate > 0
    with pytest.raises(
        NoFixedPointError, match=r"beta above 1\.25"
    ):  # 4 of 5 dimensions vary: D falls faster
        predict(variant, [*EIGENVALUES[:4], 0.0], 4, 1.2)


def test_with_every_dimension_coded_and_beta_below_one_the_loss_has_no_lower_bound():
    losses = []
    for s in (1e-2, 1e-4, 1e-8):
        sse, rate = rate_distortion(EIGENVALUES, s)
        losses.append(5 / 2 * math.log(sse) + 0.9 * rate)
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("variant", ["beta_vae", "bs_vae", "optimal_shared"])
def test_a_large_beta_collapses_every_latent(variant):
    prediction = predict(variant, EIGENVALUES, 3, 100.0)
    assert (prediction.rate, prediction.active) == (0, 0)
    assert prediction.sse == pytest.approx(EIGENVALUES.sum())


def test_the_collapse_comes_where_the_optimiser_finds_it():
    n, edge = 5, 5 * EIGENVALUES[0] / EIGENVALUES.sum()  # beta D/n reaches the largest eigenvalue
    for beta, collapsed in [(0.97 * edge, False), (1.03 * edge, True)]:
        vae = optimise(lambda vae, beta=beta: n / 2 * vae.sse().log() + beta * vae.rate(), EIGENVALUES, 3)
        assert (predict("optimal_shared", EIGENVALUES, 3, beta).rate == 0) == collapsed == (vae.rate() < 1e-6)


@pytest.mark.parametrize("latent", [2, 3, 4])
def test_sigma_vae_at_beta_one_is_probabilistic_pca(latent):
    def minus_log_likelihood(values: np.ndarray) -> float:
        w = values[:-1].reshape(5, latent)
        model = w @ w.T + np.exp(values[-1]) * np.eye(5)
        inverse = np.linalg.solve(model, covariance(EIGENVALUES))
        return 0.5 * (5 * math.log(2 * math.pi) + np.linalg.slogdet(model)[1] + np.trace(inverse))

    start = np.random.default_rng(0).normal(0, 0.5, 5 * latent + 1)
    best = scipy.optimize.minimize(minus_log_likelihood, start, options={"gtol": 1e-7})
    prediction = predict("optimal_shared", EIGENVALUES, latent, 1.0)
    assert prediction.level == pytest.approx(EIGENVALUES[latent:].mean())  # Tipping & Bishop's sigma^2
    elbos = elbo(prediction, EIGENVALUES, latent, 1.0)
    assert elbos["optimal_shared"] == pytest.approx(-best.fun, rel=1e-6)
    assert log_likelihood(EIGENVALUES, prediction.level, latent) == pytest.approx(-best.fun, rel=1e-6)


def test_at_beta_one_the_elbo_of_a_constant_variance_is_the_exact_log_likelihood():
    for s in (0.05, 0.5, 2.0):
        prediction = predict("beta_vae", EIGENVALUES, 3, 1.0, decoder_variance=s)
        bound = -(gaussian_nll(prediction.sse, s, 5) + prediction.rate)
        assert log_likelihood(EIGENVALUES, s, 3) == pytest.approx(bound, rel=1e-12)


def test_log_likelihood_is_that_of_scipys_normal():
    s, latent = 0.3, 2
    model = np.diag([3.0, 1.4, s, s, s])
    x = np.random.default_rng(0).multivariate_normal(np.zeros(5), np.diag(EIGENVALUES), 100_000)
    values = scipy.stats.multivariate_normal(np.zeros(5), model).logpdf(x)
    assert abs(values.mean() - log_likelihood(EIGENVALUES, s, latent)) < 4 * values.std() / math.sqrt(len(x))


@pytest.mark.parametrize("n", [1, 2, 16, 784, 12_288])
def test_mean_log_of_equal_residuals_is_that_of_a_chi_square(n):
    truth = scipy.special.digamma(n / 2) + math.log(2 * 0.3)
    assert mean_log_sse(np.full(n, 0.3)) == pytest.approx(truth, abs=1e-12)


def test_mean_log_of_unequal_residuals_is_what_sampling_finds():
    residuals = np.array([5.0, 0.2, 1e-4, 0.0])
    samples = np.log(np.random.default_rng(0).normal(size=(400_000, 4)) ** 2 @ residuals)
    assert abs(mean_log_sse(residuals) - samples.mean()) < 4 * samples.std() / math.sqrt(len(samples))


def test_the_elbo_is_read_from_the_predicted_sse_and_rate():
    prediction = predict("beta_vae", POWER_LAW, 8, 0.3)
    elbos = elbo(prediction, POWER_LAW, 8, 0.3)
    assert set(elbos) == set(READINGS)
    for reading, s in [
        ("half", 0.5),
        ("beta_half", 0.15),
        *((reading, prediction.sse / 16) for reading in ("optimal_train", "optimal_shared")),
    ]:
        assert elbos[reading] == pytest.approx(-gaussian_nll(prediction.sse, s, 16) - prediction.rate)
    assert elbos["optimal"] > elbos["optimal_shared"]


def test_what_cannot_be_predicted_is_refused():
    with pytest.raises(ValueError, match="no prediction for 'iwae'"):
        predict("iwae", EIGENVALUES, 3, 1.0)
    for beta in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="beta"):
            predict("bs_vae", EIGENVALUES, 3, beta)
