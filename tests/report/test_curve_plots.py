"""Curves of the plots over the rate: monotone, named at their ends, and Fig. 3 as the paper prints it."""

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from rdbench.numerics.likelihood import gaussian_nll
from rdbench.report.charts import end_names, fit
from rdbench.report.charts.fig3 import fig3
from rdbench.report.charts.marks import marks
from rdbench.report.charts.rate import psnr_chart
from rdbench.report.sections import Section
from rdbench.report.statistics.monotone import falling

PAIR = ("beta_vae", "bs_vae")
# The paper's Fig. 3, on CelebA: rate in nats, distortion of bs_vae at its optimum; its axes end at these. The
# first and the last two points continue the curve to the range of the rate that betas of 1e3 to 1e-4 have.
BS = ((0.2, 200.0), (1.0, -2000.0), (5.0, -5100.0), (13.0, -7300.0), (25.0, -9300.0), (110.0, -12600.0),
      (280.0, -13800.0), (450.0, -14300.0))  # fmt: skip
BETAS = (1e3, 1e2, 10.0, 1.0, 0.3, 0.1, 1e-2, 1e-4)
PAPERS_RATE, PAPERS_DISTORTION = (0, 300), (-15000, 15000)
VALUES = 3 * 64 * 64
ABOVE = 900.0  # nats by which constant variance at its optimum lies above bs_vae


def papers_shape():
    """Rows with the curves of the paper: the optimum gives the error, and that gives all readings."""
    rows = []
    for variant, above in zip(PAIR, (ABOVE, 0.0), strict=True):
        for beta, (rate, lowest) in zip(BETAS, BS, strict=True):
            mse = math.exp(2 * (lowest + above) / VALUES - 1) / (2 * math.pi)
            for reading, variance in (("half", 0.5), ("beta_half", beta / 2), ("optimal_train", mse)):
                height = float(gaussian_nll(mse * VALUES, variance, VALUES))
                rows.append({"trial": f"{variant}{beta}", "variant": variant, "beta": beta, "seed": 0,
                             "split": "test", "reading": reading, "rate": rate, "mse": mse,
                             "psnr_of_mse": -10 * math.log10(mse), "distortion": height,
                             "elbo": -height - rate, "native": reading == "half",
                             "beta_rate": True})  # fmt: skip
    readings = ("half", "beta_half", "optimal_train")
    return Section({"dataset": {"name": "celeba"}, "protocol": "clean"}, None, readings, pd.DataFrame(rows))


def test_fig3_has_the_papers_axes_and_order_of_curves():
    chart = fig3(papers_shape(), PAIR)
    encoding = next(
        layer["encoding"] for layer in chart.views["linear"]["layer"] if layer.get("name") == "points"
    )
    # "outside ? <all points> : <what fits>"
    x, y = (
        [float(str(end["expr"]).rpartition(": ")[2]) if isinstance(end, dict) else end for end in domain]
        for domain in (encoding[axis]["scale"]["domain"] for axis in "xy")
    )
    assert x == pytest.approx(PAPERS_RATE, abs=18)
    assert x[1] == PAPERS_RATE[1]
    assert y == pytest.approx(PAPERS_DISTORTION, abs=3000)

    def height(name, rate):
        curve = [row for row in chart.data["curve_distortion"] if row["variant"] == name]
        return np.interp(rate, *np.array([(row["rate"], row["distortion"]) for row in curve]).T)

    names = ("bs_vae, optimal σ²", "beta_vae, optimal σ²", "beta_vae, σ² = β/2", "beta_vae, σ² = 1/2")
    for rate in (1, 5, 13, 25, 110, 300):
        lowest, optimal, beta_half, half = (height(name, rate) for name in names)
        assert lowest < optimal < half
        assert optimal <= beta_half + 1
        if rate in dict(BS):
            assert (lowest, optimal) == pytest.approx((dict(BS)[rate], dict(BS)[rate] + ABOVE), abs=1)
            assert half == pytest.approx(7200, abs=500)  # flat
    assert {row["text"] for row in chart.data["names_distortion_linear"]} == set(names)


def test_fig3_has_the_looks_of_the_plot_beside_it_and_a_paler_one_for_other_readings():
    section = papers_shape()
    own, beside = (
        next(
            layer["encoding"] for layer in chart.views[chart.first]["layer"] if layer.get("name") == "points"
        )
        for chart in (fig3(section, PAIR), psnr_chart(section, PAIR))
    )
    for channel in ("color", "shape"):
        looks, others = (
            dict(zip(encoding[channel]["scale"]["domain"], encoding[channel]["scale"]["range"], strict=True))
            for encoding in (own, beside)
        )
        assert {name: looks[f"{name}, optimal σ²"] for name in PAIR} == others
        readings = {looks["beta_vae, σ² = 1/2"], looks["beta_vae, σ² = β/2"]}
        assert not readings & set(others.values())
        assert len(readings) == (1 if channel == "color" else 2)


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


def test_a_name_stands_at_the_end_of_its_curve_over_nothing_else_or_beside_the_plot_in_order():
    flat = [{"variant": name, "rate": rate, "y": height} for name, last, height in
            (("short", 40, 0.5), ("long", 100, 0.5), ("low", 100, 0.2), ("free", 40, 0.9))
            for rate in (1, last)]  # fmt: skip
    axes = fit.Axis((0, 100), (0, 100)), fit.Axis((0, 1), (0, 1))
    marks = [{"rate": 45, "y": 0.9 + 0.04 * step} for step in (-2, -1, 0, 1, 2)]
    rows = {row["text"]: row for row in end_names.end_names(flat, [], "y", axes, log=False)}
    assert [rows[name]["beside"] for name in ("short", "long", "low", "free")] == [False, True, True, False]
    assert rows["short"]["shift"] != 0  # its own height is that of the longer curve
    assert rows["free"]["shift"] == 0
    assert rows["low"]["place"] < rows["long"]["place"]
    covered = {row["text"]: row for row in end_names.end_names(flat, marks, "y", axes, log=False)}
    assert covered["free"]["beside"]


def test_the_line_above_the_curves_names_the_marks_that_there_are_and_no_others():
    section = papers_shape()
    alone = dict(marks([fig3(section, PAIR), psnr_chart(section, PAIR)]))
    assert alone == {"mean": "one training", "dashed": "fit to single seeds"}
    again = section.points.assign(seed=1, trial=section.points["trial"] + "again")
    section = dataclasses.replace(section, points=pd.concat([section.points, again]))
    several = marks([psnr_chart(section, PAIR)])
    assert several == (("mean", "mean over seeds"), ("seed", "one seed"), ("interval", "95% interval"),
                       ("line", "fitted curve"))  # fmt: skip
    assert marks([]) == ()
