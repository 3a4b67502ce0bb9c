"""Claims about the readings; the independent truths are scipy's densities, mpmath and autograd."""

import math
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from numpy.testing import assert_allclose

from rdbench.numerics.likelihood import (
    READINGS,
    at_variance,
    bits_per_dim,
    distortion,
    gaussian_nll,
    kl_standard_normal,
    psnr,
    variance,
)

EPS32 = float(np.finfo(np.float32).eps)
SSE = np.logspace(-8, 8, 33)
SIZES = (1, 64, 784, 12_288, 200_000)


def exact_distortion(reading: str, sse: np.ndarray, beta: float, n: int) -> list[mpmath.mpf]:
    """The readings written down again, in 50 digits and straight from the table of the paper."""
    with mpmath.workdps(50):
        errors = [mpmath.mpf(float(value)) for value in sse]
        shared = mpmath.fsum(errors) / len(errors) / n
        of_image = {
            "half": lambda e: mpmath.mpf(1) / 2,
            "beta_half": lambda e: mpmath.mpf(beta) / 2,
            "optimal": lambda e: e / n,
            "optimal_train": lambda e: mpmath.fsum(errors[::2]) / len(errors[::2]) / n,
            "optimal_shared": lambda e: shared,
        }[reading]
        return [
            e / (2 * of_image(e)) + mpmath.mpf(n) / 2 * mpmath.log(2 * mpmath.pi * of_image(e))
            for e in errors
        ]


def size_of_terms(reading: str, sse: np.ndarray, beta: float, n: int) -> np.ndarray:
    """What a float result can be accurate relative to: its two terms may cancel, and ln s moves with s."""
    s = {"half": 0.5, "beta_half": beta / 2, "optimal": sse / n, "optimal_train": sse[::2].mean() / n,
         "optimal_shared": sse.mean() / n}[reading]  # fmt: skip
    return sse / (2 * s) + n / 2 * (np.abs(np.log(2 * np.pi * s)) + 1)


def test_gaussian_nll_is_minus_the_log_of_scipys_density():
    rng = np.random.default_rng(0)
    for n, s in [(1, 0.5), (7, 0.01), (784, 3.0)]:
        x, mu = rng.normal(size=(2, n))
        truth = -scipy.stats.norm(mu, math.sqrt(s)).logpdf(x).sum()
        assert_allclose(gaussian_nll(float(((x - mu) ** 2).sum()), s, n), truth, rtol=1e-12)


def test_kl_is_the_integral_of_the_log_ratio_of_the_two_densities():
    for mu, log_var in [(0.0, 0.0), (0.7, -1.3), (-2.0, 0.9)]:
        q, p = scipy.stats.norm(mu, math.exp(log_var / 2)), scipy.stats.norm()
        z = np.linspace(mu - 40, mu + 40, 200_001)
        z = z[q.logpdf(z) > -700]
        truth = np.trapezoid(q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), z)
        assert_allclose(kl_standard_normal(np.array([mu]), np.array([log_var])), truth, atol=1e-9)


def test_kl_sums_over_the_latents_and_leaves_the_images():
    mu, log_var = np.random.default_rng(0).normal(size=(2, 5, 3))
    rate = kl_standard_normal(mu, log_var)
    assert rate.shape == (5,)
    assert_allclose(rate, sum(kl_standard_normal(mu[:, [j]], log_var[:, [j]]) for j in range(3)), rtol=1e-12)


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("n", SIZES)
def test_readings_are_right_in_float32_from_tiny_to_huge_errors(reading, n, as_array):
    sse = SSE.astype(np.float32)
    for beta in (1e-8, 0.3, 1e8):
        truth = np.array([float(value) for value in exact_distortion(reading, sse, beta, n)])
        result = distortion(reading, as_array(sse), beta, n, as_array(sse)[::2])
        assert str(result.dtype).endswith("float32")
        error = np.abs(np.asarray(result, dtype=np.float64) - truth)
        assert (error <= 4 * EPS32 * size_of_terms(reading, sse.astype(np.float64), beta, n)).all()


@pytest.mark.parametrize("reading", READINGS)
def test_readings_agree_with_fifty_digits_in_float64(reading):
    truth = np.array([float(value) for value in exact_distortion(reading, SSE, 0.3, 784)])
    error = np.abs(distortion(reading, SSE, 0.3, 784, SSE[::2]) - truth)
    assert (error <= 1e-15 * size_of_terms(reading, SSE, 0.3, 784)).all()


@pytest.mark.parametrize("as_array", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_kl_in_float32_keeps_its_digits_near_the_prior(as_array):
    log_var = np.concatenate([np.logspace(-7, 1.9, 60), -np.logspace(-7, 1.9, 60)]).astype(np.float32)
    mu = np.full_like(log_var, 1e-6)
    truth = [
        (mpmath.mpf(float(m)) ** 2 + mpmath.expm1(float(v)) - float(v)) / 2
        for m, v in zip(mu, log_var, strict=True)
    ]
    rate = kl_standard_normal(as_array(mu[:, None]), as_array(log_var[:, None]))
    error = np.abs(np.asarray(rate, dtype=np.float64) - np.array([float(t) for t in truth]))
    scale = np.abs(np.expm1(log_var.astype(np.float64))) + np.abs(log_var) + 1e-12
    assert (error <= 2 * EPS32 * scale).all()  # the plain formula is off by EPS32 even where log_var = 1e-7


def test_eq_5_training_at_variance_half_with_beta_is_training_the_elbo_at_variance_beta_half():
    n = 20
    sse, rate = torch.rand(6, requires_grad=True), torch.rand(6, requires_grad=True)
    for beta in (1e-3, 1.0, 50.0):
        loss = (sse + beta * rate).sum()
        elbo = -(gaussian_nll(sse, beta / 2, n) + rate).sum()
        gradients = zip(
            torch.autograd.grad(loss, (sse, rate)),
            torch.autograd.grad(-beta * elbo, (sse, rate)),
            strict=True,
        )
        for trained, scaled in gradients:
            torch.testing.assert_close(trained, scaled)


def test_no_constant_variance_beats_the_optimal_one_and_no_shared_one_beats_the_shared():
    sse, n = np.random.default_rng(0).gamma(2.0, 10.0, 500), 64
    best = distortion("optimal", sse, 1.0, n)
    shared = distortion("optimal_shared", sse, 1.0, n)
    for s in np.logspace(-3, 2, 101):
        assert (best <= gaussian_nll(sse, s, n) + 1e-9).all()
        assert shared.mean() <= gaussian_nll(sse, s, n).mean() + 1e-9
    assert_allclose(shared.mean(), n / 2 * (math.log(2 * math.pi * sse.mean() / n) + 1), rtol=1e-12)


def test_every_reading_is_the_nll_at_its_variance():
    sse = np.array([1.0, 4.0, 10.0])
    expected = {
        "half": 0.5,
        "beta_half": 1.5,
        "optimal": sse / 8,
        "optimal_train": 3 / 8,
        "optimal_shared": 5 / 8,
    }
    for reading in READINGS:
        for train in (np.array([2.0, 4.0]), 3.0):
            assert_allclose(variance(reading, sse, 3.0, 8, train), expected[reading])
            nll = distortion(reading, sse, 3.0, 8, train)
            assert_allclose(nll, gaussian_nll(sse, expected[reading], 8), rtol=1e-12)


@pytest.mark.parametrize("reading", READINGS)
def test_floats_arrays_and_tensors_give_the_same_numbers(reading):
    # One image a split: optimal_shared is each its own.
    array = distortion(reading, SSE[:, None], 0.7, 100, 2 * SSE[:, None])
    both = torch.from_numpy(SSE)[:, None]
    tensor = distortion(reading, both, 0.7, 100, 2 * both)
    assert_allclose(tensor.numpy(), array, rtol=1e-14)
    floats = [distortion(reading, float(e), 0.7, 100, 2 * float(e)) for e in SSE]
    assert_allclose(floats, array[:, 0], rtol=1e-14)


def test_shared_variance_is_one_number_for_each_split_of_a_stack():
    stack = np.random.default_rng(0).gamma(2.0, 1.0, (3, 40))
    together = distortion("optimal_shared", stack, 1.0, 9)
    assert variance("optimal_shared", stack, 1.0, 9).shape == (3,)
    assert_allclose(together, [distortion("optimal_shared", row, 1.0, 9) for row in stack], rtol=1e-14)


@pytest.mark.parametrize(
    "as_array", [np.array, torch.tensor, lambda values: values], ids=["numpy", "torch", "float"]
)
def test_an_error_of_zero_has_an_unbounded_likelihood_not_a_large_one(as_array):
    zero = as_array(0.0)
    assert distortion("optimal", zero, 1.0, 784) == -math.inf
    assert math.isnan(distortion("optimal_shared", zero, 1.0, 784))
    assert_allclose(float(distortion("half", zero, 1.0, 784)), 392 * math.log(math.pi), rtol=1e-6)
    assert psnr(zero) == math.inf


def test_a_diverged_image_has_no_likelihood_under_any_reading():
    for reading in READINGS:
        result = distortion(reading, np.array([1.0, math.nan]), 1.0, 5, 2.0)
        assert math.isnan(result[1])
        assert math.isnan(result[0]) == (reading == "optimal_shared")


def test_a_reading_that_does_not_exist_is_refused_with_the_ones_that_do():
    with pytest.raises(
        ValueError,
        match=r"'optimum'; the readings are half, beta_half, optimal, optimal_train, optimal_shared",
    ):
        distortion("optimum", np.ones(3), 1.0, 5)
    with pytest.raises(ValueError, match="give their train_sse"):
        distortion("optimal_train", np.ones(3), 1.0, 5)


@pytest.mark.parametrize("s", [1e-3, 0.25, 40.0])
def test_what_a_split_measures_at_any_variance_follows_from_its_row_at_one_half(s):
    """Held against the images themselves, rate and error as correlated as those of a model."""
    rng = np.random.default_rng(1)
    sse = rng.gamma(2.0, 3.0, 400)
    rate = 5 - 0.4 * sse + rng.normal(size=400)

    def moments(values):
        return values.mean(), values.std(ddof=1) / 20

    half = dict(zip(("distortion", "distortion_se"), moments(distortion("half", sse, 1.0, 30)), strict=True))
    half |= {"sse": sse.mean(), "rate": rate.mean(), "rate_se": moments(rate)[1]}
    half["elbo_se"] = moments(-(distortion("half", sse, 1.0, 30) + rate))[1]
    found = at_variance(half, s, 30)
    images = gaussian_nll(sse, s, 30)
    assert_allclose((found["distortion"], found["distortion_se"]), moments(images), rtol=1e-9)
    assert_allclose((found["elbo"], found["elbo_se"]), moments(-(images + rate)), rtol=1e-9)
    nothing = at_variance(half | {"elbo_se": math.nan}, s, 30)
    assert math.isnan(nothing["elbo_se"])
    assert_allclose(nothing["elbo"], found["elbo"])


def test_psnr_of_a_hundredth_is_twenty_decibels():
    assert_allclose(psnr(np.array([1.0, 0.01, 1e-5])), [0, 20, 50], atol=1e-12)
    assert_allclose(psnr(torch.tensor([0.01])).numpy(), [20], rtol=1e-6)


def test_bits_per_dim_of_a_density_of_two_to_the_k_per_value_is_minus_k():
    assert_allclose(bits_per_dim(784 * 3 * math.log(2), 784), -3, rtol=1e-12)
    uniform_over_a_bin = 784 * math.log(256)  # a density that knows every 8-bit value needs no bits
    assert_allclose(bits_per_dim(uniform_over_a_bin, 784) + 8, 0, atol=1e-12)


def test_importing_the_likelihood_does_not_import_torch():
    code = "import sys, rdbench.numerics.likelihood; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
