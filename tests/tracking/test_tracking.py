"""Trackers: every trial once, from committed rows, whoever trained it and when; never the end of a sweep."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep, track_report
from rdbench.errors import EXTRAS, SpecError
from rdbench.report import make_report
from rdbench.results.load import load_results
from rdbench.spec.plan import plan
from rdbench.spec.sweep import dump_sweep, load_sweep
from rdbench.storage.places import place
from rdbench.tracking import Tracking, open_tracker
from rdbench.trial.serial import SerialScheduler

SPEC = """
name: tracked
dataset: {name: digits, train_images: 128, test_images: 40}
variants: [bs_vae]
beta: [0.1, 1]
train: {epochs: 3, batch_size: 32}
model: {latent: 4, channels: [8]}
metrics: [reconstruction]
track: %s
"""


def swept(tmp_path, track, *overrides):
    """Run what is left of a sweep in this process; return its folder and what was printed."""
    (tmp_path / "s.yaml").write_text(SPEC % track)
    sweep = load_sweep(tmp_path / "s.yaml", overrides)
    root, out = tmp_path / "results", io.StringIO()
    run_sweep(open_plan(root, sweep), root, Console(file=out, width=200), scheduler=SerialScheduler())
    return sweep, root, out.getvalue()


def events(folder):
    """The scalars, texts and pictures of the event files below a folder: tag -> [(step, value)]."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        content = file.read_bytes()
        while content:  # length, its checksum, an event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                found.setdefault(value.tag, []).append((event.step, getattr(value, kind)))
    return found


def test_tensorboard_holds_what_the_tables_hold(tmp_path):
    _, root, _ = swept(tmp_path, "tensorboard")
    results = load_results(root)
    folders = sorted((root / "tensorboard").iterdir())
    assert [folder.name.rpartition("_")[0] for folder in folders] == [
        "bs_vae_beta_0.1_seed_0",
        "bs_vae_beta_1_seed_0",
    ]
    for folder in folders:
        found, trial = events(folder), folder.name.rpartition("_")[2]
        history = results.history[results.history["trial"] == trial]
        losses = [(epoch, pytest.approx(loss, rel=1e-6)) for epoch, loss in enumerate(history["loss"], 1)]
        assert found["train/loss"] == losses
        points = results.points[results.points["trial"] == trial]
        test = points[(points["split"] == "test") & (points["reading"] == "optimal")].iloc[0]
        assert found["test/elbo_optimal"] == [(3, pytest.approx(test["elbo"], rel=1e-6))]
        assert found["test/psnr_of_mse"] == [(3, pytest.approx(test["psnr_of_mse"], rel=1e-6))]
        assert "metric/reconstruction_psnr" in found
        ((_, text),) = found["settings/text_summary"]
        assert b"train.lr" in text.string_val[0]
        ((_, picture),) = found["original"]
        pixels = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
        assert pixels.shape == (32, 32, 3)  # 16 of 8x8
        assert pixels.std() > 0


def test_a_resume_tells_of_no_trial_twice_and_of_all_that_were_not_told(tmp_path):
    swept(tmp_path, "[]")
    _, root, _ = swept(tmp_path, "tensorboard")
    assert len([*(root / "tensorboard").iterdir()]) == 2
    files = {file: file.stat().st_mtime_ns for file in root.glob("tensorboard/*/*")}
    swept(tmp_path, "tensorboard", "beta=[0.1, 1, 10]")
    after = {file: file.stat().st_mtime_ns for file in root.glob("tensorboard/*/*")}
    assert after.items() > files.items()
    assert len(after) == 3
    (root / "tracking" / "tensorboard.json").unlink()  # as if the driver died before it noted them
    swept(tmp_path, "tensorboard", "beta=[0.1, 1, 10]")
    assert len([*root.glob("tensorboard/*/*")]) == 3


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it imports
def test_mlflow_holds_a_run_for_each_trial_and_the_report(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sweep, root, _ = swept(tmp_path, "mlflow")
    make_report([root], root / "report.html")
    track_report(sweep, root, print)
    (root / "tracking" / "mlflow.json").unlink()  # a resume whose driver did not note them
    swept(tmp_path, "mlflow")
    track_report(sweep, root, print)
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tracked").experiment_id
    runs = {run.data.tags["rdbench.trial"]: run for run in client.search_runs([experiment])}
    assert len(client.search_runs([experiment])) == 3
    assert runs.keys() == {"report", *(trial.id for trial in plan(sweep).trials)}
    assert [file.path for file in client.list_artifacts(runs["report"].info.run_id)] == ["report.html"]
    results = load_results(root)
    for trial in plan(sweep).trials:
        run = runs[trial.id]
        assert run.info.status == "FINISHED"
        assert (run.data.params["beta"], run.data.params["variant.name"]) == (str(trial.beta), "bs_vae")
        loss = client.get_metric_history(run.info.run_id, "train/loss")
        history = results.history[results.history["trial"] == trial.id]
        assert [one.value for one in loss] == [*history["loss"]]
        assert run.data.metrics["test/rate"] > 0
        pictures = client.list_artifacts(run.info.run_id, "pictures")
        assert [Path(file.path).name for file in pictures] == [
            "original.png",
            "reconstruction.png",
            "sample.png",
        ]


def test_a_tracker_that_fails_ends_no_sweep_and_is_told_the_next_time(tmp_path, monkeypatch):
    from rdbench.tracking.tensorboard import Tensorboard

    def full(self, trial):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Tensorboard, "log", full)
        _, root, printed = swept(tmp_path, "tensorboard")
    assert len(load_results(root).trials) == 2
    assert (
        printed.count("tracking by tensorboard is given up for now: OSError: no space left on device;") == 1
    )
    swept(tmp_path, "tensorboard")
    assert len([*(root / "tensorboard").iterdir()]) == 2


def test_it_changes_no_trial_and_no_stored_sweep_without_it(tmp_path):
    (tmp_path / "s.yaml").write_text(SPEC % "[tensorboard, mlflow]")
    sweep = load_sweep(tmp_path / "s.yaml")
    without = load_sweep(tmp_path / "s.yaml", ["track=[]"])
    assert sweep.track == ("tensorboard", "mlflow")
    assert [trial.id for trial in plan(sweep).trials] == [trial.id for trial in plan(without).trials]
    assert "track:" not in dump_sweep(without)
    assert "track: [tensorboard, mlflow]" in dump_sweep(sweep)


def test_a_mistake_is_told_before_anything_is_trained(tmp_path, monkeypatch):
    with pytest.raises(SpecError, match=r"'tensorbord' is not known here; did you mean 'tensorboard'\?"):
        swept(tmp_path, "tensorbord")
    with pytest.raises(SpecError, match="tensorboard keeps its files beside the results"):
        open_tracker("tensorboard", place("s3://bucket/prefix"), "tracked")
    monkeypatch.setitem(EXTRAS, "mlflow", ("no_such_module",))
    with pytest.raises(
        SpecError, match=r"track: mlflow is not installed here: .*pip install 'rdbench\[mlflow\]'"
    ):
        Tracking(["mlflow"], tmp_path, "tracked", str, print)
