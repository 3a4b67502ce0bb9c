"""The statistics of curves: means, intervals, envelopes, and how numbers are written."""

import math

import numpy as np
import pandas as pd
import pytest
from report_builders import make_sweep, section_of, write

from rdbench.report import numbers
from rdbench.report.charts import label_placement
from rdbench.report.numbers import Estimate
from rdbench.report.statistics import curves


def test_the_interval_is_students():
    # Mean 3, deviation sqrt(2.5), t(0.975, 4) = 2.7764451: half-width 1.9632432.
    found = curves.estimate([1, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.half_width == pytest.approx(1.9632432, rel=1e-7)


def test_one_seed_has_a_value_and_no_interval_and_none_has_neither():
    assert curves.estimate([7.0]) == Estimate(7.0, None, 1)
    assert curves.estimate([7.0, math.nan, None, math.inf]) == Estimate(7.0, None, 1)
    assert curves.estimate([]) is None
    assert curves.estimate([math.nan]) is None


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e100, 1e154, 1e300])
def test_an_interval_is_there_whatever_the_size_of_the_numbers(size):
    found = curves.estimate([size, 2 * size, 3 * size])
    assert found.mean == pytest.approx(2 * size, rel=1e-12, abs=0)
    assert found.half_width == pytest.approx(2.4841377118 * size, rel=1e-9, abs=0)


def test_means_are_over_seeds(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 1, 4])))
    rows = curves.finite_points(section.points, "test", "half")
    means = curves.mean_points(rows).set_index(["variant", "beta"])
    assert means.loc[("bs_vae", 10.0), "n"] == 3
    assert means.loc[("bs_vae", 10.0), "rate"] == pytest.approx(2 + 5 / 24)
    assert means.loc[("bs_vae", 10.0), "elbo"] == pytest.approx(-(110 + 5 / 12))


def test_the_envelope_keeps_what_no_point_of_lower_rate_beats():
    rows = pd.DataFrame({"rate": [3.0, 1, 2, 2, 4], "mse": [0.5, 0.9, 0.95, 0.7, 0.5]})
    assert curves.envelope(rows, "mse")[["rate", "mse"]].to_numpy().tolist() == [[1, 0.9], [2, 0.7], [3, 0.5]]


def test_the_lowest_curve_is_named_with_the_share_of_the_shared_rates():
    means = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "rate": [0.0, 4.0, 0.0, 8.0], "mse": [4.0, 0.0, 3.0, 1.0]}
    )
    # Over 0 to 4 nats, a is 4 - r and b is 3 - r/4: they cross at 4/3, and a is lower over the last 2/3.
    found = curves.lowest_curve(means, "mse")
    assert (found.variants, found.low, found.high) == (("a",), 0.0, 4.0)
    assert found.share == pytest.approx(2 / 3, abs=2e-3)


def test_a_narrow_curve_among_others_narrows_nothing_and_equal_ones_are_named_together():
    """a and its twin span 0 to 8, b 4 to 12 and the narrow one 1 to 2, where it is the lowest."""
    lines = {"a": ([0.0, 8.0], [9.0, 1.0]), "twin": ([0.0, 8.0], [9.0, 1.0])}
    lines |= {"b": ([4.0, 12.0], [3.0, 2.0]), "narrow": ([1.0, 2.0], [1.5, 1.0])}
    means = pd.concat(pd.DataFrame({"variant": v, "rate": x, "mse": y}) for v, (x, y) in lines.items())
    found = curves.lowest_shares(means, "mse")
    # b = 3 - (r - 4) / 8 meets a = 9 - r at 44 / 7; from 8 on it is alone.
    meet = 44 / 7
    assert (found.low, found.high) == (0.0, 8.0)
    for name, length in {"a": 1 + 2 + (8 - meet), "twin": 3 + (8 - meet), "b": meet - 4, "narrow": 1}.items():
        assert found.shares[name] == pytest.approx(length / 8, rel=1e-12), name
    assert curves.lowest_curve(means, "mse").variants == ("a", "twin")


@pytest.mark.parametrize("b_rates", [[5.0, 6.0], [2.0, 2.0]])
def test_no_curve_is_called_lowest_where_they_share_no_rates(b_rates):
    means = pd.DataFrame(
        {"variant": ["a", "a", "b", "b"], "rate": [0.0, 4.0, *b_rates], "mse": [4.0, 1, 3, 2]}
    )
    assert curves.lowest_curve(means, "mse") is None


def test_equal_curves_have_no_lowest():
    means = pd.DataFrame({"variant": ["a", "a", "b", "b"], "rate": [0.0, 1, 0, 1], "mse": [2.0, 1, 2, 1]})
    assert curves.lowest_curve(means, "mse") is None


# Numbers and labels


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (-math.inf, "–"), (0.0, "0"), (-1234.56, "−1,234.6"),
     (0.012345, "0.01235"), (-0.00001, "−1.000e−05"), (123.456, "123.5")],
)  # fmt: skip
def test_numbers_are_written_for_reading_and_a_missing_one_is_a_dash(value, text):
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [(-1234.5678, 2.345, "−1,234.6 ± 2.3"), (0.5, 0.00123, "0.5000 ± 0.0012"), (1234.5, 234.0, "1,234 ± 234"),
     (5.0, 0.0, "5.000 ± 0"), (-0.001, 0.5, "0.00 ± 0.50")],
)  # fmt: skip
def test_a_mean_has_the_digits_its_interval_allows(mean, half, text):
    assert numbers.interval(Estimate(mean, half, 5)) == text


def test_labels_cover_no_point_and_no_label_and_round_numbers_come_first():
    betas = [10 ** (i / 10) for i in range(-30, 31)]
    x, y = [1 / (1 + b) for b in betas], [b / (1 + b) for b in betas]
    ranges = (label_placement.domain(x), label_placement.domain(y))
    placed = label_placement.place(x, y, betas, ranges, log_x=False)
    tens = {f"β {10.0**power:g}" for power in range(-3, 4)}
    assert {text for text, _ in filter(None, placed)} <= tens
    assert placed[30] is not None
    crowd = label_placement.place([1.0] * 9, [1.0] * 9, list(range(1, 10)), ranges, log_x=False)
    assert sum(label is not None for label in crowd) <= len(label_placement.CORNERS)


def test_a_rate_of_zero_gets_no_label_on_a_logarithmic_axis():
    ranges = (label_placement.domain([0.0, 1.0], log=True), label_placement.domain([1.0, 2.0]))
    assert label_placement.place([0.0, 1.0], [1.0, 2.0], [1, 2], ranges, log_x=True)[0] is None


def test_a_share_is_exact_however_short_the_stretch():
    """Two curves that cross within a thousandth of the range, at 3/4 of it and at a knot of one alone."""
    one = pd.DataFrame({"variant": "one", "rate": [0.0, 1e-4, 1.0], "mse": [3.0, 2.0, 1.0]})
    other = pd.DataFrame({"variant": "other", "rate": [0.0, 1.0], "mse": [2.5, 1.0]})
    shares = curves.lowest_shares(pd.concat([one, other]), "mse")
    # one - other: 0.5 at 0, -0.49985 at 1e-4, 0 at 1.
    crossing = 1e-4 * 0.5 / (0.5 + 0.49985)
    assert shares.shares["other"] == pytest.approx(crossing, rel=1e-9)
    assert shares.shares["one"] == pytest.approx(1 - crossing, rel=1e-12)


def test_a_curve_that_is_below_another_everywhere_has_all_of_the_share():
    rates = np.geomspace(1e-3, 300, 57)
    one = pd.DataFrame({"variant": "one", "rate": rates, "mse": 1 / (1 + rates)})
    other = one.assign(variant="other", mse=one["mse"] * (1 + 1e-15) + 1e-12)
    assert curves.lowest_shares(pd.concat([one, other]), "mse").shares == {
        "one": 1.0,
        "other": 0.0,
    }


def test_one_curve_through_other_points_of_the_same_lines_is_a_tie():
    rate = np.array([1.0, 3.0, 10.0])
    height = np.array([0.7, 0.3, 0.1])
    for between in np.linspace(1.1, 2.9, 50):
        more = np.insert(rate, 1, between)
        means = pd.concat(
            pd.DataFrame({"variant": name, "rate": x, "mse": np.interp(x, rate, height)})
            for name, x in (("a", rate), ("b", more))
        )
        assert curves.lowest_shares(means, "mse").shares == {"a": 1.0, "b": 1.0}
