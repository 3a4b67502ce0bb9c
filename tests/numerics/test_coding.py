"""Real bits: a message decodes to what it was made of, and is as long as its probabilities say."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from rdbench.numerics import coding
from rdbench.numerics.coding import BitsBack, LatentModel, Stack, fine_steps


def ideal_bits(columns, models):
    return -sum(np.log2(model.probabilities[column - model.low]).sum()
                for column, model in zip(columns, models, strict=True))  # fmt: skip


@pytest.mark.parametrize("step", [0.05, 0.5, 3.0])
def test_indices_of_latents_come_back_and_take_what_their_probabilities_say(step):
    values = np.random.default_rng(0).normal([0, 3, -1], [1, 0.2, 4], size=(4000, 3))
    models = [coding.fit(coding.rounded(column, step)) for column in values[:2000].T]
    columns = [
        model.held(coding.rounded(column, step))
        for model, column in zip(models, values[2000:].T, strict=True)
    ]
    words = coding.encode_latents(columns, models)
    decoded = coding.decode_latents(words, 2000, models)
    assert all(map(np.array_equal, decoded, columns))
    assert len(words) * 32 == pytest.approx(ideal_bits(columns, models), rel=1e-3, abs=64)


def test_of_a_normal_latent_the_fitted_model_is_as_good_as_the_true_one():
    values = np.random.default_rng(1).normal(2, 3, size=20_000)
    model = coding.fit(coding.rounded(values[:10_000], 0.25))
    column = model.held(coding.rounded(values[10_000:], 0.25))
    edges = (np.arange(model.low, model.low + len(model.probabilities)) - 0.5) * 0.25
    true = norm.cdf(edges + 0.25, 2, 3) - norm.cdf(edges, 2, 3)
    bits = [ideal_bits([column], [LatentModel(model.low, p)]) / 10_000 for p in (model.probabilities, true)]
    assert bits[0] == pytest.approx(bits[1], abs=0.005)


def test_of_a_latent_with_two_values_the_histogram_is_taken():
    values = np.random.default_rng(1).choice([0, 9], p=[0.9, 0.1], size=4000).astype(np.int32)
    model = coding.fit(values)
    entropy = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert ideal_bits([values], [model]) / 4000 < entropy + 0.15


def test_an_index_that_was_never_seen_is_held_to_the_nearest_that_the_model_has():
    model = coding.fit(np.array([0, 1, 2, 3], np.int32))
    held = model.held(np.array([-1000, 1, 1000], np.int32))
    assert held.tolist() == [model.low, 1, model.low + len(model.probabilities) - 1]
    assert model.probabilities.sum() == pytest.approx(1)


def test_a_latent_over_too_many_steps_is_refused():
    with pytest.raises(ValueError, match="are over 131072 steps"):
        coding.rounded(np.array([1.0]), 1e-9)


class Linear:
    """x = 128 + 25 w z + noise in levels, q(z|x) its true posterior, so that the ELBO is the likelihood."""

    def __init__(self, n=64, sigma=8.0):
        self.sigma, self.n = sigma, n
        self.weights = 25 * np.random.default_rng(0).normal(size=(n, 2)) / np.array([1.0, 4.0])
        precision = np.eye(2) + self.weights.T @ self.weights / sigma**2
        self.root = np.linalg.eigh(precision)
        # In the basis where the posterior is a product over latents.
        self.weights = self.weights @ self.root[1]
        self.deviation = 1 / np.sqrt(np.diag(np.eye(2) + self.weights.T @ self.weights / sigma**2))

    def encode(self, levels):
        return self.deviation**2 * (self.weights.T @ (levels - 128.0)) / self.sigma**2, self.deviation

    def decode(self, latents):
        return 128 + self.weights @ latents

    def images(self, count):
        random = np.random.default_rng(2)
        clean = 128 + random.normal(size=(count, 2)) @ self.weights.T
        return np.clip(np.rint(clean + self.sigma * random.normal(size=(count, self.n))), 0, 255).astype(
            np.int32
        )

    def coder(self):
        posteriors = [self.encode(image) for image in self.images(50)]
        steps = fine_steps(*(np.stack(part) for part in zip(*posteriors, strict=True)))
        return BitsBack(self.encode, self.decode, self.sigma, steps)


def test_bits_back_returns_every_image_and_the_bits_it_began_with():
    model = Linear()
    coder, images, stack = model.coder(), model.images(40), Stack(2, np.random.default_rng(5))
    for image in images:
        coder.push(stack, image)
    assert not stack.is_as_it_began
    for image in images[::-1]:
        assert np.array_equal(coder.pop(stack), image)
    assert stack.is_as_it_began
    assert stack.net_bits == 0


def test_a_message_of_bits_back_is_as_long_as_the_negative_log_likelihood():
    model = Linear()
    coder, images, stack = model.coder(), model.images(300), Stack(2, np.random.default_rng(5))
    for image in images:
        coder.push(stack, image)
    covariance = model.weights @ model.weights.T + model.sigma**2 * np.eye(model.n)
    x, (_, log_det) = images - 128.0, np.linalg.slogdet(covariance)
    nll = 0.5 * ((x @ np.linalg.inv(covariance) * x).sum(1) + log_det + model.n * math.log(2 * math.pi))
    inside = ((images > 0) & (images < 255)).all(1)  # where the density times the bin is the probability
    assert inside.mean() > 0.9
    assert stack.net_bits / 300 == pytest.approx(nll.mean() / math.log(2), rel=0.01)
    assert 0 < stack.start_up_bits < 64


def test_a_wide_posterior_far_from_the_prior_costs_no_senseless_images():
    """Of every symbol of a grid random bits pop the least probable too; none of them may be far off."""
    model = Linear()
    coder, random = model.coder(), np.random.default_rng(0)
    image = model.images(1)[0]
    mean, _ = model.encode(image)
    latents = np.array([coder.push(Stack(2, random), image) for _ in range(12_000)])
    assert np.abs((latents - mean) / model.deviation).max() < 20
