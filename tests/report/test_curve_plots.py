"""Curves of the plots over the rate: monotone, named at their ends, and Fig. 3 as the paper prints it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from rdbench.report.charts import end_names, fit
from rdbench.report.charts.fig3 import fig3
from rdbench.report.charts.psnr import psnr_chart
from rdbench.report.sections import Section
from rdbench.report.statistics.monotone import falling

PAIR = ("beta_vae", "bs_vae")
# The paper's Fig. 3 as SCIENCE.md section 5 gives it: rate in nats, distortion of bs_vae at its optimum.
BS = ((1.0, -2000.0), (5.0, -5100.0), (13.0, -7300.0), (25.0, -9300.0), (110.0, -12600.0))
SHIFT = {"half": 20000.0, "beta_half": 4000.0, "optimal_train": 900.0}


def papers_shape():
    """Rows with the curves of the paper: at 1/2 flat near 7200, at beta/2 above the optimum, bs_vae below."""
    rows = []
    for variant in PAIR:
        for beta, (rate, lowest) in enumerate(BS, 1):
            for reading in SHIFT:
                height = lowest if variant == "bs_vae" else lowest + SHIFT[reading]
                height = 7200.0 - rate / 10 if reading == "half" else height
                rows.append({"trial": f"{variant}{beta}", "variant": variant, "beta": 1.0 / beta, "seed": 0,
                             "split": "test", "reading": reading, "rate": rate, "mse": 0.05 / beta,
                             "psnr": 10.0 + beta, "distortion": height, "elbo": -height - rate,
                             "native": reading == "half", "beta_rate": True})  # fmt: skip
    return Section(
        {"dataset": {"name": "celeba"}, "protocol": "clean"}, None, tuple(SHIFT), pd.DataFrame(rows)
    )


def test_fig3_has_the_papers_axes_and_order_of_curves():
    chart = fig3(papers_shape(), PAIR)
    encoding = next(
        layer["encoding"] for layer in chart.views["linear"]["layer"] if layer.get("name") == "points"
    )
    x, y = (encoding[axis]["scale"]["domain"] for axis in "xy")
    # Rates of 0 to 300 nats where there are such; here all are below 111.
    assert x[0] < 1 < 110 < x[1] <= 300
    assert -15000 <= y[0] < -12600 < 7200 < y[1] <= 15000
    names = chart.data["names_distortion_linear"]  # from the lowest curve upwards
    assert [row["text"] for row in names] == [
        "bs_vae, optimal σ²", "beta_vae, optimal σ²", "beta_vae, σ² = β/2", "beta_vae, σ² = 1/2",
    ]  # fmt: skip
    marks = encoding["shape"]["scale"]["range"]
    assert len(set(marks)) == len(names) == 4
    drawn = [(row["rate"], row["distortion"]) for row in chart.data["curve_distortion"]
             if row["variant"] == "bs_vae, optimal σ²"]  # fmt: skip
    assert set(BS) <= set(drawn)


@pytest.mark.parametrize("lost", ["bs_vae", "beta_vae"])
def test_fig3_takes_both_variants(lost):
    section = papers_shape()
    section.points = section.points[section.points["variant"] != lost]
    assert fig3(section, [name for name in PAIR if name != lost]) is None


def test_the_pictures_of_a_point_are_those_of_its_trial_under_every_reading():
    for row in fig3(papers_shape(), PAIR).data["means"]:
        assert row["key"] == f"{PAIR.index(row['member'])}/{row['beta']:.12g}"


def test_psnr_is_read_without_a_reading_and_rises_with_the_rate():
    chart = psnr_chart(papers_shape(), PAIR)
    assert chart.controls[0].label == "rate axis"
    heights = [row["psnr"] for row in chart.data["curve_psnr"] if row["variant"] == "bs_vae"]
    assert heights == sorted(heights)
    assert {row["text"] for row in chart.data["names_psnr_linear"]} == set(PAIR)


@pytest.mark.parametrize("seed", range(5))
def test_the_blocks_of_a_falling_curve_are_those_of_isotonic_regression(seed):
    random = np.random.default_rng(seed)
    x, y, weights = (
        np.arange(30.0),
        random.normal(size=30) - np.arange(30) / 10,
        random.integers(1, 5, 30) * 1.0,
    )
    found = np.empty(30)
    for block in falling(x, y, weights):
        found[block] = np.average(y[block], weights=weights[block])
    truth = IsotonicRegression(increasing=False).fit_transform(x, y, sample_weight=weights)
    assert found == pytest.approx(truth)


@pytest.mark.parametrize("seed", range(5))
def test_a_curve_never_turns_back_and_is_dashed_between_single_seeds(seed):
    random = np.random.default_rng(seed)
    means = [{"variant": "a", "rate": rate, "mse": 0.2 / rate * random.uniform(0.7, 1.3), "state": None,
              "mse_n": 1 if rate > 10 else 3} for rate in np.geomspace(1, 100, 12)]  # fmt: skip
    rows = fit.curve_rows(means, "mse")
    rates, heights = ([row[key] for row in rows] for key in ("rate", "mse"))
    assert rates == sorted(rates)
    assert all(b <= a for a, b in itertools.pairwise(heights))
    assert (rates[0], rates[-1]) == (1, 100)
    assert not any(row["alone"] for row in rows if row["rate"] < 5)
    assert all(row["alone"] for row in rows if row["rate"] > 20)


@pytest.mark.parametrize("wanted", [[0.5] * 5, [0.0, 0.01, 0.9], [0.97, 0.98, 0.99], [0.1, 0.5, 0.9]])
def test_names_keep_their_distance_and_stay_beside_the_plot(wanted):
    places = end_names.spread(wanted, 0.05)
    assert all(b - a > 0.05 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 0
    assert places[-1] <= 1
    if wanted == [0.1, 0.5, 0.9]:
        assert places == pytest.approx(wanted)
