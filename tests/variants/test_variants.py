"""The registry of variants, and each objective against its definition."""

import math

import mpmath
import pytest
import torch

from rdbench.errors import SpecError
from rdbench.numerics.likelihood import STORED_READINGS, distortion
from rdbench.registry import variants


def test_objectives_are_those_of_the_paper():
    sse, rate = (
        torch.tensor([3.0, 0.5, 80.0], dtype=torch.float64),
        torch.tensor([2.0, 7.0, 0.1], dtype=torch.float64),
    )
    beta_vae = variants.get("beta_vae").objective(sse, rate, 4.0, 10)
    assert beta_vae.tolist() == pytest.approx([11.0, 28.5, 80.4])
    bs_vae = variants.get("bs_vae").objective(sse, rate, 4.0, 10)
    expected = [
        5 * (math.log(2 * math.pi * s / 10 + 1e-5) + 1) + 4 * r
        for s, r in zip((3, 0.5, 80), (2, 7, 0.1), strict=True)
    ]
    assert bs_vae.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["beta_vae", "bs_vae", "sigma_vae_optimal"])
def test_the_native_reading_is_the_distortion_that_the_loss_minimises(name):
    """Up to a constant; of all readings it is the only one."""
    own, n = variants.get(name), 10
    sse = 5 + torch.rand(6, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sse *= torch.arange(1, 7)[:, None]  # splits of 40 images, of one mean error or another
    losses = torch.stack([own.objective(each, torch.zeros(40), 3.0, n).mean() for each in sse])
    same = []
    for reading in STORED_READINGS:
        gap = losses - distortion(reading, sse, 3.0, n).mean(1)
        same += [reading] if gap.max() - gap.min() < 1e-4 else []
    assert same == [own.declaration.native]


@pytest.mark.parametrize("sse", [0.0, 1e-8, 1e-4, 1.0, 1e8])
@pytest.mark.parametrize("n", [1, 784, 200_000])
def test_objectives_are_right_in_float32_and_have_finite_gradients(sse, n):
    for name in ("beta_vae", "bs_vae"):
        error = torch.tensor([sse], requires_grad=True)
        loss = variants.get(name).objective(error, torch.tensor([30.0]), 0.1, n)
        loss.backward()
        exact, beta = mpmath.mpf(error.item()), mpmath.mpf(0.1)
        truth = exact + 30 * beta
        if name == "bs_vae":
            logarithm = mpmath.log(2 * mpmath.pi * exact / n + mpmath.mpf(1e-5))
            truth = mpmath.mpf(n) / 2 * (logarithm + 1) + 30 * beta
        # The logarithm reaches ln 1e-5, times n/2: float32 cannot be nearer than a few units of that.
        assert loss.item() == pytest.approx(float(truth), rel=5e-7, abs=5e-7 * n)
        assert torch.isfinite(error.grad).all()


def test_an_exact_reconstruction_leaves_bs_vae_finite():
    loss = variants.get("bs_vae").objective(torch.zeros(1), torch.zeros(1), 1.0, 784)
    assert float(loss) == pytest.approx(392 * (math.log(1e-5) + 1), rel=1e-6)


def test_an_unknown_name_suggests_the_closest():
    with pytest.raises(SpecError, match="did you mean 'bs_vae'"):
        variants.get("bsvae")
