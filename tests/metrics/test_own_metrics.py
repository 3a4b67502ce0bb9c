"""Metrics of the user's own: named in a sweep file, known by their code, and never in the way of a sweep."""

import importlib.metadata
import json
import math
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_plugins import FAILING_METRICS, UNREADABLE_METRICS
from own_code import SPEC, rows_of, sweep_of

import rdbench as package
from rdbench import datasets, metrics
from rdbench.commands import evaluate
from rdbench.errors import SpecError
from rdbench.metrics import is_measured
from rdbench.metrics.failures import is_failure, reason
from rdbench.registry import plugins
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.trial.job import Job, Outputs
from rdbench.trial.worker import work

CPU = torch.device("cpu")
SHARPNESS = '''
import rdbench

@rdbench.metric(better="higher")
def sharpness(reconstructions, *, power: float = 2.0):
    """Mean power of the difference of neighbouring pixels."""
    return (reconstructions[..., 1:] - reconstructions[..., :-1]).abs().pow(power).flatten(1).mean(1)
'''


@pytest.fixture
def measured(tmp_path, data):
    """Measure metrics of a source on a trial; return their rows."""
    return partial(rows_of, tmp_path, data)


# How it is named, and what it is known by


def test_a_file_a_module_and_an_entry_point_name_one_metric(tmp_path, monkeypatch):
    (tmp_path / "plugged_metrics.py").write_text(SHARPNESS)
    monkeypatch.syspath_prepend(tmp_path)
    entry = importlib.metadata.EntryPoint("crisp", "plugged_metrics:sharpness", plugins.GROUPS["metric"])
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if "metrics" in group else []
    )
    names = ("./plugged_metrics.py:sharpness", "plugged_metrics:sharpness", "crisp")
    asked = [sweep_of(tmp_path, name).metrics[0] for name in names]
    assert asked[0] == asked[1] == asked[2]
    assert (asked[0].name, asked[0].options) == ("sharpness", {"power": 2.0, "images": None})
    assert asked[1].source == asked[2].source == "plugged_metrics:sharpness"


def test_options_are_checked_as_the_sweep_file_is_read(tmp_path):
    (tmp_path / "mine.py").write_text(SHARPNESS)
    for written, says in (
        ("powr: 3", "metrics[0].powr: unknown key; metric sharpness: did you mean 'power'?"),
        ("power: high", 'metrics[0].power: expected a number, got "high"'),
        ("images: 0", "metrics[0].images: 0 is out of range; use at least 1"),
    ):
        with pytest.raises(SpecError) as caught:
            sweep_of(tmp_path, f"{{name: ./mine.py:sharpness, {written}}}")
        assert says in str(caught.value)
    (asked,) = sweep_of(tmp_path, "{name: ./mine.py:sharpness, power: 3, images: all}").metrics
    assert asked.options == {"power": 3.0, "images": None}


def test_a_search_does_not_rest_on_it(tmp_path):
    (tmp_path / "mine.py").write_text(SHARPNESS)
    for search in ("{name: curve, plane: [rate, sharpness]}", "{name: optuna, objective: sharpness}"):
        with pytest.raises(SpecError, match="cannot rest on a metric of your own, 'sharpness'; name"):
            sweep_of(tmp_path, "./mine.py:sharpness", beta="[0.1, 1]", search=search)
    search = "{name: optuna, objective: mine.py:sharpness}"
    with pytest.raises(SpecError, match=r"cannot rest on a metric of your own, 'mine.py:sharpness'; name"):
        sweep_of(tmp_path, "./mine.py:sharpness", beta="[0.1, 1]", search=search)


@pytest.mark.parametrize("mistake", UNREADABLE_METRICS.values(), ids=UNREADABLE_METRICS.keys())
def test_a_mistake_that_can_be_read_is_one_line_before_anything_is_trained(mistake, tmp_path):
    with pytest.raises(SpecError) as caught:
        sweep_of(tmp_path, mistake.written(tmp_path))
    mistake.is_told_by(str(caught.value), "metrics[0]")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"there is no file .*none\.py .* a metric of your own is named"):
        sweep_of(tmp_path, "./none.py:mine")
    (tmp_path / "mine.py").write_text(SHARPNESS)
    with pytest.raises(SpecError, match=r"names a file; write \./mine\.py:NAME"):
        sweep_of(tmp_path, "./mine.py")


def test_a_sweep_file_with_a_metric_is_read_without_torch(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\n" + SHARPNESS)
    (tmp_path / "s.yaml").write_text(SPEC % "./mine.py:sharpness")
    code = "import sys; from rdbench.spec.sweep import load_sweep\n"
    code += "load_sweep('s.yaml'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "False"


# What it is given, and what it may return


def test_it_is_given_what_it_names(measured):
    source = """
import torch
def mine(model, labels, latents, reconstructions, images, samples):
    index = torch.arange(len(images))
    assert torch.equal(images, model.test_images(index))
    assert labels.tolist() == model.data.test.labels[: len(images)].tolist()
    assert latents.shape == (len(images), 4) and reconstructions.shape == images.shape == (60, 1, 8, 8)
    assert torch.allclose(model.decode(latents), reconstructions, atol=1e-6)
    assert samples.shape == (70, 1, 8, 8)
    mean, log_var = model.encode(images)
    return {"latents": ((latents - mean).square() / log_var.exp()).mean(), "one": 1}
"""
    first, second = measured(source, "{name: ./mine.py:mine, images: 60, samples: 70}")
    assert first["quantity"] == "latents"
    assert abs(first["value"] - 1) < 6 * math.sqrt(2 / 240)  # squares of standard normal noise
    assert (second["value"], second["standard_error"]) == (1, None)


def test_numbers_of_images_are_their_mean_and_its_standard_error(measured):
    source = "def mine(images):\n    return images[:, 0].mean((1, 2)).numpy()\n"
    (row,) = measured(source, "./mine.py:mine")
    (again,) = measured(
        source.replace("[:, 0]", "[:, 0].double()").replace(".numpy()", ".std() / 10"), "./mine.py:mine"
    )
    assert row["standard_error"] == pytest.approx(again["value"])


def test_a_metric_in_full_measures_as_one_of_rdbenchs_own(measured):
    source = """
from pydantic import Field
from rdbench.metrics.base import Metric, MetricOptions, Quantity, Value

class Options(MetricOptions):
    name: str = "mine"
    power: int = Field(default=2, ge=1)

METRIC = Metric("mine", "a test", Options, lambda options, model: [Value(float(options.power))],
                (Quantity("mine", "lower"),), protocols=("clean",))
"""
    (row,) = measured(source, "{name: ./mine.py:METRIC, power: 5}")
    assert (row["name"], row["value"], row["settings"]["power"]) == ("mine", 5, 5)
    with pytest.raises(SpecError, match=r"metrics\[0\]\.power: 0 is out of range; use at least 1"):
        measured(source, "{name: ./mine.py:METRIC, power: 0}")
    with pytest.raises(SpecError, match=r"'mine' is not measured under protocol paper"):
        measured(source, "./mine.py:METRIC", protocol="paper")


def test_random_numbers_depend_on_the_trial_alone(measured):
    drawn = "[torch.rand(()), numpy.random.rand(), random.random()]"
    draws = "import random, numpy, torch\ndef {}(images):\n    return " + drawn + "[{}]\n"
    source = "".join(draws.format(name, number) for number, name in enumerate("abc"))
    alone = [measured(source, f"./mine.py:{name}")[0]["value"] for name in "abc"]
    random.seed(time.time_ns())
    np.random.seed(time.time_ns() % 2**32)
    assert [row["value"] for row in measured(source, "./mine.py:c", "./mine.py:b", "./mine.py:a")] == alone[
        ::-1
    ]


@pytest.mark.parametrize("mistake", FAILING_METRICS.values(), ids=FAILING_METRICS.keys())
def test_a_metric_that_fails_says_why_in_a_line_and_all_else_is_measured(mistake, measured):
    source = mistake.source + "\ndef fine(images):\n    return 1.0\n"
    broken, fine, *latents = measured(source, "./mine.py:mine", "./mine.py:fine", "latents")
    assert fine["value"] == 1
    assert len(latents) == 5
    row = broken | {"settings": json.dumps(broken["settings"])}
    assert is_failure(row)
    place = "mine.py:" if mistake.line is None else f"mine.py:{mistake.line}: "
    assert reason(row).startswith(place)
    assert mistake.says in reason(row)
    assert reason(row).endswith("; try 'rdbench check mine.py:mine'")
    assert broken["settings"]["failures"] == metrics.TRIES


def test_what_a_model_or_dataset_lacks_is_no_fault_of_the_metric(measured, tmp_path):
    (row,) = measured("def mine(samples):\n    return 1.0\n", "./mine.py:mine", variants="[autoencoder]")
    assert row["settings"]["undefined"]
    (tmp_path / "mine.py").write_text("def mine(labels):\n    return 1.0\n")
    (asked,) = sweep_of(tmp_path, "./mine.py:mine").metrics
    gaussian = datasets.load(
        datasets.make_options("gaussian", {"train_images": 9, "test_images": 9}), tmp_path
    )
    assert "gaussian has no labels" in metrics.of(asked).missing(asked, gaussian, "clean")


# Its code


def test_an_edited_metric_is_measured_anew_and_a_moved_one_is_not(tmp_path, measured):
    rows = measured(SHARPNESS, "./mine.py:sharpness")
    stored = [row | {"settings": json.dumps(row["settings"])} for row in rows]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "moved.py").write_text(SHARPNESS)
    (moved,) = sweep_of(tmp_path / "elsewhere", "./moved.py:sharpness").metrics
    assert is_measured(moved, stored)
    (tmp_path / "elsewhere" / "moved.py").write_text(SHARPNESS.replace("abs()", "abs().sqrt()"))
    (edited,) = sweep_of(tmp_path / "elsewhere", "./moved.py:sharpness").metrics
    assert not is_measured(edited, stored)
    (other,) = sweep_of(tmp_path, "{name: ./mine.py:sharpness, power: 3}").metrics
    assert not is_measured(other, stored)


def test_a_worker_runs_what_it_was_shipped_and_not_files(tmp_path):
    (tmp_path / "helper.py").write_text("FACTOR = 7\n")
    (tmp_path / "mine.py").write_text("from helper import FACTOR\ndef mine(images):\n    return FACTOR\n")
    (asked,) = sweep_of(tmp_path, "./mine.py:mine").metrics
    files = plugins.settled("metric", asked.source, asked.code).files
    assert [file.name for file in files] == ["mine.py", "helper.py"]
    (tmp_path / "mine.py").unlink()
    (tmp_path / "helper.py").unlink()
    code = (
        "import json, sys; from rdbench import metrics; from rdbench.registry import running\n"
        "from rdbench.metrics.plugged import PluggedOptions\n"
        "content = json.loads(sys.stdin.read())\n"
        "running.ship({content['code']: content['files']})\n"
        "from rdbench.registry import plugins\n"
        "asked = PluggedOptions(**{key: content[key] for key in ('name', 'source', 'code')})\n"
        "print(plugins.settled('metric', asked.source, asked.code).run()(None), metrics.of(asked).name)"
    )
    content = {"name": asked.name, "source": asked.source, "code": asked.code, "files": files}
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "empty",
        env={"PYTHONPATH": str(Path(package.__file__).parent.parent)},
    )
    assert done.stdout.split() == ["7", "mine"]


def test_a_file_edited_since_the_sweep_was_read_is_not_measured_with(tmp_path):
    (tmp_path / "mine.py").write_text(SHARPNESS)
    sweep = sweep_of(tmp_path, "./mine.py:sharpness")
    (tmp_path / "mine.py").write_text(SHARPNESS.replace("abs()", "abs().sqrt()"))
    with pytest.raises(SpecError, match="was edited since the sweep was read"):
        ResultsFolder(tmp_path / "results").save_sweep(sweep)


def test_results_hold_a_copy_that_measures_without_the_file(tmp_path, data):
    (tmp_path / "mine.py").write_text(SHARPNESS)
    (tmp_path / "other.py").write_text("def other(images):\n    return images.mean()\n")
    sweep = sweep_of(tmp_path, "{name: ./mine.py:sharpness, power: 3}")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep.model_copy(update={"keep_weights": True}))
    work(list(plan(sweep).trials), Job(root, tmp_path, outputs=Outputs((), weights=True)), "cpu")
    (tmp_path / "mine.py").unlink()
    assert str(tmp_path) not in (root / "sweep.yaml").read_text()
    again = ResultsFolder(root).sweep()
    assert again.metrics == sweep.metrics
    found = evaluate.evaluate(root, again.metrics, tmp_path, "cpu")
    assert (found.measured, found.failed) == (1, ())
    assert ResultsFolder(root).finished(sweep) == {trial.id for trial in plan(sweep).trials}

    asked = ResultsFolder(root).sweep([f"metrics=[{tmp_path}/other.py:other]"]).metrics
    assert evaluate.evaluate(root, asked, tmp_path, "cpu").measured == 1
    frame = ResultsFolder(root).frame("metrics")
    assert sorted(frame["name"]) == ["other", "sharpness"]
    (tmp_path / "other.py").unlink()
    assert len([*root.glob("plugins/*.py")]) == 2

    (copy,) = root.glob("plugins/sharpness-*.py")
    copy.unlink()
    (gone,) = ResultsFolder(root).sweep().metrics
    assert (gone.name, gone.code, gone.options) == ("sharpness", "", {"power": 3, "images": None})
    assert is_measured(gone, frame.to_dict("records"))
    with pytest.raises(SpecError, match="the file of metric sharpness is gone"):
        evaluate.evaluate(root, [gone], tmp_path, "cpu")
    with pytest.raises(SpecError, match=r"there is no file .*none\.py"):
        ResultsFolder(root).sweep(["metrics=[none.py:mine]"])


def test_results_are_read_and_reported_without_running_what_they_hold(tmp_path, data):
    from rdbench.commands.status import status_lines
    from rdbench.report import make_report

    source = """
from pathlib import Path
from rdbench.metrics.base import Metric, MetricOptions, Quantity, Value

class Options(MetricOptions):
    name: str = "mine"

def compute(options, model):
    return [Value(1.0)]

METRIC = Metric("mine", "a test", Options, compute, (Quantity("mine", "lower"),))
"""
    (tmp_path / "mine.py").write_text(source)
    sweep = sweep_of(tmp_path, "./mine.py:METRIC")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    work(list(plan(sweep).trials), Job(root, tmp_path, outputs=Outputs(sweep.metrics)), "cpu")
    text = f"import pathlib; pathlib.Path('{tmp_path}/ran').touch()\n{source}"
    sheet = root / "sweep.yaml"
    (copy,) = root.glob("plugins/*.py")
    copy.unlink()
    (root / "plugins" / "other.py").write_text(text)
    sheet.write_text(sheet.read_text().replace(copy.name, "other.py"))
    (asked,) = ResultsFolder(root).sweep().metrics
    assert asked.name == "mine"
    assert status_lines(root)
    make_report([root], tmp_path / "page.html")
    assert not (tmp_path / "ran").exists()
    evaluate.evaluate(root, [asked], tmp_path, "cpu")
    assert (tmp_path / "ran").exists()


def test_the_page_calls_it_by_its_name_and_knows_which_way_is_better(tmp_path, data):
    from report_builders import section_of

    from rdbench.report import make_report
    from rdbench.report.statistics.series import proxies

    (tmp_path / "mine.py").write_text(SHARPNESS)
    sweep = sweep_of(tmp_path, "./mine.py:sharpness")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    work(list(plan(sweep).trials), Job(root, tmp_path, outputs=Outputs(sweep.metrics)), "cpu")
    section = section_of(root)
    (series,) = proxies(section)
    assert (series.name, series.title, series.better) == ("sharpness", "sharpness", "higher")
    assert "sharpness" in make_report([root], tmp_path / "page.html").read_text()
