"""The binned likelihood is a probability of levels, and the density's where bins are narrow."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from rdbench.numerics.binned import LEVELS, binned_nll
from rdbench.numerics.likelihood import gaussian_nll

GRID = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)


@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 0.02, 0.3, 1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("mean", [-0.4, 0.0, 0.3, 0.5019, 1.0, 1.7])
def test_the_256_levels_sum_to_one(mean, sigma):
    nll = binned_nll(GRID, torch.tensor(mean), sigma**2)
    assert nll.neg().exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("sigma", [0.004, 0.05, 0.7])
@pytest.mark.parametrize("mean", [-0.2, 0.1, 0.62, 1.3])
def test_a_level_has_the_probability_of_its_bin(mean, sigma):
    edges = (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1)
    edges[0], edges[-1] = -np.inf, np.inf
    upper, lower = norm.logcdf(edges[1:], mean, sigma), norm.logcdf(edges[:-1], mean, sigma)
    right = edges[:-1] > mean  # where the survival function is the small one
    upper[right], lower[right] = (
        norm.logsf(edges[:-1], mean, sigma)[right],
        norm.logsf(edges[1:], mean, sigma)[right],
    )
    expected = upper + np.log1p(-np.exp(np.minimum(lower - upper, -1e-300)))
    trusted = lower - upper < -1e-6  # where the reference itself does not cancel
    nll = binned_nll(GRID, torch.tensor(mean, dtype=torch.float64), sigma**2).numpy()
    np.testing.assert_allclose(-nll[trusted], expected[trusted], rtol=1e-7, atol=1e-9)
    assert trusted.sum() > 20


@pytest.mark.parametrize("sigma", [0.2, 1.0, 30.0, 1e4])
def test_it_goes_to_density_times_bin_width_as_sigma_grows(sigma):
    inner = GRID[1:-1]
    mean = torch.tensor(0.4, dtype=torch.float64)
    density = gaussian_nll((inner - mean) ** 2, sigma**2, 1) + np.log(LEVELS - 1)
    binned = binned_nll(inner, mean, sigma**2)
    assert (binned - density).abs().max().item() < 1.5e-4 * (0.2 / sigma) ** 2 + 1e-10


def test_the_farthest_level_is_finite_and_the_nearest_certain():
    nll = binned_nll(torch.tensor([0.0, 1.0]), torch.tensor(1.0), 1e-8)
    assert 1e7 < nll[0].item() < 1e9
    assert nll[1].item() == pytest.approx(0, abs=1e-12)


def test_each_image_may_have_a_variance_and_float32_is_enough_for_the_images():
    images, mean = (GRID[::5].float().view(2, 26)), torch.full((2, 26), 0.5)
    variance = torch.tensor([[0.01], [0.5]])
    both = binned_nll(images, mean, variance)
    assert both.dtype == torch.float64
    for row in range(2):
        alone = binned_nll(images[row], mean[row], variance[row].item())
        torch.testing.assert_close(both[row], alone, rtol=1e-6, atol=1e-6)
