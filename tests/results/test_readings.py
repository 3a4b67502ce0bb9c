"""The reading optimal_train: from what is stored, the numbers that the images themselves would give."""

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from report_builders import make_sweep, write

from rdbench import datasets
from rdbench.numerics.likelihood import READINGS, STORED_READINGS, gaussian_nll
from rdbench.results import readings
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.trial.job import Outputs
from rdbench.trial.progress import result_detail
from rdbench.trial.run import run_trial
from rdbench.trial.worker import summary

DIGITS = {"name": "digits", "train_images": 300, "test_images": 200}
TRAIN = {"epochs": 2, "batch_size": 100}
MEASURED = ["distortion", "distortion_se", "elbo", "elbo_se", "density_bits_per_dim"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of three trained trials, each test image kept."""
    root = tmp_path_factory.mktemp("trained")
    sweep = make_sweep(
        dataset=DIGITS, train=TRAIN, beta=[0.1], variants=["beta_vae", "bs_vae", "autoencoder"]
    )
    ResultsFolder(root).save_sweep(sweep)
    data = datasets.load(sweep.dataset, root)
    for trial in plan(sweep).trials:
        tables = run_trial(trial, data, torch.device("cpu"), outputs=Outputs(per_image=True))
        ResultsFolder(root).commit(trial.id, tables)
    return root


def rows_of(root, reading, split="test"):
    points = load_results(root).points
    return points[(points["reading"] == reading) & (points["split"] == split)].set_index("variant")


def test_the_derived_row_is_what_the_test_images_give_at_the_variance_of_the_training_images(trained):
    results, derived = load_results(trained), rows_of(trained, "optimal_train")
    train, n = rows_of(trained, "half", "train"), 64
    names = results.trials.set_index("trial")["variant"]
    for trial, images in results.per_image.groupby("trial"):
        nll = gaussian_nll(images["sse"].to_numpy(), train.loc[names[trial], "sse"] / n, n)
        row, root_n = derived.loc[names[trial]], len(images) ** 0.5
        assert_allclose(row["distortion"], nll.mean(), rtol=1e-12)
        assert_allclose(row["distortion_se"], nll.std(ddof=1) / root_n, rtol=1e-9)
        if names[trial] == "autoencoder":  # which has no rate
            assert np.isnan([row["elbo"], row["elbo_se"], row["density_bits_per_dim"]]).all()
            continue
        elbo = -(nll + images["rate"].to_numpy())
        assert_allclose(row["elbo"], elbo.mean(), rtol=1e-12)
        assert_allclose(row["elbo_se"], elbo.std(ddof=1) / root_n, rtol=1e-9)
        assert_allclose(row["density_bits_per_dim"], -elbo.mean() / (n * np.log(2)), rtol=1e-12)


def test_on_the_training_images_it_is_the_shared_optimum_and_elsewhere_never_above_it(trained):
    train, shared = (
        rows_of(trained, name, "train")[MEASURED] for name in ("optimal_train", "optimal_shared")
    )
    assert_allclose(train.to_numpy(), shared.to_numpy(), rtol=1e-9)
    test, bound = (
        rows_of(trained, name)["elbo"].drop("autoencoder") for name in ("optimal_train", "optimal_shared")
    )
    assert (test < bound).all()


def test_no_file_holds_it_and_it_follows_each_splits_rows_as_no_native_reading(trained):
    for trial in ResultsFolder(trained).trial_ids():
        assert {row["reading"] for row in ResultsFolder(trained).trial_tables(trial)["points"]} == {
            *STORED_READINGS
        }
    points = load_results(trained).points
    for _, rows in points.groupby(["trial", "split"]):
        assert list(rows["reading"]) == [*STORED_READINGS, "optimal_train"]
    assert not points.loc[points["reading"] == "optimal_train", "native"].any()
    assert points["native"].dtype == bool


def test_the_rows_of_a_trial_just_trained_have_the_numbers_that_loading_gives(trained):
    for trial in plan(load_results(trained).sweep).trials:
        loaded = load_results(trained).points
        loaded = loaded[(loaded["trial"] == trial.id) & (loaded["reading"] == "optimal_train")]
        rows = readings.likelihood_rows(ResultsFolder(trained).trial_tables(trial.id)["points"])
        for row, expected in zip(rows, loaded.to_dict("records"), strict=True):
            assert row["split"] == expected["split"]
            assert_allclose([row[name] or np.nan for name in MEASURED], [expected[name] for name in MEASURED])


def test_the_console_gives_every_trials_elbo_under_it_and_a_deterministic_model_has_none(trained):
    expected = rows_of(trained, "optimal_train")["elbo"]
    for trial in plan(load_results(trained).sweep).trials:
        figures = summary(ResultsFolder(trained).trial_tables(trial.id))
        told = result_detail(figures)
        if trial.variant.name == "autoencoder":
            assert figures["elbo"] is None
            assert "ELBO" not in told
        else:
            assert f" dB, ELBO {expected[trial.variant.name]:.1f} at optimal_train, " in told
            assert "rate " in told


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (STORED_READINGS, READINGS),  # all there were when its results were stored
        (STORED_READINGS[::-1], READINGS),
        (("half", "optimal"), ("half", "optimal")),
        (("optimal_train",), ("optimal_train",)),
    ],
)
def test_a_stored_sweep_of_all_old_readings_shows_the_new_one_too(tmp_path, asked, shown):
    root = write(tmp_path / "a", make_sweep(readings=list(asked)))
    assert load_results(root).sweep.readings == shown


def test_without_a_training_split_or_with_no_error_at_all_there_is_no_number(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    first, second, *_ = plan(make_sweep()).trials
    for trial, change in ((first, lambda row: row["split"] == "test"), (second, lambda row: True)):
        tables = ResultsFolder(root).trial_tables(trial.id)
        kept = [row for row in tables["points"] if change(row)]
        zero = {"sse": 0.0, "mse": 0.0} if trial is second else {}
        ResultsFolder(root).commit(trial.id, tables | {"points": [row | zero for row in kept]})
    points = load_results(root).points
    points = points[points["reading"] == "optimal_train"]
    assert first.id not in set(points["trial"])
    assert points.loc[points["trial"] == second.id, "elbo"].isna().all()
    assert points.loc[~points["trial"].isin([first.id, second.id]), "elbo"].notna().all()


def test_results_without_points_stay_empty(trained):
    results = load_results(trained, ("history",))
    assert len(results.points) == 0
    assert list(results.points.columns) == list(load_results(trained).points.columns)
    assert dataclasses.is_dataclass(results)
