"""Principal components of batches: against numpy's, exact and by subspace iteration, in bounded memory."""

import weakref

import numpy as np
import pytest
import torch

from rdbench.numerics.principal import EXACT, PASSES, principal_components

SIZES = (500, 137, 1)  # of batches, again and again


def passes(images):
    """Give passes over images (N, ...) in uneven batches."""

    def once():
        start, turn = 0, 0
        while start < len(images):
            size = SIZES[turn % len(SIZES)]
            yield torch.tensor(images[start : start + size])
            start, turn = start + size, turn + 1

    return once


def power_law(n, images=2000, decay=1.0, seed=0):
    """Images (N, 1, n, 1) about a mean of one, with eigenvalues 2 i^-decay in a random basis."""
    random = np.random.RandomState(seed)
    rotation = np.linalg.qr(random.standard_normal((n, n)))[0]
    scales = np.sqrt(2.0 * np.arange(1, n + 1) ** -decay)
    values = 1 + (random.standard_normal((images, n)) * scales) @ rotation.T
    return values.astype(np.float32).reshape(images, 1, n, 1)


def by_numpy(images):
    flat = images.reshape(len(images), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
    return flat.mean(0), values[::-1], vectors[:, ::-1]


def test_exact_components_are_numpys():
    images = power_law(40)
    found = principal_components(passes(images), 12)
    mean, variances, vectors = by_numpy(images)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.variances, variances[:12], rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.diag(found.vectors.numpy().T @ vectors[:, :12])), 1, rtol=1e-9)
    assert found.trace == pytest.approx(variances.sum(), rel=1e-12)


@pytest.mark.parametrize("decay", [0.7, 1.2, 3.0])
def test_subspace_iteration_finds_the_exact_components(decay):
    images = power_law(300, decay=decay)
    exact, found = (principal_components(passes(images), 16, exact_to=limit) for limit in (EXACT, 0))
    np.testing.assert_allclose(found.variances, exact.variances, rtol=1e-3)
    assert float(found.variances.sum()) == pytest.approx(float(exact.variances.sum()), rel=1e-5)
    assert found.trace == pytest.approx(exact.trace, rel=1e-6)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(16), atol=1e-12)
    # Whatever the subspace, its variances are those that the images have along its vectors.
    centred = images.reshape(len(images), -1) - exact.mean.numpy()
    along = (centred @ found.vectors.numpy()).var(0)
    np.testing.assert_allclose(found.variances, along, rtol=1e-5)


@pytest.mark.parametrize("limit", [EXACT, 0])
def test_the_images_are_read_a_batch_at_a_time_and_none_is_kept(limit):
    images, alive, most, begun = power_law(64), weakref.WeakSet(), [0], [0]

    def once():
        begun[0] += 1
        for batch in passes(images)():
            alive.add(batch)
            most[0] = max(most[0], len(alive))
            yield batch

    principal_components(once, 8, exact_to=limit)
    assert most[0] <= 3  # of 28: one in each of the loops here and there
    assert 2 <= begun[0] <= PASSES + 1


def test_subspace_iteration_repeats_to_the_last_bit():
    images = power_law(100)
    one, other = (principal_components(passes(images), 8, exact_to=0) for _ in range(2))
    assert torch.equal(one.vectors, other.vectors)
    assert torch.equal(one.variances, other.variances)


@pytest.mark.parametrize("limit", [EXACT, 0])
def test_a_covariance_without_full_rank_has_variances_of_zero(limit):
    images = power_law(30, images=6)
    found = principal_components(passes(images), 100, exact_to=limit)
    assert found.variances.shape == (30,)  # as many as an image has values
    assert (found.variances[:5] > 0).all()
    assert (found.variances[5:] == 0).all()
    constant = principal_components(passes(np.ones((7, 1, 3, 3), np.float32)), 2, exact_to=limit)
    assert constant.trace == 0
    assert (constant.variances == 0).all()


@pytest.mark.parametrize("limit", [EXACT, 0])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_leave_a_trace_that_is_not(limit, value):
    images = power_law(20)
    images[700, 0, 3, 0] = value
    found = principal_components(passes(images), 4, exact_to=limit)
    assert not np.isfinite(found.trace)
    assert found.variances.isnan().all()
