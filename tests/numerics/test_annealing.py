"""Annealed importance sampling: of a linear decoder every bound is known in closed form."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from rdbench.numerics import annealing
from rdbench.numerics.annealing import Path, Problem, Walk
from rdbench.numerics.seeding import generator
from tests.helpers.gaussian_oracle import log_likelihood

CHEAP = {4: (300, 200), 16: (600, 100), 64: (2500, 50)}
"""Latents -> levels, and chains an image, that reach the bars."""

VARIANCE = 0.05  # of the decoder
END = 1 / (2 * VARIANCE)
SLOPES = [float(slope) for slope in np.geomspace(END / 100, END, 10)]


@dataclass(frozen=True)
class Linear:
    """x = W z + noise of variance 1 / (2 s), z standard normal; images are draws at the slope END."""

    weights: torch.Tensor  # (n, latent)
    images: torch.Tensor  # (images, n)
    latents: torch.Tensor  # that they are of, (images, latent)

    def problem(self, **changes) -> Problem:
        latent = self.weights.shape[1]
        return replace(
            Problem(
                self.images,
                lambda z: z @ self.weights.T,
                lambda z: -z.square().sum(1) / 2,
                lambda count, noise: torch.randn(count, latent, generator=noise, dtype=torch.float64),
            ),
            **changes,
        )

    def truth(self, slope: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """ln Z_s, rate and squared error of each image: q_s is Gaussian of precision I + 2 s W'W."""
        gram = self.weights.T @ self.weights
        precision = torch.eye(len(gram), dtype=torch.float64) + 2 * slope * gram
        mean = 2 * slope * torch.linalg.solve(precision, self.weights.T @ self.images.T)
        sse = (self.images.T - self.weights @ mean).square().sum(0)
        exponent = slope * sse + mean.square().sum(0) / 2
        log_z = -torch.logdet(precision) / 2 - exponent
        sse = sse + torch.linalg.solve(precision, gram).trace()
        return log_z, -slope * sse - log_z, sse


def linear(latent: int, spectrum: str, images: int = 20) -> Linear:
    """A decoder with orthogonal columns of squared lengths 1, or 2 i^-1."""
    noise = generator(0, "test/annealing")
    n = latent + 8
    basis = torch.linalg.qr(torch.randn(n, n, generator=noise, dtype=torch.float64))[0][:, :latent]
    squares = torch.ones(latent) if spectrum == "flat" else 2 / torch.arange(1, latent + 1)
    weights = basis * squares.double().sqrt()
    latents = torch.randn(images, latent, generator=noise, dtype=torch.float64)
    residual = math.sqrt(VARIANCE) * torch.randn(images, n, generator=noise, dtype=torch.float64)
    return Linear(weights, latents @ weights.T + residual, latents)


def walks(chains: int, purpose: str = "forward") -> Walk:
    return Walk(chains, 10, generator(0, f"test/{purpose}"))


def path_of(source: Linear, levels: int, problem: Problem | None = None) -> Path:
    problem = problem or source.problem()
    found = annealing.pilot(problem, END, levels // 2, walks(2, "pilot"))
    return annealing.schedule(found, SLOPES, levels)


@pytest.mark.parametrize("spectrum", ["flat", "steep"])
@pytest.mark.parametrize("latent", CHEAP)
def test_of_a_linear_decoder_the_curve_is_the_closed_form(latent, spectrum):
    levels, chains = CHEAP[latent]
    source = linear(latent, spectrum)
    path = path_of(source, levels)
    curve = annealing.forward(source.problem(), path, walks(chains))
    n = source.images.shape[1]
    for slope in SLOPES:
        level = curve.at(slope)
        assert float(curve.slopes[level]) == slope
        log_z, rate, sse = (values.mean() for values in source.truth(slope))
        assert curve.rate[level].mean() == pytest.approx(rate, rel=0.01)
        assert curve.sse[level].mean() == pytest.approx(sse, rel=0.01)
    constant = n / 2 * math.log(2 * math.pi * VARIANCE)
    covariance = source.weights @ source.weights.T + VARIANCE * torch.eye(n)
    exact = torch.distributions.MultivariateNormal(torch.zeros(n).double(), covariance)
    log_p = exact.log_prob(source.images)
    assert curve.log_z[-1].mean() - constant == pytest.approx(log_p.mean(), abs=0.05)
    upper = annealing.backward(source.problem(), path, source.latents, walks(chains, "backward"))
    assert 0.1 > float((upper - curve.log_z[-1]).mean()) > -0.03
