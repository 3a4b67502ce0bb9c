"""The simultaneous band: it holds the whole truth in 95 of 100 sweeps, and compares at common rates alone."""

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from rdbench.report.statistics import band
from rdbench.report.statistics.band import difference_band

LEAST = 0.01


def line(rates, heights):
    return np.array(rates, float), np.array(heights, float)


def sweep(generator, seeds, betas=9, noise=0.02, shared=None, lead=0.0):
    """Curves about 100 exp(-rate / 8) of trials that are off by ``noise`` in rate and height."""
    rates = np.geomspace(1, 20, betas)
    curves = {}
    for seed in range(seeds):
        off = generator.normal(size=(2, betas)) if shared is None else shared[seed] + generator.normal(
            scale=0.1, size=(2, betas))  # fmt: skip
        at = rates * np.exp(noise * off[0])
        curves[seed] = (at, (100 * np.exp(-rates / 8) - lead) * np.exp(noise * off[1]))
    return curves


def test_where_one_point_alone_varies_the_band_is_students_interval():
    values = [1.0, 2.5, 4.0, 0.5, 3.0]
    first = {seed: line([1, 2], [value, 7]) for seed, value in enumerate(values)}
    found = difference_band(first, {seed: line([1, 2], [0, 0]) for seed in range(5)}, LEAST)
    assert found.mean == pytest.approx([2.2, 7])
    errors = found.half_width[0] / (np.std(values, ddof=1) / np.sqrt(5))
    assert errors == pytest.approx(t.ppf(0.975, 4), rel=0.1)
    # Of the p-values of both directions the band at level 1 - p just leaves zero out.
    value = found.mean[0] / found.error[0]
    assert found.p(positive=True) == pytest.approx(2 * t.sf(value, 4))
    assert found.pointwise_half_width[0] == pytest.approx(t.ppf(0.975, 4) * found.error[0])
    assert found.p(positive=False) == 1


@pytest.mark.parametrize(("seeds", "betas"), [(3, 5), (5, 9)])
def test_the_band_holds_the_whole_truth_in_93_to_97_of_100_and_pointwise_intervals_do_not(
    seeds, betas, monkeypatch
):
    monkeypatch.setattr(band, "DRAWS", 500)
    generator = np.random.default_rng(4)
    held, pointwise = [], []
    for _ in range(300):
        found = difference_band(*(sweep(generator, seeds, betas) for _ in range(2)), LEAST)
        held.append((np.abs(found.mean) <= found.half_width).all())
        pointwise.append((np.abs(found.mean) <= t.ppf(0.975, seeds - 1) * found.error).all())
    assert 0.93 <= np.mean(held) <= 0.97
    assert np.mean(pointwise) < 0.85


def test_luck_that_both_curves_share_is_taken_out():
    generator = np.random.default_rng(1)
    shared = generator.normal(size=(5, 2, 9))
    first, second = (sweep(generator, 5, shared=shared) for _ in range(2))
    paired = difference_band(first, second, LEAST)
    apart = difference_band(first, {seed + 5: curve for seed, curve in second.items()}, LEAST)
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.half_width.mean() < 0.3 * apart.half_width.mean()


def test_only_rates_that_all_seeds_of_both_reach_are_compared_and_the_others_are_named():
    first = {0: line([2, 10], [5, 5]), 1: line([3, 9], [5, 5])}
    second = {0: line([1, 20], [1, 2]), 1: line([1, 30], [1, 2])}
    found = difference_band(first, second, LEAST)
    assert (found.rates[0], found.rates[-1]) == (3, 9)
    assert found.alone == ((1.0, 3.0), (9.0, 20.0))
    assert difference_band({0: line([1, 2], [0, 0])}, {0: line([2, 3], [0, 0])}, LEAST) is None


def test_nothing_is_compared_below_the_floor():
    curves = {seed: line([1e-6, 1], [seed, 1]) for seed in (0, 1)}
    assert difference_band(curves, curves, 0.5).rates.tolist() == [0.5, 1.0]
    assert difference_band(curves, curves, 2.0) is None


def test_a_difference_at_one_rate_alone_is_seen():
    first = {seed: line([1, 2, 3], [1, 1, 1]) for seed in range(3)}
    second = {seed: line([1, 1.9, 2, 2.1, 3], [0, 0, 2 + seed / 50, 0, 0]) for seed in range(3)}
    found = difference_band(first, second, LEAST)
    assert found.mean.min() == pytest.approx(1 - 2.02)
    assert found.p(positive=True) == 1
    assert found.p(positive=False) < 0.05


def test_a_single_seed_and_seeds_that_do_not_differ_have_no_band():
    one = {0: line([1, 2], [3, 3])}
    assert difference_band(one, one, LEAST).reason == "a single seed has no interval"
    same = {seed: line([1, 2], [3, 3]) for seed in range(3)}
    found = difference_band(same, {seed: line([1, 2], [1, 1]) for seed in range(3)}, LEAST)
    assert found.p(positive=True) is None
    assert "nothing varies" in found.reason


def test_below_at_every_rate_is_shown_where_the_test_at_each_rate_shows_it():
    generator = np.random.default_rng(3)
    sides = [{seed: line([1, 2, 3], lead + generator.normal(size=3)) for seed in seeds}
             for lead, seeds in (([6, 9, 12], range(5)), ([0, 0, 0], range(10, 14)))]  # fmt: skip
    found = difference_band(*sides, LEAST)
    heights = [np.stack([heights for _, heights in side.values()]) for side in sides]
    each = ttest_ind(*heights, equal_var=False)
    assert found.freedom == pytest.approx(each.df)
    assert found.p(positive=True) == pytest.approx(each.pvalue.max())
    assert found.p(positive=False) == 1
    assert difference_band(*reversed(sides), LEAST).p(positive=True) == 1
