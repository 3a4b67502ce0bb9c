"""Trackers: every trial once, from committed rows, whoever trained it and when; never the end of a sweep."""

import io
import json
import struct
import sys
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
from rdbench.results.tracking import Tracking, open_tracker
from rdbench.spec.plan import plan
from rdbench.spec.sweep import dump_sweep, load_sweep
from rdbench.storage.places import place
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


def told_twice(tmp_path, tracker):
    """Run a sweep, tell of it and its report, lose the note of that, tell again; return sweep and folder."""
    sweep, root, _ = swept(tmp_path, tracker)
    make_report([root], root / "report.html")
    track_report(sweep, root, print)
    (root / "tracking" / f"{tracker}.json").unlink()  # a resume whose driver did not note them
    swept(tmp_path, tracker)
    track_report(sweep, root, print)
    return sweep, root


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
    sweep, root = told_twice(tmp_path, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tracked").experiment_id
    runs = {run.data.tags["rdbench.trial"]: run for run in client.search_runs([experiment])}
    assert len(client.search_runs([experiment])) == 3
    (report,) = runs.keys() - {trial.id for trial in plan(sweep).trials}
    assert report.startswith("report-")  # of this folder: another of the same sweep keeps its own
    assert [file.path for file in client.list_artifacts(runs[report].info.run_id)] == ["report.html"]
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


def wandb_records(file):
    """The records of a run that W&B wrote offline: a log of blocks of 32 KiB, as LevelDB's."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, part = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at < len(content):
        if 32768 - at % 32768 < 7:  # too little for a header: zeros up to the next block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(part)
            part = b""


def wandb_run(folder):
    """A run that W&B wrote offline: its first record, settings, [step's values], and artifacts."""
    (file,) = folder.glob("*.wandb")
    run, steps, artifacts = None, [], []
    for record in wandb_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = run or record.run
        elif kind == "history":
            items = record.history.item
            steps.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        elif kind == "request" and record.request.HasField("log_artifact"):
            artifacts.append(record.request.log_artifact.artifact)
        elif kind == "artifact":
            artifacts.append(record.artifact)
    return run, {i.key: json.loads(i.value_json) for i in run.config.update}, steps, artifacts


@pytest.fixture
def wandb_offline(tmp_path, monkeypatch):
    """W&B as where no account is known, with all its own files in the test's folder."""
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.filterwarnings("ignore")  # of W&B and what it imports
def test_wandb_holds_a_run_for_each_trial_and_the_report(tmp_path, wandb_offline):
    sweep, root, _ = swept(tmp_path, "wandb")
    make_report([root], root / "report.html")
    track_report(sweep, root, print)
    swept(tmp_path, "wandb")  # nothing is left: it tells of none
    first = {folder.name for folder in (root / "wandb").glob("offline-run-*")}
    assert len(first) == 3
    (root / "tracking" / "wandb.json").unlink()  # a resume whose driver did not note them
    swept(tmp_path, "wandb")
    track_report(sweep, root, print)
    runs = {run[0].run_id: run for run in map(wandb_run, (root / "wandb").glob("offline-run-*"))}
    assert len(runs) == len([*(root / "wandb").glob("offline-run-*")]) == 3
    results = load_results(root)
    trials = {f"{row['trial']}-{row['run']}": row["trial"] for _, row in results.trials.iterrows()}
    for run_id, trial in trials.items():
        run, settings, steps, _ = runs.pop(run_id)
        history = results.history[results.history["trial"] == trial]
        beta = results.trials.set_index("trial").loc[trial, "beta"]
        assert (run.project, run.display_name) == ("tracked", f"bs_vae beta {beta:g} seed 0")
        assert (settings["beta"], settings["trial"], settings["variant.name"]) == (beta, trial, "bs_vae")
        assert [(step["_step"], step["train/loss"]) for step in steps] == [
            *enumerate((pytest.approx(loss) for loss in history["loss"]), 1)
        ]
        points = results.points[results.points["trial"] == trial].set_index(["split", "reading"])
        assert steps[-1]["test/elbo_optimal"] == pytest.approx(points.loc[("test", "optimal"), "elbo"])
        path = steps[-1]["pictures/sample/path"]
        (file,) = (root / "wandb").glob(f"offline-run-*-{run_id}/files/{path}")
        assert np.asarray(Image.open(file)).shape == (32, 32, 3)
    ((name, (_, _, _, artifacts)),) = runs.items()
    assert name.startswith("report-")
    assert [entry.path for artifact in artifacts for entry in artifact.manifest.contents] == ["report.html"]


@pytest.fixture
def trackio(tmp_path, monkeypatch):
    """Trackio, imported anew, as it asks for its folder but once: one of the test's."""
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "rdbench.results.tracking.trackio", raising=False)
    import trackio

    return trackio


@pytest.mark.filterwarnings("ignore")  # of Trackio and what it imports
def test_trackio_holds_a_run_for_each_trial_and_the_report(tmp_path, trackio, capfd):
    _, root = told_twice(tmp_path, "trackio")
    runs = {run.name: run for run in trackio.Api().runs("tracked")}
    results = load_results(root)
    assert len(runs) == len(trackio.Api().runs("tracked")) >= 2
    for _, row in results.trials.iterrows():
        run = runs.pop(f"bs_vae beta {row['beta']:g} seed 0 [{row['trial']}]")
        config = (run.config["beta"], run.config["status"], run.config["variant.name"])
        assert config == (row["beta"], "done", "bs_vae")
        logs = trackio.SQLiteStorage.get_logs("tracked", run.name, run_id=run.id)
        history = results.history[results.history["trial"] == row["trial"]]
        assert [(log["step"], log["train/loss"]) for log in logs] == [*enumerate(history["loss"], 1)]
        points = results.points[results.points["trial"] == row["trial"]].set_index(["split", "reading"])
        assert logs[-1]["test/elbo_optimal"] == points.loc[("test", "optimal"), "elbo"]
        picture = tmp_path / "trackio" / "media" / logs[-1]["pictures/sample"]["file_path"]
        assert np.asarray(Image.open(picture)).shape[:2] == (32, 32)
    ((name, version),) = [
        (one["name"], len(one["versions"])) for one in trackio.SQLiteStorage.list_artifacts("tracked")
    ]
    assert (name, version) == ("report", 1)  # the same page twice is one
    assert "rackio" not in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_what_trackio_only_warns_of_is_told(tmp_path, trackio):
    (tmp_path / "trackio").write_text("no folder")
    _, root, printed = swept(tmp_path, "trackio")
    assert len(load_results(root).trials) == 2
    assert printed.count("tracking by trackio is given up for now: ") == 1
    (tmp_path / "trackio").unlink()
    swept(tmp_path, "trackio")
    assert len(trackio.Api().runs("tracked")) == 2


def test_a_tracker_that_fails_ends_no_sweep_and_is_told_the_next_time(tmp_path, monkeypatch):
    from rdbench.results.tracking.tensorboard import Tensorboard

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


def test_a_mistake_is_told_before_anything_is_trained(tmp_path, monkeypatch, rdbench):
    with pytest.raises(SpecError, match=r"'tensorbord' is not known here; did you mean 'tensorboard'\?"):
        swept(tmp_path, "tensorbord")
    with pytest.raises(SpecError, match="tensorboard keeps its files beside the results"):
        open_tracker("tensorboard", place("s3://bucket/prefix"), "tracked")
    monkeypatch.setitem(EXTRAS, "mlflow", ("no_such_module",))
    with pytest.raises(
        SpecError, match=r"track: mlflow is not installed here: .*pip install 'rdbench\[mlflow\]'"
    ):
        Tracking(["mlflow"], tmp_path, "tracked", str, print)
    code, _, err = rdbench("sweep", "quickstart", "--track", "mlflow", "--dry-run")
    assert code == 2
    assert err.startswith("error: track: mlflow is not installed here: no_such_module; pip install 'rdb")


@pytest.mark.filterwarnings("ignore")  # of MLflow, W&B and what they import
def test_a_tracker_that_cannot_begin_is_told_in_a_line(tmp_path, monkeypatch, wandb_offline):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(SpecError, match=r"^track: wandb: .* mode Input should be 'online', 'offline'[^\n]*$"):
        Tracking(["wandb"], tmp_path, "tracked", str, print)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "htp://nowhere")
    said = []
    Tracking(["mlflow"], tmp_path, "tracked", str, said.append).close()
    (line,) = said
    assert line.startswith("tracking by mlflow is given up for now: ")
    assert line.endswith("; the next run catches up")
