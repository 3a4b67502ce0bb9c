"""Trained networks that were kept are measured afterwards, without training and without losing anything."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from rdbench import metrics
from rdbench.cli.app import app
from rdbench.commands import evaluate
from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep
from rdbench.errors import SpecError
from rdbench.metrics.fid import FidOptions
from rdbench.metrics.latents import LatentsOptions
from rdbench.report import make_report
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial import worker
from rdbench.trial.job import Job, Kept, Outputs
from rdbench.trial.run import metric_rows, run_trial
from rdbench.trial.scheduler import RunOptions
from rdbench.trial.serial import SerialScheduler
from rdbench.trial.worker import work
from rdbench.vae import models

CPU = torch.device("cpu")
ASKED = LatentsOptions()


def job(root, tmp_path, *asked, keep=True):
    return Job(root, tmp_path, outputs=Outputs(asked, weights=keep))


@pytest.fixture
def kept(sweep, tmp_path):
    """A results folder of two trials with their networks."""
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep.model_copy(update={"keep_weights": True}))
    for trial in plan(sweep).trials:
        work([trial], job(root, tmp_path), "cpu")
    return root


def test_a_kept_network_is_the_trained_one(trial, data):
    networks = []
    run_trial(trial, data, CPU, on_network=lambda trial, network: networks.append(network))
    again = models.from_bytes(trial, data.shape, len(data.train.images), models.to_bytes(networks[0]), CPU)
    assert not again.training
    noise = torch.randn(5, trial.model.latent)
    with torch.no_grad():
        assert torch.equal(again.decode(noise), networks[0].decode(noise))


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x08\0\0\0\0\0\0\0{}      "])
def test_what_are_no_weights_is_refused(trial, data, content):
    with pytest.raises(ValueError, match="not the weights of this model"):
        models.from_bytes(trial, data.shape, len(data.train.images), content, CPU)


def test_a_metric_measured_afterwards_is_the_one_measured_in_the_trial(kept, sweep, tmp_path, data):
    found = evaluate.evaluate(kept, [ASKED], tmp_path, "cpu")
    assert (found.measured, found.already, found.without_weights, found.failed) == (2, 0, 0, ())
    for trial in plan(sweep).trials:
        ours = ResultsFolder(kept).trial_tables(trial.id)["metrics"]
        theirs = run_trial(trial, data, CPU, outputs=Outputs([ASKED]))["metrics"]
        assert [{**row, "trial": trial.id} for row in theirs] == ours
    assert str(evaluate.evaluate(kept, [ASKED], tmp_path, "cpu")) == "2 had it already"


def test_a_model_that_draws_from_the_global_generator_finds_it_as_in_its_trial(trial, data, monkeypatch):
    drawn = []

    def rows(asked, model):
        drawn.append(torch.rand(1).item())
        return []

    monkeypatch.setattr(metrics, "rows", rows)
    networks = []
    run_trial(
        trial, data, CPU, outputs=Outputs([ASKED]), on_network=lambda trial, network: networks.append(network)
    )
    torch.manual_seed(5)
    metric_rows(networks[0], trial, data, CPU, [ASKED], Kept())
    assert drawn[0] == drawn[1]


def test_a_sweep_with_a_new_metric_measures_and_does_not_train(kept, sweep, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("trained again")

    before = {path: path.read_bytes() for path in (kept / "points").iterdir()}
    monkeypatch.setattr(worker, "run_pack", never)
    ended = work(list(plan(sweep).trials), job(kept, tmp_path, ASKED), "cpu")
    assert [figures["status"] for figures in ended] == ["done", "done"]
    assert {path: path.read_bytes() for path in (kept / "points").iterdir()} == before
    for trial in plan(sweep).trials:
        assert metrics.is_measured(ASKED, ResultsFolder(kept).trial_tables(trial.id)["metrics"])


def test_damaged_weights_mean_training_again(kept, sweep, tmp_path):
    trial = plan(sweep).trials[0]
    ResultsFolder(kept).weights_file(trial.id).write_bytes(b"torn")
    found = evaluate.evaluate(kept, [ASKED], tmp_path, "cpu")
    assert found.measured == 1
    assert "delete it and run the sweep again" in found.failed[0]
    work([trial], job(kept, tmp_path, ASKED), "cpu")
    assert ResultsFolder(kept).weights_file(trial.id).read_bytes() != b"torn"
    assert metrics.is_measured(ASKED, ResultsFolder(kept).trial_tables(trial.id)["metrics"])


def test_data_that_are_gone_cost_no_result(kept, sweep, tmp_path, monkeypatch):
    def gone(*arguments):
        raise FileNotFoundError("the data are gone")

    monkeypatch.setattr(worker, "_load", gone)
    ended = work(list(plan(sweep).trials), job(kept, tmp_path, ASKED), "cpu")
    assert ["the data are gone" in figures["error"] for figures in ended] == [True, True]
    assert (load_results(kept).trials["status"] == "done").all()


def test_a_device_that_is_not_there_is_refused_in_a_line(kept, tmp_path):
    with pytest.raises(SpecError, match="--device tpu: no such device"):
        evaluate.evaluate(kept, [ASKED], tmp_path, "tpu")


def test_a_failure_never_replaces_a_result(kept, sweep, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no memory")

    trial = plan(sweep).trials[0]
    ResultsFolder(kept).weights_file(trial.id).unlink()
    monkeypatch.setattr(worker, "run_pack", broken)
    (figures,) = work([trial], job(kept, tmp_path, ASKED), "cpu")
    assert figures["status"] == "failed"
    assert ResultsFolder(kept).trial_tables(trial.id)["trials"][0]["status"] == "done"


def test_a_value_measured_anew_replaces_what_answered_the_same_and_nothing_else(kept, sweep):
    trial = plan(sweep).trials[0]

    def row(name, samples, value):
        settings = json.dumps({"samples": samples, "quantity": "rate"})
        return {"name": name, "settings": settings, "value": value, "protocol": "clean"}

    one, other = LatentsOptions(samples=1), LatentsOptions(samples=2)
    ResultsFolder(kept).add_metrics(
        trial.id, [one], [row("latents", 1, None) | {"settings": '{"images": null, "samples": 1}'}]
    )
    two = row("latents", 2, 5.0) | {"settings": '{"images": null, "samples": 2}'}
    ResultsFolder(kept).add_metrics(trial.id, [other], [two])
    ResultsFolder(kept).add_metrics(
        trial.id, [one], [two | {"settings": '{"images": null, "samples": 1}', "value": 4.0}]
    )
    assert sorted(row["value"] for row in ResultsFolder(kept).trial_tables(trial.id)["metrics"]) == [4.0, 5.0]
    with pytest.raises(ValueError, match="no trial nothing is committed"):
        ResultsFolder(kept).add_metrics("nothing", [], [])


def test_the_command_measures_what_it_is_asked(kept):
    done = CliRunner().invoke(app, ["evaluate", str(kept), "--metrics", "{name: latents, samples: 2}"])
    assert done.exit_code == 0, done.output
    assert "[2/2]" in done.output
    assert "mutual_information" in done.output
    assert f"2 measured in {kept}" in done.output
    with pytest.raises(SpecError, match="metrics"):
        CliRunner().invoke(app, ["evaluate", str(kept), "--metrics", "fidd"], catch_exceptions=False)


def test_no_metric_at_all_is_a_mistake_and_not_measured_already(kept):
    with pytest.raises(SpecError, match="asks for no metric; name one: --metrics"):
        CliRunner().invoke(app, ["evaluate", str(kept)], catch_exceptions=False)


def test_trials_whose_networks_were_not_kept_are_counted(kept, sweep, tmp_path):
    for trial in plan(sweep).trials:
        ResultsFolder(kept).weights_file(trial.id).unlink()
    found = evaluate.evaluate(kept, [ASKED], tmp_path, "cpu")
    assert str(found) == "2 without weights (train them with keep_weights: true)"


def test_a_metric_this_machine_cannot_measure_stops_the_sweep_before_it_trains(sweep_file, tmp_path):
    asking = load_sweep(sweep_file, ["metrics=[fid]"])
    root, console = tmp_path / "results", Console(file=io.StringIO())
    with pytest.raises(SpecError, match=r"metrics: fid: .*rdbench weights.*--allow-missing-metrics"):
        run_sweep(open_plan(root, asking), root, console, RunOptions(tmp_path))
    assert not ResultsFolder(root).trial_ids()


def test_what_is_left_out_by_request_is_null_with_its_reason(sweep_file, tmp_path):
    asking = load_sweep(sweep_file, ["metrics=[fid, latents]"])
    root, console = tmp_path / "results", Console(file=io.StringIO())
    options = RunOptions(tmp_path, allow_missing_metrics=True)
    account = run_sweep(open_plan(root, asking), root, console, options, SerialScheduler())
    assert (account.done, account.lacking) == (2, 2)
    assert "left out: metrics: fid" in console.file.getvalue()
    rows = load_results(root).metrics
    fid = rows[rows["name"] == "fid"]
    assert fid["value"].isna().all()
    assert all("rdbench weights" in json.loads(text)["error"] for text in fid["settings"])
    assert rows[rows["name"] == "latents"]["value"].notna().all()


def test_values_measured_differently_never_share_a_column(kept, tmp_path):
    data_root, asked = (
        tmp_path,
        [LatentsOptions(samples=1), LatentsOptions(samples=2), LatentsOptions(images=50)],
    )
    evaluate.evaluate(kept, asked, data_root, "cpu")
    page = make_report([kept], tmp_path / "page.html").read_text()
    for number in (1, 2, 3):
        assert f">latents rate ({number})<" in page
    assert "latents rate (1): images 50, samples 1" in page
    assert "samples 2" in page


def test_a_stand_in_for_inception_does_not_go_by_the_name_of_fid(kept, sweep, tmp_path):
    trial = plan(sweep).trials[0]
    for network, weights in (("published", None), ("not the published ones", Path("mine.pt"))):
        asked = FidOptions(samples=100, weights=weights)
        settings = json.dumps(asked.settings() | {"network": network})
        row = {
            "name": "fid",
            "settings": settings,
            "value": 3.0,
            "protocol": "clean",
            "feature_hash": "ab" * 32,
        }
        ResultsFolder(kept).add_metrics(trial.id, [asked], [row])
    page = make_report([kept], tmp_path / "page.html").read_text()
    assert ">fid<" in page
    assert ">fid, not with the published weights<" in page


def test_metrics_are_listed_with_their_options():
    done = CliRunner().invoke(app, ["metrics"])
    for name in ("fid", "kid", "fd_classifier", "prdc", "reconstruction", "latents", "iwae"):
        assert f"\n{name}: " in f"\n{done.output}"


def test_weights_are_installed_from_a_file_only_if_they_are_the_published_ones(tmp_path):
    file = tmp_path / "inception.pt"
    file.write_bytes(b"something else")
    from rdbench.errors import UserError

    with pytest.raises(UserError, match=r"inception\.pt"):
        CliRunner().invoke(app, ["weights", "--file", str(file)], catch_exceptions=False)
