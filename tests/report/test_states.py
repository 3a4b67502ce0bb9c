"""Collapsed and unstable models are marked, are nobody's best, and are part of no curve."""

import pandas as pd
import pytest
from report_builders import make_sweep, point_rows, section_of, write

from rdbench.report.statistics import states
from rdbench.report.statistics.series import elbo


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of bs_vae beta 1 has the best ELBO but collapsed, and at beta 10 one of two seeds is unstable."""

    def rows(trial):
        changes = {}
        if (trial.variant.name, trial.beta) == ("bs_vae", 1):
            changes = {"rate": 0.004, "elbo": 1e6}
        if (trial.variant.name, trial.beta, trial.seed) == ("bs_vae", 10, 1):
            changes = {"rate": 68385.0, "mse": 2.75, "psnr_of_mse": -4.4}
        return [row | changes for row in point_rows(trial)]

    monkeypatch.setattr("report_builders.point_rows", rows)
    return write(tmp_path / "study", make_sweep(seeds=2), mean_image_mse=0.07)


def test_states_are_of_means_over_seeds_and_of_any_unstable_seed(folder):
    section = section_of(folder)
    assert section.states == {("bs_vae", 1.0): "collapsed", ("bs_vae", 10.0): "unstable"}


def test_such_models_are_nobodys_best(folder):
    series = elbo(section_of(folder), "half")
    assert series.estimates["bs_vae", 1.0].mean == 1e6
    assert series.best("bs_vae") is None
    assert series.best() == series.top == ("beta_vae", 1.0)


def test_an_unstable_point_is_part_of_no_curve_and_a_sentence_says_so(folder):
    section = section_of(folder)
    left = states.in_curves(section.points, section.states, collapsed=True)
    assert {*zip(left["variant"], left["beta"], strict=True)} == {
        ("beta_vae", 1), ("beta_vae", 10), ("bs_vae", 1)}  # fmt: skip
    left = states.in_curves(section.points, section.states)
    assert {*left["variant"]} == {"beta_vae"}
    assert states.said(section.states, known=True) == (
        "In no curve and nobody's best: 1 collapsed (rate below 0.01 nats) and 1 unstable"
        " (reconstructs worse than the mean image)."
    )
    assert states.said({}, known=True) == ""


def test_results_without_the_mean_image_are_told_by_the_bound_of_pixels(folder):
    section = section_of(folder)
    old = section.trials.assign(mean_image_mse=None)
    assert states.mean_image_mse(old) is None
    assert states.point_states(section.points, old) == section.states
    near = section.points.assign(mse=section.points["mse"].clip(upper=0.2))
    assert states.point_states(near, old) == {("bs_vae", 1.0): "collapsed"}
    assert states.point_states(near, section.trials) == section.states


def test_no_points_have_no_states():
    assert states.point_states(pd.DataFrame(), pd.DataFrame()) == {}
