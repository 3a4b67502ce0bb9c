"""Annealed importance sampling: of a linear decoder every bound is known in closed form."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from rdbench.numerics import annealing
from rdbench.numerics.annealing import Curve, Path, Problem, Walk
from rdbench.numerics.seeding import generator
from tests.helpers.gaussian_oracle import log_likelihood

COST = {4: (250, 400, 10, 80), 16: (600, 150, 10, 80), 64: (1000, 80, 8, 80)}
"""Latents -> levels, chains an image, images and stays that reach the bars with a margin."""

LEAPFROG = 2  # at the wanted acceptance near half a period: 3 or more come back to where they were

VARIANCE = 0.15  # of the decoder
END = 1 / (2 * VARIANCE)
SLOPES = [float(slope) for slope in np.geomspace(END / 5, END, 10)]


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
                at_once=10_000,  # rows of 64 numbers at most
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


def walks(chains: int, purpose: str = "forward", stays: int = 1) -> Walk:
    return Walk(chains, LEAPFROG, generator(0, f"test/{purpose}"), stays)


def path_of(source: Linear, levels: int) -> Path:
    found = annealing.pilot(source.problem(), END, levels // 2, walks(2, "pilot"))
    return annealing.schedule(found, SLOPES, levels)


def errors(curve: Curve, source: Linear) -> list[float]:
    """The largest relative errors of rate and squared error over the slopes, and that of ln Z in nats."""
    worst = [0.0, 0.0]
    for slope in SLOPES:
        level = curve.at(slope)
        assert float(curve.slopes[level]) == slope
        log_z, *truth = (float(values.mean()) for values in source.truth(slope))
        measured = [float(curve.rate[level].mean()), float(curve.sse[level].mean())]
        relative = [abs(a / b - 1) for a, b in zip(measured, truth, strict=True)]
        worst = [max(pair) for pair in zip(worst, relative, strict=True)]
    return [*worst, float(curve.log_z[-1].mean()) - log_z]


@pytest.mark.parametrize(("latent", "spectrum"), [(4, "steep"), (16, "flat"), (64, "steep")])
def test_of_a_linear_decoder_the_curve_is_the_closed_form(latent, spectrum):
    levels, chains, images, stays = COST[latent]
    source = linear(latent, spectrum, images)
    path = path_of(source, levels)
    curve = annealing.forward(source.problem(), path, walks(chains, stays=stays))
    rate, sse, _ = errors(curve, source)
    assert rate < 0.01
    assert sse < 0.01
    # The likelihood of probabilistic PCA, from the covariance of x: nothing of q_s or Z_s is in it.
    n = source.images.shape[1]
    constant = n / 2 * math.log(2 * math.pi * VARIANCE)
    covariance = source.weights @ source.weights.T + VARIANCE * torch.eye(n)
    exact = torch.distributions.MultivariateNormal(torch.zeros(n).double(), covariance)
    log_p = float(exact.log_prob(source.images).mean())
    assert float(curve.log_z[-1].mean()) - constant == pytest.approx(log_p, abs=0.05)
    # A quarter of the chains: of a bound that is close the mean over all of them asks for no more.
    upper = annealing.backward(source.problem(), path, source.latents, walks(chains // 4, "backward"))
    assert abs(float((upper - curve.log_z[-1]).mean())) < 0.1


SHORT = 20  # levels: so few that the bounds lie apart


def test_short_chains_bound_ln_z_from_either_side():
    source = linear(16, "flat", 40)
    path = path_of(source, SHORT)
    lower = annealing.forward(source.problem(), path, walks(4)).log_z[-1]
    upper = annealing.backward(source.problem(), path, source.latents, walks(4, "backward"))
    exact = source.truth(END)[0].mean()
    assert lower.mean() < exact - 1
    assert upper.mean() > exact + 1


def reversed_sign(before, after):
    return (after - before).clamp(max=0).exp()


def without_kinetic_energy(state, momentum, slope):
    return slope * state.sse - state.log_prior


def without_prior(state, momentum, slope):
    return slope * state.sse + momentum.square().sum(2) / 2


FAULTS = {
    "acceptance of the wrong sign": ("acceptance", reversed_sign),
    "Hamiltonian without its kinetic energy": ("hamiltonian", without_kinetic_energy),
    "Hamiltonian without the prior": ("hamiltonian", without_prior),
}


def short_errors(source: Linear, **changes) -> list[float]:
    """The errors of a walk of moderate cost in a problem that may be another than the source's."""
    path = path_of(source, 200)
    return all_errors(source, annealing.forward(source.problem(**changes), path, walks(50, stays=20)))


def all_errors(source: Linear, curve: Curve) -> list[float]:
    """Those of :func:`errors`, and that of the squared error at the prior."""
    at_prior = float(source.truth(0.0)[2].mean())
    return [*errors(curve, source), abs(float(curve.sse[0].mean()) / at_prior - 1)]


def right(found: list[float]) -> bool:
    rate, sse, log_z, at_prior = found
    return rate < 0.04 and sse < 0.04 and abs(log_z) < 0.1 and at_prior < 0.1


def test_without_a_fault_the_moderate_walk_is_right():
    assert right(short_errors(linear(4, "steep")))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_of_the_dynamics_is_noticed(fault, monkeypatch):
    source = linear(4, "steep")
    path = path_of(source, 200)  # before: step sizes that such a fault adapts may not be numbers
    monkeypatch.setattr(annealing, *FAULTS[fault])
    assert not right(all_errors(source, annealing.forward(source.problem(), path, walks(50, stays=20))))


def test_a_path_that_starts_at_another_prior_is_noticed():
    def wider(count, noise):
        return 1.5 * torch.randn(count, 4, generator=noise, dtype=torch.float64)

    found = short_errors(linear(4, "steep"), draw=wider)
    assert not right(found)


def test_a_path_of_another_prior_density_is_noticed():
    found = short_errors(linear(4, "steep"), log_prior=lambda z: -z.square().sum(1) / (2 * 1.2**2))
    assert not right(found)


def test_chains_that_start_at_the_posterior_are_noticed():
    source = linear(4, "steep")
    gram = source.weights.T @ source.weights
    precision = torch.eye(4) + 2 * END * gram
    mean = 2 * END * torch.linalg.solve(precision, source.weights.T @ source.images.T).T

    def posterior(count, noise):
        return mean.repeat_interleave(count // len(mean), 0)

    assert not right(short_errors(source, draw=posterior))


def test_the_pilot_leaves_the_estimate_its_own_random_numbers():
    source = linear(4, "flat", 3)
    path = path_of(source, SHORT)
    one, other = (annealing.forward(source.problem(), path, walks(4)).log_z for _ in range(2))
    assert torch.equal(one, other)
    rng = torch.random.get_rng_state()
    path_of(source, SHORT)
    assert torch.equal(torch.random.get_rng_state(), rng)


def test_what_is_decoded_together_does_not_change_the_curve():
    source = linear(4, "steep", 5)
    path = path_of(source, SHORT)
    path = replace(path, steps=path.steps / 4)  # else trajectories are chaotic, and rounding decides them
    one, other = (annealing.forward(source.problem(at_once=size), path, walks(4)).log_z for size in (3, 1000))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_step_sizes_reach_the_wanted_acceptance():
    source = linear(16, "steep")
    curve = annealing.forward(source.problem(), path_of(source, 300), walks(20))
    assert float(curve.acceptance[1:].mean()) == pytest.approx(annealing.ACCEPTANCE, abs=0.07)


def test_a_path_goes_through_the_slopes_it_is_asked_for_and_ends_at_the_largest():
    source = linear(4, "steep", 5)
    found = annealing.pilot(source.problem(), 2 * END, 50, walks(2, "pilot"))
    path = annealing.schedule(found, [END, 0.01, 3.0], 40)
    assert path.slopes[0] == 0
    assert path.slopes[-1] == END
    assert bool((path.slopes.diff() > 0).all())
    assert [float(path.slopes[level]) for level in sorted(path.stops)] == [0.01, 3.0, END]
    assert len(path.steps) == len(path.slopes) - 1
    assert abs(len(path.steps) - 40) <= 3


def test_a_proposal_that_is_not_finite_is_rejected():
    energies = torch.tensor([[1.0, 1.0, 1.0]])
    after = torch.tensor([[math.nan, math.inf, 0.5]])
    assert annealing.acceptance(energies, after).tolist() == [[0.0, 0.0, 1.0]]


def test_the_end_of_the_curve_is_the_mean_likelihood_of_ppca():
    """Over many draws of the source the mean of the truth here is the oracle's, which is an expectation."""
    source = linear(4, "steep", 4000)
    eigenvalues = torch.linalg.eigvalsh(source.weights @ source.weights.T).flip(0) + VARIANCE
    n = source.images.shape[1]
    mean = float(source.truth(END)[0].mean()) - n / 2 * math.log(2 * math.pi * VARIANCE)
    assert mean == pytest.approx(log_likelihood(eigenvalues.numpy(), VARIANCE, 4), abs=0.2)
