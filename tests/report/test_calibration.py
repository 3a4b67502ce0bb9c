"""Calibration: what theory predicts is within, what it does not is off, and what has no optimum says why."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rdbench.cli import app
from rdbench.commands import sweep
from rdbench.commands.plan import account
from rdbench.datasets.gaussian import spectrum
from rdbench.numerics import theory
from rdbench.numerics.likelihood import READINGS
from rdbench.registry import variants
from rdbench.report import calibration, sections
from rdbench.report.calibration import Point, calibrate, check, checks
from rdbench.report.page import render
from rdbench.report.tables import shannon
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep, load_sweep
from rdbench.spec.sweep_files import shipped_sweep

GAUSSIAN = {
    "name": "oracle",
    "dataset": {
        "name": "gaussian",
        "eigenvalues": [2.0, 1.0, 0.5],
        "train_images": 8192,
        "test_images": 8192,
    },
    "variants": ["beta_vae"],
    "beta": [0.2, 1.0],
    "model": {"name": "linear", "latent": 2},
    "train": {"epochs": 16, "batch_size": 128, "lr": 2e-2, "weight_decay": 0},
}


def trials_of(**changes):
    return plan(Sweep.model_validate(GAUSSIAN | changes)).trials


def prediction(trial):
    eigenvalues = spectrum(trial.dataset)
    return theory.predict(trial.variant.name, eigenvalues, trial.model.latent, trial.beta)


def optimum(trial):
    predicted = prediction(trial)
    return Point(predicted.rate, predicted.sse, 0.003, 0.005)


def tables(trial, point, status="done", error=None):
    """The rows a trial at ``point`` commits; those of other splits and readings differ and must not count."""
    key = {"dataset": "gaussian", "variant": trial.variant.name, "beta": trial.beta, "seed": trial.seed,
           "protocol": "clean"}  # fmt: skip
    row = key | {"status": status, "error": error, "dataset_checksum": "c0ffee", "spec": trial.to_json(),
                 "seconds": 1.0, "skipped_files": 0, "versions": "{}",
                 "started": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC)}  # fmt: skip
    if point is None:
        return {"trials": [row]}
    n = len(spectrum(trial.dataset))
    points = [
        key | {"split": split, "reading": reading, "native": False, "n_images": 8192,
               "rate": point.rate * scale, "rate_se": point.rate_se, "sse": point.sse * scale,
               "mse": point.sse * scale / n,
               "distortion": point.sse, "distortion_se": point.sse_se if reading == "half" else 9.0,
               "elbo": -point.sse - point.rate, "elbo_se": 1.0}
        for split, scale in (("train", 7.0), ("test", 1.0))
        for reading in ("optimal", "half")
    ]  # fmt: skip
    return {"points": points, "trials": [row]}


def write(root, trials, point_of, wanted):
    ResultsFolder(root).save_sweep(wanted)
    for trial in trials:
        ResultsFolder(root).commit(trial.id, tables(trial, point_of(trial)))
    return load_results(root)


@pytest.mark.parametrize("variant", ["beta_vae", "bs_vae"])
def test_points_at_the_prediction_are_within_and_points_5_percent_beside_it_are_off(variant, tmp_path):
    sweep = Sweep.model_validate(GAUSSIAN | {"variants": [variant]})
    results = write(tmp_path / "right", plan(sweep).trials, optimum, sweep)
    found = calibrate(results)
    assert [each.verdict for each in found] == ["within", "within"]
    assert [each.error("rate") for each in found] == pytest.approx([0, 0])
    assert [each.distance for each in found] == pytest.approx([0, 0], abs=1e-9)
    assert found[0].point == optimum(plan(sweep).trials[0])
    assert calibration.summary(found) == "calibrated: 2 of 2 points within tolerance"

    for field in ("rate", "sse"):

        def beside(trial, field=field):
            point = optimum(trial)
            return dataclasses.replace(point, **{field: getattr(point, field) * 1.05})

        found = calibrate(write(tmp_path / field, plan(sweep).trials, beside, sweep))
        assert {each.verdict for each in found} == {"off"}
        assert all(field in each.reason for each in found)
        assert calibration.summary(found) == (
            f"not calibrated: 2 of 2 points not within tolerance ({variant} beta 0.2, {variant} beta 1)"
        )


@pytest.mark.parametrize(("share", "verdict"), [(0.99, "within"), (1.01, "off")])
def test_each_bar_is_where_it_is_said_to_be(share, verdict):
    (trial, _) = trials_of(variants=["bs_vae"])
    point, bars = optimum(trial), calibration.TOLERANCES["bs_vae"]
    for moved in (
        Point(point.rate * (1 + share * bars.rate), point.sse),
        Point(point.rate * (1 - share * bars.rate), point.sse),
        Point(point.rate, point.sse * (1 + share * bars.sse)),
        Point(point.rate, point.sse * (1 - share * bars.sse)),
    ):
        assert check(trial, moved).verdict == verdict

    trial = trials_of()[0]  # beta_vae: its rate at the measured sse is held to Shannon's curve besides
    point, bars = optimum(trial), calibration.TOLERANCES["beta_vae"]
    found = check(trial, Point(point.rate * (1 + share * bars.distance), point.sse))
    assert (found.verdict, "from Shannon's curve" in found.reason) == (verdict, verdict == "off")


def test_a_collapsed_model_is_judged_in_nats_where_relative_errors_mean_nothing():
    (trial,) = trials_of(beta=[10])
    assert prediction(trial).rate == 0
    assert check(trial, Point(0.004, 3.5)).verdict == "within"
    assert check(trial, Point(0.03, 3.5)).verdict == "off"
    assert check(trial, Point(0.004, 3.5)).error("rate") is None


def test_a_point_below_shannons_curve_is_a_fault_whatever_the_bars_unless_sampling_explains_it():
    trial = trials_of(variants=["bs_vae"])[0]
    point = optimum(trial)
    lower = dataclasses.replace(point, rate=point.rate * 0.98, sse=point.sse * 0.992)
    assert check(trial, dataclasses.replace(lower, rate_se=0.02, sse_se=0.02)).verdict == "within"
    found = check(trial, dataclasses.replace(lower, rate_se=1e-4, sse_se=1e-4))
    assert found.verdict == "off"
    assert found.reason.startswith("below Shannon's curve: sse")


def test_a_number_that_is_not_finite_is_off():
    trial = trials_of()[0]
    assert check(trial, Point(float("nan"), 1.0, 0.1, 0.1)).verdict == "off"
    assert check(trial, Point(1.0, float("inf"))).verdict == "off"


@pytest.mark.parametrize("point", [None, Point(12.0, 1e-3, 0.01, 1e-5)])
def test_where_a_variant_has_no_optimum_the_row_says_why_and_is_not_judged(point):
    # As many latents as dimensions, beta below 1: the decoder variance runs to zero.
    (trial,) = trials_of(variants=["bs_vae"], beta=[0.5], model={"name": "linear", "latent": 4})
    found = check(trial, point, "diverged: the loss became -inf in epoch 3 of 16")
    assert found.verdict == "no optimum"
    assert "the decoder variance runs to zero; use under 3 latents, or beta above 1" in found.reason
    assert "no optimum: bs_vae has no optimum here" in calibration.table([found])
    within = check(trials_of()[0], optimum(trials_of()[0]))
    assert calibration.is_calibrated([found, within])
    assert calibration.summary([found, within]).endswith(
        "1 of 1 points within tolerance; 1 more without a prediction"
    )
    assert not calibration.is_calibrated([found])


def test_a_variant_theory_does_not_know_has_no_prediction_but_keeps_shannons_law():
    trial = trials_of()[0]
    unknown = trial.model_copy(update={"variant": trial.variant.model_copy(update={"name": "student_t"})})
    point = optimum(trial)
    found = check(unknown, point)
    assert (found.verdict, found.reason) == ("no prediction", "no prediction for variant student_t")
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert not found.judged
    assert check(unknown, dataclasses.replace(point, sse=point.sse * 0.8)).verdict == "off"


def test_a_trial_without_a_result_is_a_reason_not_to_be_calibrated(tmp_path):
    sweep = Sweep.model_validate(GAUSSIAN | {"beta": [0.2, 1.0, 2.0]})
    first, second, _ = plan(sweep).trials
    ResultsFolder(tmp_path).save_sweep(sweep)
    ResultsFolder(tmp_path).commit(first.id, tables(first, optimum(first)))
    ResultsFolder(tmp_path).commit(
        second.id, tables(second, None, "failed", "Traceback ...\nValueError: broken")
    )
    found = calibrate(load_results(tmp_path))
    assert [each.verdict for each in found] == ["within", "not measured", "not measured"]
    assert [each.reason for each in found[1:]] == ["failed: ValueError: broken", "not trained yet"]
    assert calibration.summary(found).startswith("not calibrated: 2 of 3 points")


def test_trials_that_theory_does_not_speak_of_are_passed_over(tmp_path):
    sweep = Sweep.model_validate(
        {"name": "digits", "dataset": "digits", "variants": ["beta_vae"], "beta": [1]}
    )
    found = calibrate(write(tmp_path, plan(sweep).trials, lambda trial: None, sweep))
    assert found == []
    assert calibration.summary(found) == "not calibrated: there is no point that theory predicts"


# A real training


def trained(beta):
    import torch

    from rdbench import datasets
    from rdbench.trial.run import run_trial

    (trial,) = trials_of(beta=[beta])
    rows = run_trial(trial, datasets.load(trial.dataset, None), torch.device("cpu"))
    frames = [
        pd.DataFrame([row | {"trial": trial.id} for row in rows[name]]) for name in ("trials", "points")
    ]
    (found,) = checks(*frames)
    return found


def test_a_linear_vae_that_is_trained_lands_on_its_optimum():
    # 8,192 images and two seconds: sampling error and training together stay within 3%.
    found = trained(0.2)
    assert abs(found.error("rate")) < 0.03
    assert abs(found.error("sse")) < 0.03
    assert abs(found.distance) < 0.03 * found.bound


def test_a_wrong_factor_in_the_objective_is_seen(monkeypatch):
    right = variants.get("beta_vae")
    wrong = dataclasses.replace(right, target=lambda sse, rate, beta, n: sse + 2 * beta * rate)
    monkeypatch.setattr(variants, "get", lambda which: wrong)
    found = trained(0.2)
    assert found.verdict == "off"
    assert "rate" in found.reason
    # It is the optimum of twice the beta.
    assert found.point.rate == pytest.approx(prediction(trials_of(beta=[0.4])[0]).rate, rel=0.03)


# What ships, and where it is shown


def shipped():
    return [load_sweep(shipped_sweep(name)) for name in calibration.SWEEPS]


def test_the_sweeps_that_ship_have_11_points_with_an_optimum():
    every = [trial for sweep in shipped() for trial in plan(sweep).trials]
    assert len(every) == 11
    assert all(calibration.applies(trial) and prediction(trial).rate > 0.1 for trial in every)


@pytest.mark.parametrize(("displaced", "code"), [(1.0, 0), (1.05, 1)])
def test_the_verb_prints_a_row_a_point_and_fails_where_the_harness_is_off(
    monkeypatch, tmp_path, displaced, code
):
    def run_sweep(whole, root, console, options):
        def point_of(trial):
            point = optimum(trial)
            return dataclasses.replace(point, rate=point.rate * (displaced if trial.beta == 1 else 1))

        write(root, whole.trials, point_of, whole.sweep)
        return account(root, whole)

    monkeypatch.setattr(sweep, "run_sweep", run_sweep)
    done = CliRunner().invoke(app.app, ["calibrate", "--results", str(tmp_path)])
    assert done.exit_code == code, done.output
    lines = done.output.splitlines()
    assert sum("within" in line for line in lines[:-1]) == (11 if code == 0 else 9)
    outcome = "calibrated: 11 of 11 points within tolerance"
    assert lines[-1] == (outcome if code == 0 else
        "not calibrated: 2 of 11 points not within tolerance (beta_vae beta 1, bs_vae beta 1)")  # fmt: skip
    text = (tmp_path / "calibration.html").read_text()
    assert text.count("<h3>Against theory</h3>") == 2


def section(root, **changes):
    wanted = Sweep.model_validate(GAUSSIAN | changes)
    (found,), _ = sections.gather([write(root, plan(wanted).trials, optimum, wanted)])
    return found


def test_shannons_curve_goes_through_the_points_of_all_latents_and_below_the_others(tmp_path):
    for latent, below in ((3, False), (2, True)):
        own = section(tmp_path / str(latent), model={"name": "linear", "latent": latent}, beta=[0.2])
        points = own.points[(own.points["split"] == "test") & (own.points["reading"] == "half")]
        for measure, expected in (("mse", points["mse"].iloc[0]), ("distortion", None)):
            curve = shannon.reference(own, "half", measure)
            assert curve["rate"].is_monotonic_increasing
            assert curve["rate"].iloc[0] == 0
            height = np.interp(points["rate"].iloc[0], curve["rate"], curve[measure])
            if measure == "mse":
                assert (height < 0.99 * expected) if below else (height == pytest.approx(expected, rel=1e-3))
            else:
                # sigma^2 = 1/2: the squared error and 3/2 ln(pi); at rate 0 the variance of the source.
                assert curve[measure].iloc[0] == pytest.approx(3.5 + 1.5 * np.log(np.pi))


def test_shannons_curve_stands_where_distortion_is_a_function_of_the_squared_error(tmp_path):
    own = section(tmp_path)
    drawn = {reading for reading in READINGS if shannon.reference(own, reading, "distortion") is not None}
    assert drawn == {"half", "optimal_train", "optimal_shared"}
    shared = shannon.reference(own, "optimal_shared", "distortion")["distortion"].iloc[0]
    assert shared == pytest.approx(1.5 * (np.log(2 * np.pi * 3.5 / 3) + 1))


def test_the_report_shows_measured_predicted_error_and_verdict(tmp_path):
    section(tmp_path / "a")
    text = render([tmp_path / "a"], tmp_path / "out.html")
    trial = trials_of()[0]
    cells = calibration.cells(check(trial, optimum(trial)))
    keys = "".join(f'<th scope="row">{cell}</th>' for cell in cells[:3])
    assert keys + "".join(f"<td>{cell}</td>" for cell in cells[3:-1]) in text
    assert '<td class="text">within</td>' in text
    assert "Calibrated: 2 of 2 points within tolerance." in text
    assert text.count("Dashed: Shannon") == 1


@pytest.mark.parametrize("reading", ["optimal_train", "optimal_shared"])
def test_shannons_curve_ends_where_the_error_is_too_small_for_a_float(tmp_path, reading):
    own = section(tmp_path)
    own.points["rate"] = 1e5
    curve = shannon.reference(own, reading, "distortion")
    assert np.isfinite(curve).all(axis=None)
    assert 500 < curve["rate"].max() < 1e5
