"""BD-rate: the published definition, an honest interval, and a reason wherever there is no number."""

import math

import bjontegaard
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from rdbench.numerics.likelihood import READING_NAMES, READINGS
from rdbench.report.sections import Section
from rdbench.report.statistics import bd_rate
from rdbench.report.statistics.monotone import Monotone
from rdbench.report.tables import bd_rate as tables
from rdbench.report.tables.bd_rate import envelope_table


def sweep(rates, errors, seeds=(0,), betas=None):
    """Rows of one variant: the same points for each seed."""
    betas = range(len(rates)) if betas is None else betas
    rows = [
        (float(beta), seed, rate, error)
        for seed in seeds
        for beta, rate, error in zip(betas, rates, errors, strict=True)
    ]
    return pd.DataFrame(rows, columns=["beta", "seed", "rate", "mse"])


def gaussian(variance, errors, scale=1.0):
    """Rates (nats) of an i.i.d. Gaussian source of 20 dimensions, with an offset so that none is zero."""
    return scale * (10 * np.log(variance / np.asarray(errors)) + 1)


def noisy(generator, scale, seeds, noise, correlation, shared=None):
    """A sweep of nine points on a Gaussian's curve, its trainings off by ``noise`` in rate and error."""
    errors = np.geomspace(0.01, 0.7, 9)
    parts = []
    for seed in range(seeds):
        of_seed = generator.normal(size=(2, 1)) if shared is None else shared[seed]
        own = generator.normal(size=(2, 9))
        off = np.exp(noise * (math.sqrt(correlation) * of_seed + math.sqrt(1 - correlation) * own))
        parts.append(sweep(gaussian(1, errors, scale) * off[0], errors * off[1], (seed,)))
    return pd.concat(parts)


def section(points, readings=("half", "optimal")):
    """A section from {variant: rows}; the distortion under a reading is one of the error; no pixels."""
    frames = [
        rows.assign(variant=variant, split="test", reading=reading, elbo=0.0,
                    psnr_of_mse=np.nan, density_bits_per_dim=0.0,
                    distortion=100 * rows["mse"] if reading == "half" else 50 * np.log(rows["mse"]))
        for variant, rows in points.items() for reading in READINGS
    ]  # fmt: skip
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return Section({"dataset": {"name": "mnist"}, "protocol": "clean"}, None, readings, frame)


def read_at(own, **native):
    """The same section, with the native reading of its variants."""
    own.points["native"] = [
        native.get(variant) == reading
        for variant, reading in zip(own.points["variant"], own.points["reading"], strict=True)
    ]
    own.points["beta_rate"] = [native.get(variant) == "half" for variant in own.points["variant"]]
    return own


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


# The number


@pytest.mark.parametrize("points", [2, 3, 4, 30])
def test_the_interpolation_is_scipys_pchip(points):
    random = np.random.default_rng(points)
    for _ in range(50):
        x, y = np.cumsum(random.exponential(size=(2, points)) ** 3 + 1e-6, axis=1)
        low, high = np.sort(random.uniform(x[0], x[-1], 2))
        truth = PchipInterpolator(x, y)
        ours = Monotone(x, y)
        assert ours.area(low, high) == pytest.approx(float(truth.integrate(low, high)), rel=1e-10, abs=1e-12)
        assert ours.area(x[0], x[-1]) == pytest.approx(float(truth.integrate(x[0], x[-1])), rel=1e-10)
        assert ours.slopes == pytest.approx(truth.derivative()(x), rel=1e-9, abs=1e-12)


def test_a_tenth_more_rate_everywhere_is_ten_per_cent():
    errors = [0.9, 0.5, 0.2, 0.05]
    rates = gaussian(1, errors)
    found = bd_rate.bd_rate_between(sweep(1.1 * rates, errors), sweep(rates, errors), "mse")
    assert found.percent == pytest.approx(10)
    assert found.overlap == 1
    less = bd_rate.bd_rate_between(sweep(rates, errors), sweep(1.1 * rates, errors), "mse")
    assert less.percent == pytest.approx(100 * (1 / 1.1 - 1))


def rate_over_quality(rates, qualities):
    return PchipInterpolator(np.asarray(qualities), np.asarray(rates))


def integrated(test, baseline, low, high):
    """BD-rate of two rates over the quality, by adaptive integration."""
    knots = [x for x in np.unique(np.concatenate([test.x, baseline.x])) if low < x < high]
    area, _ = quad(lambda q: math.log(test(q) / baseline(q)), low, high, points=knots, limit=400)
    return 100 * math.expm1(area / (high - low))


def test_it_equals_scipys_interpolation_and_integration():
    generator = np.random.default_rng(3)
    for _ in range(20):
        one, other = (np.sort(generator.uniform(0.01, 1, size))[::-1] for size in (5, 9))
        rates = [np.sort(generator.uniform(1, 300, len(own))) for own in (one, other)]
        psnr = [-10 * np.log10(own) for own in (one, other)]
        low, high = max(own[0] for own in psnr), min(own[-1] for own in psnr)
        expected = integrated(*map(rate_over_quality, rates, psnr), low, high)
        found = bd_rate.bd_rate_between(sweep(rates[0], one), sweep(rates[1], other), "mse")
        assert math.log1p(found.percent / 100) == pytest.approx(math.log1p(expected / 100), abs=1e-3)
        assert found.quality_range == pytest.approx((low, high))
        reach = max(own[-1] for own in psnr) - min(own[0] for own in psnr)
        assert found.overlap == pytest.approx((high - low) / reach)
        # And at equal rate, the difference of quality.
        ends = max(own[0] for own in rates), min(own[-1] for own in rates)
        one, other = (PchipInterpolator(*own).integrate(*ends) for own in zip(rates, psnr, strict=True))
        assert found.gain == pytest.approx((one - other) / (ends[1] - ends[0]), rel=1e-9)


@pytest.mark.parametrize("measure", ["mse", "distortion"])
def test_of_dense_curves_it_equals_another_package_which_interpolates_the_logarithm(measure):
    errors = np.geomspace(0.01, 0.7, 300)
    one, other = gaussian(1, errors) ** 1.1, gaussian(1.4, errors)
    quality = -10 * np.log10(errors) if measure == "mse" else -1000 * errors
    expected = bjontegaard.bd_rate(other, quality, one, quality, "pchip", min_overlap=0)
    frames = [sweep(rates, errors).assign(distortion=1000 * np.tile(errors, 1)) for rates in (one, other)]
    assert bd_rate.bd_rate_between(*frames, measure).percent == pytest.approx(expected, abs=0.01)


def test_two_gaussian_sources_are_apart_by_what_integration_says():
    def rate(error, spectrum):
        level = brentq(lambda t: np.minimum(t, spectrum).sum() - error, 1e-12, spectrum.max() * 2)
        return 0.5 * np.log(np.maximum(spectrum / level, 1)).sum()

    one, other = np.arange(1, 9) ** -1.2, np.arange(1, 9) ** -0.8
    errors = np.geomspace(0.02, 2, 60)  # below the whole variance of either
    low, high = -10 * math.log10(errors[-1]), -10 * math.log10(errors[0])
    area, _ = quad(
        lambda db: math.log(rate(10 ** (-db / 10), other) / rate(10 ** (-db / 10), one)), low, high, limit=400
    )
    expected = 100 * math.expm1(area / (high - low))
    curve = {name: sweep([rate(e, own) for e in errors], errors) for name, own in (("a", one), ("b", other))}
    found = bd_rate.bd_rate_between(curve["b"], curve["a"], "mse")
    assert found.percent == pytest.approx(expected, rel=1e-3)
    assert found.quality_range == pytest.approx((low, high))


def test_points_that_another_of_the_curve_beats_are_not_on_it():
    rates, errors = [1.0, 4, 9, 16], [0.8, 0.4, 0.2, 0.1]
    # More rate for more error, and as much rate for more error.
    worse = sweep([*rates, 12.0, 9.0], [*errors, 0.5, 0.3])
    found = bd_rate.bd_rate_between(worse, sweep([1.2 * rate for rate in rates], errors), "mse")
    assert found.percent == pytest.approx(100 * (1 / 1.2 - 1))


def test_means_over_seeds_come_before_the_curve():
    errors = np.array([0.8, 0.4, 0.2])
    rates = gaussian(1, errors)
    two = pd.concat([sweep(0.5 * rates, 1.5 * errors, (0,)), sweep(1.5 * rates, 0.5 * errors, (1,))])
    found = bd_rate.bd_rate_between(two, sweep(rates, errors, (0, 1)), "mse")
    assert found.percent == pytest.approx(0, abs=1e-9)


def test_a_rate_or_an_error_of_zero_has_no_logarithm_and_is_left_out():
    errors = [0.8, 0.4, 0.2, 0.1]
    rates = list(gaussian(1, errors))
    test = sweep([0.0, *rates, 99.0], [0.9, *errors, 0.0])
    found = bd_rate.bd_rate_between(test, sweep(rates, errors), "mse")
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert found.overlap == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_trial_that_is_not_there(value):
    errors = [0.8, 0.4, 0.2]
    rates = gaussian(1, errors)
    full = sweep(rates, errors, (0, 1, 2))
    test = full.assign(rate=1.1 * full["rate"])
    test.iloc[4, test.columns.get_loc("mse")] = value
    found = bd_rate.bd_rate_between(test, full, "mse")
    assert found.percent == pytest.approx(10)
    assert (found.low, found.high) == (pytest.approx(10), pytest.approx(10))


# Where there is none


def test_curves_that_reach_no_quality_in_common_have_none():
    found = bd_rate.bd_rate_between(sweep([1, 2], [0.9, 0.8]), sweep([1, 2], [0.2, 0.1]), "mse")
    assert (found.percent, found.low, found.high, found.overlap) == (None, None, None, 0)
    assert found.quality_range is None
    assert "no quality in common" in found.reason


def test_curves_that_touch_in_a_point_have_none():
    found = bd_rate.bd_rate_between(sweep([1, 2], [0.9, 0.5]), sweep([1, 2], [0.5, 0.1]), "mse")
    assert (found.percent, found.overlap) == (None, 0)


@pytest.mark.parametrize("errors", [[0.5], [0.5, 0.6, 0.7], []])
def test_a_hull_of_one_point_is_no_curve_and_its_variant_is_named(errors):
    lone = sweep(range(1, len(errors) + 1), errors).astype(float)
    found = bd_rate.bd_rate_between(lone, sweep([1, 2], [0.9, 0.1]), "mse", variant="mine", name="theirs")
    assert (found.percent, found.overlap) == (None, None)
    assert "two points" in found.reason
    assert "mine" in found.reason
    assert "theirs" not in found.reason


def test_a_single_seed_has_no_interval():
    errors = [0.8, 0.4, 0.2]
    found = bd_rate.bd_rate_between(
        sweep(gaussian(1, errors), errors, (0,)), sweep(gaussian(1, errors), errors, (0, 1)), "mse"
    )
    assert found.n == 1
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert (found.low, found.high) == (None, None)
    assert "single seed" in found.reason


def test_where_resamples_have_no_number_there_is_no_interval():
    # Seed 1 alone does not reach the baseline's qualities: there is nothing to compare.
    baseline = sweep([1, 2], [0.5, 0.1], (0, 1))
    test = pd.concat([sweep([1, 2], [0.4, 0.1], (0,)), sweep([1, 2], [0.9, 0.6], (1,))])
    found = bd_rate.bd_rate_between(test, baseline, "mse")
    assert found.percent is not None
    assert (found.low, found.high) == (None, None)
    assert "25% of the resamples" in found.reason


def test_seeds_that_have_no_beta_in_common_have_no_interval():
    errors = np.array([0.8, 0.4, 0.2, 0.1])
    rates = gaussian(1, errors)
    first, last = (sweep(rates[own], errors[own], (seed,), own) for seed, own in enumerate(([0, 1], [2, 3])))
    found = bd_rate.bd_rate_between(pd.concat([first, last]), sweep(rates, errors, (0, 1)), "mse")
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert (found.low, found.high) == (None, None)
    assert "50% of the resamples" in found.reason


# The interval


def test_two_seeds_give_the_interval_that_can_be_worked_out_by_hand():
    # Rates a times a curve: BD-rate is ln of their mean, and two seeds have the resamples 00, 01 (twice), 11.
    errors = [0.8, 0.4, 0.2]
    rates = gaussian(1, errors)
    test = pd.concat([sweep(1.0 * rates, errors, (0,)), sweep(1.2 * rates, errors, (1,))])
    found = bd_rate.bd_rate_between(test, sweep(rates, errors, (0, 1)), "mse")
    values, weights = np.log([1.0, 1.1, 1.2]), [0.25, 0.5, 0.25]
    mean = np.average(values, weights=weights)
    error = math.sqrt(np.average((values - mean) ** 2, weights=weights) * 2)
    half = 12.706204736 * error  # t(0.975, 1)
    assert found.low == pytest.approx(100 * math.expm1(math.log(1.1) - half))
    assert found.high == pytest.approx(100 * math.expm1(math.log(1.1) + half))
    assert found.reason == ""
    # Of one degree of freedom Student's t is Cauchy's distribution, here of two sides.
    assert found.p == pytest.approx(1 - 2 / math.pi * math.atan(math.log(1.1) / error))


def test_the_resamples_of_five_seeds_are_all_there_with_their_probabilities():
    counts, probability = bd_rate._resamples(5)
    assert counts.shape == (126, 5)
    assert (counts.sum(axis=1) == 5).all()
    assert len({tuple(row) for row in counts}) == 126
    assert probability.sum() == pytest.approx(1)
    assert probability[(counts == 1).all(axis=1)] == pytest.approx(math.factorial(5) / 5**5)


def test_luck_that_both_variants_share_cancels_where_they_have_the_same_seeds():
    generator = np.random.default_rng(1)
    shared = generator.normal(size=(5, 2, 1))
    test, baseline = (noisy(generator, scale, 5, 0.05, 0.999, shared) for scale in (1.1, 1))
    paired = bd_rate.bd_rate_between(test, baseline, "mse")
    apart = bd_rate.bd_rate_between(test, baseline.assign(seed=baseline["seed"] + 5), "mse")
    assert paired.percent == pytest.approx(apart.percent)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_the_same_points_give_the_same_interval_with_resamples_drawn_at_random():
    generator = np.random.default_rng(2)
    test, baseline = noisy(generator, 1.1, 7, 0.02, 0.5), noisy(generator, 1, 6, 0.02, 0.5)
    found = bd_rate.bd_rate_between(test, baseline, "mse")
    assert found == bd_rate.bd_rate_between(test, baseline.sample(frac=1, random_state=0), "mse")
    assert found.n == 6
    assert found.low < found.percent < found.high


@pytest.mark.parametrize(
    ("seeds", "correlation", "noise", "amount"),
    [(3, 0.0, 0.02, 200), (5, 0.8, 0.02, 100)],
)
def test_95_per_cent_intervals_hold_the_truth_in_90_to_99_of_100_sweeps(seeds, correlation, noise, amount):
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(amount):
        test, baseline = (noisy(generator, scale, seeds, noise, correlation) for scale in (1.1, 1))
        found = bd_rate.bd_rate_between(test, baseline, "mse")
        held += found.low <= 10 <= found.high
    assert 0.90 <= held / amount <= 0.99


# The tables


def test_every_variant_is_compared_with_constant_variance_by_each_measure():
    errors = [0.8, 0.4, 0.2]
    rates = gaussian(1, errors)
    own = section({"a": sweep(0.9 * rates, errors, (0, 1)), "beta_vae": sweep(rates, errors, (0, 1))})
    table = tables.table(own)
    assert table.title == "BD-rate against beta_vae"
    assert [row[:4] for row in texts(table)] == [
        [title, "beta_vae", "a", "−10.0"]
        for title in ("MSE", *(f"distortion, {READING_NAMES[name]}" for name in ("half", "optimal")))
    ]
    assert [cell.value for cell in table.rows[0][3:7]] == pytest.approx([-10, -10, -10, 2])
    assert texts(table)[0][7:9] == ["100", "0.8000 to 0.2000"]
    assert texts(table)[1][8] == "80.00 to 20.00 nats"
    assert table.notes == ()


def test_without_constant_variance_the_first_variant_is_the_baseline():
    errors = [0.8, 0.4]
    own = section({name: sweep(gaussian(1, errors), errors) for name in ("c", "b", "d")})
    table = tables.table(own)
    assert table.title == "BD-rate against b"
    assert [row[2] for row in texts(table)][:2] == ["c", "d"]
    assert "single seed" in table.rows[0][4].note


def test_the_bd_rate_table_says_what_it_leaves_out_and_marks_little_overlap():
    own = section(
        {
            "beta_vae": sweep([0.0, 1, 2], [0.9, 0.8, 0.1]),
            "v": sweep([1, 2], [0.8, 0.7]),
            "w": sweep([1], [0.5]),
        }
    )
    table = tables.table(own)
    v, w = table.rows[:2]
    assert v[7].mark == "warning"
    assert w[3].text == "–"
    assert "hull of w" in w[3].note
    assert table.notes[0].startswith("1 point of a rate up to 0.01 nats or of error 0 left out")


def test_a_variant_without_a_finite_distortion_keeps_its_row_and_its_place_as_the_baseline():
    errors = [0.8, 0.4, 0.2]
    own = section({name: sweep(gaussian(1, errors), errors) for name in ("beta_vae", "a", "b")})
    gone = (own.points["variant"] == "beta_vae") & (own.points["reading"] == "optimal")
    own.points.loc[gone, "distortion"] = -math.inf
    table = tables.table(own)
    assert [row[2].text for row in table.rows] == ["a", "b"] * 3
    assert [row[3].text for row in table.rows] == ["0.0", "0.0"] * 2 + ["–", "–"]
    assert "hull of beta_vae" in table.rows[-1][3].note


def test_under_beta_half_only_variants_whose_loss_is_sse_and_beta_rate_are_compared():
    errors = [0.8, 0.4, 0.2]
    curves = {name: sweep(gaussian(1, errors), errors) for name in ("beta_vae", "beta_tc", "bs_vae")}
    native = {"beta_vae": "half", "beta_tc": "half", "bs_vae": "optimal"}
    own = read_at(section(curves, ("half", "beta_half")), **native)
    for table, baseline, at in ((tables.table(own), [], 2), (envelope_table(own), ["beta_vae"], 1)):
        rows = [(row[0].text, row[at].text) for row in table.rows]
        other = sorted([*baseline, "beta_tc", "bs_vae"])
        expected = [("MSE", other), ("distortion, σ² = 1/2", other)]
        expected.append(("distortion, σ² = β/2", [name for name in other if name != "bs_vae"]))
        assert rows == [(title, name) for title, names in expected for name in names]
        assert "σ² = β/2 says something of a loss sse + β·rate" in table.method
    # Where none is left to compare, the rows are absent; where all are, there is nothing to say.
    none = read_at(section(curves, ("half", "beta_half")), beta_vae="half")
    assert {row[0].text for row in tables.table(none).rows} == {"MSE", "distortion, σ² = 1/2"}
    assert {row[0].text for row in envelope_table(none).rows} == {"MSE", "distortion, σ² = 1/2"}
    every = read_at(section(curves, ("half", "beta_half")), **dict.fromkeys(curves, "half"))
    assert "says something of" not in tables.table(every).method


def test_the_linear_coder_is_the_first_baseline_where_it_is_there():
    errors = [0.8, 0.4, 0.2]
    rates = gaussian(1, errors)
    scales = {"linear_coder": 1.0, "beta_vae": 2.0, "a": 3.0}
    own = section({name: sweep(scale * rates, errors, (0, 1)) for name, scale in scales.items()}, ("half",))
    table = tables.table(own)
    assert table.title == "BD-rate against linear_coder and beta_vae"
    assert [row[1:4] for row in texts(table)][:3] == [
        ["linear_coder", "a", "200.0"], ["linear_coder", "beta_vae", "100.0"], ["beta_vae", "a", "50.0"]
    ]  # fmt: skip


# The floor, and the gain at equal rate


def collapsing(scale):
    """A curve that is ``scale`` times as high in rate below 0.1 nats alone, and the same above."""
    errors = np.geomspace(0.69, 0.02, 25)
    rates = 10 * np.log(0.7 / errors)
    rates = np.concatenate([[0.02 * scale, 0.04 * scale, 0.08 * scale], rates])
    return rates, np.concatenate([[2.8, 1.6, 0.9], errors])


def test_what_hangs_on_the_floor_is_marked_and_the_value_at_ten_times_the_floor_stands_beside_it():
    own = section({
        "beta_vae": sweep(*collapsing(1), (0, 1)), "hangs": sweep(*collapsing(0.6), (0, 1)),
        "scaled": sweep(1.1 * collapsing(1)[0], collapsing(1)[1], (0, 1)),
    }, ("half",))  # fmt: skip
    hangs, scaled = tables.table(own).rows[:2]
    assert hangs[3].value < -5
    assert hangs[9].value == pytest.approx(0, abs=0.01)
    assert (hangs[9].mark, scaled[9].mark) == ("warning", "")
    assert scaled[9].value == pytest.approx(10)
    caption = tables.table(own).method
    assert (
        "a floor of 0.01 nats are left out. Beside it stands the BD-rate with a floor of 0.1 nats" in caption
    )


def test_the_floor_is_a_setting():
    own = section({"beta_vae": sweep(*collapsing(1)), "hangs": sweep(*collapsing(0.6))}, ("half",))
    table = tables.table(own, floor=0.2)
    assert table.rows[0][3].value == pytest.approx(0, abs=0.01)
    assert (
        "a floor of 0.2 nats are left out. Beside it stands the BD-rate with a floor of 2 nats"
        in table.method
    )
    assert table.notes[0].startswith("8 points of a rate up to 0.2 nats")


def test_a_floor_that_leaves_no_curve_at_ten_times_is_marked():
    own = section(
        {"beta_vae": sweep([0.02, 0.09], [0.6, 0.5]), "a": sweep([0.03, 0.08], [0.6, 0.5])}, ("half",)
    )
    row = tables.table(own).rows[0]
    assert (row[9].text, row[9].mark) == ("–", "warning")


def test_the_gain_at_equal_rate_weighs_each_nat_alike_and_is_positive_where_the_variant_is_better():
    # Errors half as large at each rate: 3.01 dB; the distortion at 1/2, 100 times the error, by their mean.
    errors = np.array([0.8, 0.4, 0.2])
    own = section(
        {"beta_vae": sweep([1, 2, 3], errors, (0, 1)), "a": sweep([1, 2, 3], errors / 2, (0, 1))}, ("half",)
    )
    mse, half = tables.table(own).rows
    assert mse[10].text == "3.010 ± 0 dB"
    truth = PchipInterpolator([1, 2, 3], 50 * errors).integrate(1, 3) / 2
    assert half[10].value == pytest.approx(truth, rel=1e-9)
    assert half[10].text.endswith(" ± 0 nats")


def test_a_gain_needs_rates_in_common_and_no_quality():
    curves = {"beta_vae": ([1, 2], [0.9, 0.8]), "a": ([1, 2], [0.5, 0.4]), "b": ([3, 4], [0.9, 0.8])}
    own = section({name: sweep(*curve) for name, curve in curves.items()}, ("half",))
    a, b = tables.table(own).rows[:2]
    assert (a[3].text, a[10].text == "–") == ("–", False)
    assert (b[3].text == "–", b[10].note) == (False, "the curves reach no rate in common")


def test_one_variant_or_none_has_neither_table():
    for own in (section({}), section({"beta_vae": sweep([1, 2], [0.8, 0.1])})):
        assert tables.table(own) is None
        assert envelope_table(own) is None


def test_the_envelope_table_gives_each_variants_share_and_points():
    # a lies lower up to the crossing at rate 2.5, half of the shared rates; its last point is beaten by b's.
    own = section({"a": sweep([1, 4], [0.5, 0.4]), "b": sweep([1, 4], [0.6, 0.3]), "c": sweep([2], [0.9])})
    table = envelope_table(own)
    a, b, c = table.rows[:3]
    assert [row[1].text for row in (a, b, c)] == ["a", "b", "c"]
    assert (a[2].value, b[2].value) == (pytest.approx(50, abs=0.1), pytest.approx(50, abs=0.1))
    assert a[3].text == "1.000 to 4.000"
    assert [[cell.value for cell in row[4:]] for row in (a, b, c)] == [[1, 2], [1, 2], [0, 1]]
    assert "fewer than two points" in c[2].note
    assert len(table.rows) == 9


def test_equal_points_are_all_on_the_envelope_and_equal_curves_are_both_the_lowest():
    own = section({name: sweep([1, 4], [0.5, 0.4]) for name in ("a", "b")})
    rows = envelope_table(own).rows[:2]
    assert [[row[2].value, row[4].value] for row in rows] == [[100, 2], [100, 2]]


def test_curves_apart_in_rate_have_no_share_and_say_why():
    own = section({"a": sweep([1, 2], [0.5, 0.4]), "b": sweep([3, 4], [0.3, 0.2])})
    row = envelope_table(own).rows[0]
    assert row[2].text == "–"
    assert "no rates that another curve spans" in row[2].note
