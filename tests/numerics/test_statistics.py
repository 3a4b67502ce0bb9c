"""Statistics of features: right by closed forms, equal to the published packages, and honest about chance."""

import subprocess
import sys

import cleanfid.fid
import numpy as np
import prdc as published
import pytest
import torch

from rdbench.numerics import frechet
from rdbench.numerics.frechet import Moments, MomentSum, few_samples_warning, frechet_distance
from rdbench.numerics.kid import kid, subset_values
from rdbench.numerics.prdc import Prdc, prdc

CLEAN_FID_WARNS = pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")


def relu_features(count: int, size: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Like a network's: float32, none negative, correlated, with eigenvalues that decay fast."""
    weights = np.random.default_rng(7)
    first, second = weights.standard_normal((32, 128)) / 6, weights.standard_normal((128, size)) / 11
    random = np.random.default_rng(seed)
    hidden = np.maximum((random.standard_normal((count, 32)) * (1 + shift) + shift) @ first, 0)
    noise = np.abs(random.standard_normal((count, size)))
    return (np.maximum(hidden @ second, 0) + 0.01 * noise).astype(np.float32)


def moments(features: np.ndarray, batch: int = 100) -> Moments:
    total = MomentSum()
    for part in torch.from_numpy(features).split(batch):
        total.add(part)
    return total.moments()


def rotation(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Moments:
    return Moments(10**6, np.asarray(mean, float), np.asarray(covariance, float))


def test_moments_of_batches_are_those_of_all_samples_even_far_from_zero():
    features = relu_features(777, 20, 0) + np.float32(5000)
    streamed = moments(features, batch=50)
    assert streamed.count == 777
    np.testing.assert_allclose(streamed.mean, features.astype(float).mean(0), rtol=1e-14)
    np.testing.assert_allclose(streamed.covariance, np.cov(features.astype(float), rowvar=False), rtol=1e-9)


def test_distance_of_known_gaussians():
    a, b = np.array([4.0, 1.0, 0.25, 9.0]), np.array([1.0, 1.0, 4.0, 0.01])
    turn, mean = rotation(4, 0), np.array([1.0, 2.0, 0.0, -1.0])
    measured = frechet_distance(gaussian(np.zeros(4), turn * a @ turn.T), gaussian(mean, turn * b @ turn.T))
    assert measured == pytest.approx(6 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-12)


def test_distance_of_gaussians_whose_covariances_do_not_commute():
    """For 2 x 2 matrices, tr (AB)^1/2 = (tr AB + 2 det(AB)^1/2)^1/2 by Cayley-Hamilton."""
    a, b = np.array([[2.0, 0.9], [0.9, 0.5]]), np.array([[0.3, -0.2], [-0.2, 1.7]])
    trace = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    measured = frechet_distance(gaussian(np.zeros(2), a), gaussian(np.zeros(2), b))
    assert measured == pytest.approx(4.5 - 2 * trace, rel=1e-12)


@CLEAN_FID_WARNS
def test_distance_equals_clean_fid_on_features_of_a_network():
    a, b = (moments(relu_features(2000, 256, seed, seed / 20)) for seed in (1, 2))
    theirs = cleanfid.fid.frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [(60, 60), (60, 500), (500, 90)])
def test_fewer_samples_than_dimensions_give_the_distance_of_the_samples_themselves(first, second):
    """The singular values of X Y' of the centred samples are known without any covariance."""
    x, y = relu_features(first, 200, 1).astype(float), relu_features(second, 200, 2, 0.1).astype(float)
    cx, cy = (x - x.mean(0)) / np.sqrt(first - 1), (y - y.mean(0)) / np.sqrt(second - 1)
    cross = np.linalg.svd(cx @ cy.T, compute_uv=False).sum()
    true = ((x.mean(0) - y.mean(0)) ** 2).sum() + (cx**2).sum() + (cy**2).sum() - 2 * cross
    assert frechet_distance(moments(x), moments(y)) == pytest.approx(true, rel=1e-9)


def test_distance_is_symmetric_and_zero_to_itself():
    a, b = moments(relu_features(150, 200, 1)), moments(relu_features(900, 200, 2, 0.1))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-11)
    for same in (a, b):
        assert 0 <= frechet_distance(same, same) < 1e-12 * np.trace(same.covariance)


def test_a_small_distance_keeps_its_digits_where_many_variances_are_tiny():
    """The root of a Gram matrix's eigenvalue 1e-20 beside one of 1 is rounding error."""
    variances, turn = np.repeat([1.0, 1e-10], 30), rotation(60, 0)
    covariance = (turn * variances) @ turn.T
    covariance = (covariance + covariance.T) / 2
    measured = frechet_distance(
        gaussian(np.zeros(60), covariance), gaussian(np.zeros(60), covariance * 1.01**2)
    )
    assert measured == pytest.approx(0.01**2 * variances.sum(), rel=1e-9)


def test_rounding_errors_do_not_raise_the_rank_of_a_covariance_beyond_its_samples():
    few, many = moments(relu_features(20, 60, 0)), moments(relu_features(900, 60, 1))
    noisy = Moments(20, few.mean, few.covariance + 1e-11 * np.eye(60))
    assert frechet_distance(noisy, many) == pytest.approx(frechet_distance(few, many), rel=1e-8)


def test_dead_and_collapsed_features_do_no_harm():
    features = relu_features(300, 30, 0)
    features[:, ::3] = 0
    a = moments(features)
    collapsed = moments(np.tile(features[:1], (300, 1)))
    expected = ((a.mean - collapsed.mean) ** 2).sum() + np.trace(a.covariance)
    assert frechet_distance(a, collapsed) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(collapsed, collapsed) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, moments(features * 2)) == pytest.approx(
        (a.mean**2).sum() + np.trace(a.covariance), rel=1e-9
    )


def test_moments_refuse_what_they_cannot_measure():
    with pytest.raises(ValueError, match="two samples, there are 1"):
        moments(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="two samples, there are 0"):
        MomentSum().moments()
    for value in (np.nan, np.inf):
        for row in (0, 150):  # within the batch that sets the shift, and after it
            broken = relu_features(200, 5, 0)
            broken[row, 3] = value
            with pytest.raises(ValueError, match="1 features are not finite, the first is number 3"):
                moments(broken)
    total = MomentSum()
    total.add(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="4 features after batches of 3"):
        total.add(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="must be"):
        total.add(torch.zeros(3))


def test_distance_refuses_moments_that_do_not_fit_or_are_not_finite():
    with pytest.raises(ValueError, match="2 and of 3"):
        frechet_distance(gaussian(np.zeros(2), np.eye(2)), gaussian(np.zeros(3), np.eye(3)))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(gaussian(np.zeros(2), np.eye(2)), gaussian(np.zeros(2), np.eye(2) * np.nan))


def test_too_few_samples_are_told():
    assert few_samples_warning(1000, 2048) == (
        "1,000 samples for 2,048 dimensions: the covariance is singular and the distance biased upwards"
    )
    assert few_samples_warning(2048, 2048) is not None  # n samples have a covariance of rank n - 1
    assert few_samples_warning(2049, 2048) is None


@pytest.mark.parametrize("shift", [0.05, 0.2])
def test_standard_error_is_the_spread_of_distances_of_independent_draws(shift):
    reference = moments(relu_features(4000, 16, 999))
    draws = [relu_features(400, 16, seed, shift) for seed in range(150)]
    taken = [moments(draw) for draw in draws]
    spread = np.std([frechet_distance(one, reference) for one in taken], ddof=1)
    errors = [
        frechet.frechet_standard_error(torch.from_numpy(draw), own, reference)
        for draw, own in zip(draws, taken, strict=True)
    ]
    assert np.mean(errors) == pytest.approx(spread, rel=0.2)


def test_standard_error_is_null_where_samples_limit_the_covariance():
    few, many = relu_features(30, 40, 0), relu_features(400, 40, 1)
    own, reference = moments(few), moments(many)
    assert frechet.frechet_standard_error(torch.from_numpy(few), own, reference) is None
    assert frechet.frechet_standard_error(torch.from_numpy(many), reference, own) > 0
    with pytest.raises(ValueError, match="not those of 400"):
        frechet.frechet_standard_error(torch.from_numpy(many), own, reference)


def test_standard_error_of_collapsed_features_is_zero():
    collapsed, reference = np.ones((200, 8), np.float32), relu_features(400, 8, 1)
    own = moments(collapsed)
    assert frechet.frechet_standard_error(torch.from_numpy(collapsed), own, moments(reference)) == 0
    many = torch.from_numpy(reference)
    assert frechet.frechet_standard_error(many, moments(reference), own) > 0


def test_standard_error_stands_dead_features():
    alive, reference = relu_features(400, 10, 0), relu_features(400, 10, 1, 0.1)
    dead = np.pad(alive, ((0, 0), (0, 5)))
    one = frechet.frechet_standard_error(torch.from_numpy(alive), moments(alive), moments(reference))
    other = frechet.frechet_standard_error(
        torch.from_numpy(dead), moments(dead), moments(np.pad(reference, ((0, 0), (0, 5))))
    )
    assert one == pytest.approx(other, rel=1e-9)


def test_kid_equals_clean_fid_on_the_same_subsets():
    x, y = (relu_features(count, 64, seed, seed / 20).astype(float) for count, seed in ((300, 0), (250, 1)))
    np.random.seed(3)
    theirs = cleanfid.fid.kernel_distance(y, x, num_subsets=8, max_subset_size=100)
    same = np.random.RandomState(3)  # x is drawn first there
    subsets = [(same.choice(300, 100, replace=False), same.choice(250, 100, replace=False)) for _ in range(8)]
    ours = subset_values(torch.from_numpy(x), torch.from_numpy(y), subsets)
    assert ours.shape == (8,)
    assert ours.mean() == pytest.approx(theirs, rel=1e-11)


def normal(count: int, mean: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 1)) + mean)


@pytest.mark.parametrize(
    ("mean", "true"), [(0.0, 0.0), (0.5, 3 * 0.5**2 + 3 * 0.25**2 + 1.625**2)], ids=["alike", "apart"]
)
def test_kid_is_unbiased_and_its_error_is_the_spread_of_independent_draws(mean, true):
    """In one dimension MMD^2 = 3 (m1 - m1')^2 + 3 (m2 - m2')^2 + (m3 - m3')^2 of the raw moments."""
    runs = [
        kid(normal(400, 0, seed), normal(400, mean, 1000 + seed), 25, 50, generator=np.random.default_rng(0))
        for seed in range(100)
    ]
    values, errors = np.array(runs).T
    spread = values.std(ddof=1)
    assert values.mean() == pytest.approx(true, abs=3 * spread / np.sqrt(100))
    # Where the two are alike, the error may be generous, never the reverse.
    assert 0.8 < errors.mean() / spread < (1.25 if mean else 3)


def test_kid_says_when_it_knows_no_error():
    x, y = normal(60, 0, 0), normal(80, 1, 1)
    value, error = kid(x, y, 10, 1000, generator=np.random.default_rng(0))
    assert value > 0
    assert error is None
    assert kid(x, y, 1, 20, generator=np.random.default_rng(0))[1] is None


def test_kid_refuses_what_it_cannot_measure():
    x, random = normal(10, 0, 0), np.random.default_rng(0)
    with pytest.raises(ValueError, match="no distance"):
        kid(x, torch.zeros(10, 2), generator=random)
    with pytest.raises(ValueError, match="not finite"):
        kid(x, x * torch.nan, generator=random)
    with pytest.raises(ValueError, match="two samples, not 1"):
        kid(x, x, subset_size=1, generator=random)
    with pytest.raises(ValueError, match="subsets must be"):
        kid(x, x, subsets=0, generator=random)


def both(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[Prdc, dict[str, float]]:
    ours = prdc(torch.from_numpy(real), torch.from_numpy(fake), k, chunk=64)
    return ours, published.compute_prdc(real, fake, k)


def assert_equal(ours: Prdc, theirs: dict[str, float]) -> None:
    for name, value in theirs.items():
        assert getattr(ours, name) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("offset", [0, 100])
def test_prdc_equals_the_published_package(k, offset):
    real, fake = relu_features(400, 8, 0), relu_features(300, 8, 1, 0.1)
    ours, theirs = both(real + np.float32(offset), fake + np.float32(offset), k)
    assert 0.1 < ours.precision < 1
    assert 0.1 < ours.recall < 1
    assert_equal(ours, theirs)


def test_prdc_equals_the_published_package_with_equal_distances_and_duplicates():
    """On a grid most distances tie; whole numbers are exact there and, being centred, are not here."""
    random = np.random.default_rng(0)
    real, fake = (random.integers(0, 6, (n, 3)).astype(np.float32) for n in (300, 200))
    ours, theirs = both(real, fake, 3)
    assert len(np.unique(real, axis=0)) < 200  # duplicates
    assert 0.1 < ours.precision < 1
    assert_equal(ours, theirs)


@pytest.mark.parametrize("offset", [0, 1e7])
def test_prdc_of_near_duplicates_far_from_the_mean_is_that_of_exact_distances(offset):
    random = np.random.default_rng(0)
    centres = random.standard_normal((2, 16)) * 300 + offset
    real, fake = (
        (centres[random.integers(0, 2, n)] + 1e-2 * random.standard_normal((n, 16))) for n in (200, 150)
    )

    def exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b) ** 2).sum(2))

    radii = np.sort(exact(real, real), 1)[:, 5]
    inside = exact(real, fake) < radii[:, None]
    recalled = exact(real, fake) < np.sort(exact(fake, fake), 1)[:, 5]
    ours = prdc(torch.from_numpy(real), torch.from_numpy(fake))
    assert 0.1 < ours.recall < 1
    assert (ours.precision, ours.recall) == (inside.any(0).mean(), recalled.any(1).mean())
    assert ours.density == pytest.approx(inside.sum(0).mean() / 5, rel=1e-12)
    assert ours.coverage == inside.any(1).mean()


def test_a_copy_of_the_real_samples_is_precise_and_covers_them():
    """Each copy lies on the surface of k-th neighbours' balls and in the middle of its own."""
    real = torch.from_numpy(relu_features(300, 64, 0))
    ours = prdc(real, real.clone(), 4)
    assert (ours.precision, ours.recall, ours.density, ours.coverage) == (1, 1, 1, 1)


@pytest.mark.parametrize("size", [2, 2048])
def test_collapsed_samples_have_no_recall(size):
    real = torch.from_numpy(relu_features(100, size, 0))
    collapsed = prdc(real, real[:1].repeat(100, 1))
    assert collapsed.precision == 1
    assert collapsed.recall == 0  # balls about exact copies are empty
    assert collapsed.coverage < 0.2


def test_chunks_change_no_result():
    real, fake = torch.from_numpy(relu_features(130, 8, 0)), torch.from_numpy(relu_features(90, 8, 1))
    assert prdc(real, fake, chunk=7) == prdc(real, fake, chunk=1000)


def test_standard_errors_of_precision_and_density_are_the_spread_over_fakes():
    real = torch.from_numpy(relu_features(300, 4, 0))
    runs = [prdc(real, torch.from_numpy(relu_features(200, 4, seed, 0.3))) for seed in range(1, 120)]
    for name in ("precision", "density"):
        spread = np.std([getattr(run, name) for run in runs], ddof=1)
        assert np.mean([getattr(run, f"{name}_error") for run in runs]) == pytest.approx(spread, rel=0.2)


def test_prdc_refuses_what_it_cannot_measure():
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    assert prdc(x, x, 5).coverage == 1
    for k in (0, 6):
        with pytest.raises(ValueError, match=f"no neighbour number {k}"):
            prdc(x, x, k)
    with pytest.raises(ValueError, match="not finite"):
        prdc(x, x / 0)


def test_a_metric_can_name_the_statistics_without_torch_or_numpy():
    loaded = "import sys, rdbench.numerics; print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
