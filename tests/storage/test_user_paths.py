"""Paths that users give, by every way there is: options, sweep files, Python; and names that are no text."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_builders import make_sweep, write
from typer.testing import CliRunner

import rdbench
from rdbench import datasets
from rdbench.cli.app import app
from rdbench.errors import SpecError, UserError
from rdbench.metrics.features import classifier
from rdbench.metrics.fid import FidOptions
from rdbench.report import make_report
from rdbench.report.compare.compare import compare
from rdbench.report.compare.gates import render
from rdbench.report.export import FORMATS, export
from rdbench.results import read_cache
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.fields import load_dataset_options
from rdbench.spec.plan import plan
from rdbench.spec.sweep import dump_sweep, load_sweep
from rdbench.storage import paths

SWEEP = """
name: x
dataset: {dataset}
variants: [{variant}]
beta: [1]
metrics: [{{name: fid, weights: {weights}}}]
"""
VARIANT = """
import rdbench

@rdbench.variant("mine")
def mine(sse, rate, beta, n):
    return sse
"""
NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's home; the working directory is another one, in which nothing lies."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(home))
    return home


def photos(folder, count=4):
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = np.random.RandomState(index).randint(0, 256, (8, 8, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{index}.png")


def sweep_in(folder, dataset="digits", variant="bs_vae", weights="/w.pt"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.yaml").write_text(SWEEP.format(dataset=dataset, variant=variant, weights=weights))
    (folder / "mine.py").write_text(VARIANT)
    return folder / "x.yaml"


def invoke(*arguments):
    found = CliRunner().invoke(app, [*map(str, arguments)])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.stdout


# --- a tilde


def test_a_tilde_after_an_equals_sign_is_the_users_home(home):
    """No shell expands it there, so a folder named ~ was made."""
    write(home / "a", make_sweep())
    spec = sweep_in(home)
    planned = invoke("sweep", spec, "--results=~/new", "--dry-run", "--allow-missing-metrics")
    assert "5 betas" not in planned
    for address in ("~", "file://~"):
        found = invoke("doctor", f"--results={address}/a", f"--data={address}/data")
        assert f" data root: {home / 'data'}\n" in found
        assert f" results: {home / 'a'}, " in found
    assert "4 done in " in invoke("status", "~/a")
    invoke("report", "~/a", "--out=~/page.html")
    invoke("report", "~/a", "--format=csv", "--out=~/tables")
    invoke("compare", "~/a", "~/a", "--out=~/changes.md")
    invoke("new", "variant", "~/your.py")
    assert {"page.html", "tables", "changes.md", "your.py"} <= {path.name for path in home.iterdir()}
    with pytest.raises(UserError, match=str(home / "inception.pt")):
        invoke("weights", "--file=~/inception.pt")
    assert list(Path().iterdir()) == []


def test_a_results_folder_of_the_sweep_verb_is_below_the_users_home(home):
    write(home / "a", make_sweep(name="other", beta=[3]))
    (home / "study.yaml").write_text(dump_sweep(make_sweep(model={"latent": 3})))
    with pytest.raises(UserError, match=f"{home / 'a'} holds trials of other settings"):
        invoke("sweep", home / "study.yaml", "--results=~/a", "--dry-run")


def test_a_tilde_in_a_sweep_file_and_in_python_is_the_users_home(home, tmp_path):
    photos(home / "photos")
    spec = sweep_in(home, "{name: folder, path: ~/photos, size: 8}", "~/mine.py:mine", "~/w.pt")
    for written in ("~/x.yaml", Path("~/x.yaml"), str(spec), spec, "file://~/x.yaml"):
        sweep = rdbench.load_sweep(written)
        assert sweep.variants[0].source == f"{home / 'mine.py'}:mine"
        assert sweep.metrics == (FidOptions(weights=home / "w.pt"),)
        assert sweep.dataset.path == "~/photos"  # trials are known by what was written
        assert len(datasets.load(sweep.dataset, tmp_path / "nowhere").train.images) == 4 - 1
    write(home / "a", make_sweep())
    for written in ("~/a", Path("~/a"), "file://~/a"):
        assert len(rdbench.load_results(written).trials) == 4
    assert make_report(["~/a"], "~/page.html") == home / "page.html"
    assert export(["~/a"], "~/files", ["json"]) == [home / "files" / "report.json"]
    assert FidOptions(weights=Path("~/w.pt")).weights == home / "w.pt"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"variant": "~nobody-of-this-name/mine.py:mine"}, "variants[0]"),
        ({"weights": "~nobody-of-this-name/w.pt"}, "metrics[0].weights"),
        ({"weights": "s3://bucket/w.pt"}, "metrics[0].weights"),
    ],
)
def test_a_path_in_a_sweep_file_that_leads_nowhere_is_one_line_with_its_place(home, changes, key):
    with pytest.raises(SpecError) as caught:
        load_sweep(sweep_in(home, **changes))
    assert f"x.yaml:{4 if 'variant' in changes else 6}: {key}" in str(caught.value)


# --- relative to the sweep file


def test_a_relative_path_in_a_sweep_file_starts_from_the_file(home, tmp_path, monkeypatch):
    photos(tmp_path / "study" / "photos")
    (tmp_path / "study" / "w.pt").touch()
    spec = sweep_in(tmp_path / "study", "{name: folder, path: ./photos, size: 8}", "mine.py:mine", "w.pt")
    here = load_sweep(spec)
    assert here.dataset.path == str(tmp_path / "study" / "photos")
    assert here.metrics[0].weights == tmp_path / "study" / "w.pt"
    assert here.variants[0].source == f"{tmp_path / 'study' / 'mine.py'}:mine"
    monkeypatch.chdir(tmp_path)
    assert load_sweep("study/x.yaml") == here
    assert datasets.load(here.dataset, tmp_path / "nowhere").shape == (3, 8, 8)
    # Kept with results, it means what it did, wherever they are moved to.
    ResultsFolder(tmp_path / "kept" / "results").save_sweep(here)
    photos(tmp_path / "kept" / "results" / "photos")
    assert ResultsFolder(tmp_path / "kept" / "results").sweep().dataset == here.dataset


def test_what_is_not_beside_the_sweep_file_is_where_it_was(home, tmp_path, monkeypatch):
    """In the working directory a variant and weights; below the data root a dataset, by its text."""
    photos(tmp_path / "study" / "photos")
    photos(home / "data" / "photos")
    Path("w.pt").touch()
    spec = sweep_in(tmp_path / "study", "{name: folder, path: photos, size: 8}", "mine.py:mine", "w.pt")
    (tmp_path / "study" / "mine.py").rename("mine.py")
    sweep = load_sweep(spec)
    assert sweep.dataset.path == "photos"
    assert sweep.metrics[0].weights == Path.cwd() / "w.pt"
    assert sweep.variants[0].source == f"{Path.cwd() / 'mine.py'}:mine"
    for path in ("./gone", "../gone"):
        assert load_sweep(spec, [f"dataset.path={path}"]).dataset.path == path
        with pytest.raises(UserError, match="gone is not a folder; correct 'path'"):
            datasets.load(load_sweep(spec, [f"dataset.path={path}"]).dataset, home / "data")
    ResultsFolder(tmp_path / "kept").save_sweep(load_sweep(spec, ["dataset.path=./gone"]))
    photos(Path("gone").absolute())
    assert ResultsFolder(tmp_path / "kept").sweep().dataset.path == "./gone"  # whoever reads it from where


def test_ids_of_trials_on_a_folder_below_the_data_root_stay(tmp_path):
    spec = sweep_in(tmp_path, "{name: folder, path: photos, size: 8}")
    assert plan(load_sweep(spec)).trials[0].id == "96d87fb2148d964b"
    assert plan(load_sweep(spec, ["dataset.path=~/photos"])).trials[0].id == "f857721946c8509f"


def test_an_option_of_a_dataset_on_the_command_line_starts_from_the_working_directory(home):
    photos(Path("photos").absolute())
    assert load_dataset_options("folder", ["path=./photos", "size=8"]).path == str(Path.cwd() / "photos")
    assert load_dataset_options("folder", ["path=photos", "size=8"]).path == "photos"


# --- names that are no text


def test_sweeps_and_datasets_in_a_folder_whose_name_is_not_utf8(home, tmp_path, monkeypatch):
    folder = tmp_path / NOT_UTF8
    photos(folder / "photos")
    spec = sweep_in(folder, "{name: folder, path: ./photos, size: 8}", "mine.py:mine")
    sweep = load_sweep(spec)
    assert sweep.variants[0].source == f"{tmp_path.as_uri()}/caf%E9/mine.py:mine"
    assert len(datasets.load(sweep.dataset, tmp_path / "nowhere").train.images) == 3
    (trial,) = plan(sweep).trials
    assert type(trial).from_json(trial.to_json()) == trial
    ResultsFolder(folder / "results").save_sweep(sweep)
    assert ResultsFolder(folder / "results").sweep().dataset == sweep.dataset
    assert ResultsFolder(folder / "results").sweep().variants == sweep.variants
    # Options and variables that name it.
    monkeypatch.setenv("RDBENCH_CACHE", str(folder / "cache"))
    below = datasets.make_options("folder", {"path": "photos", "size": 8})
    assert len(datasets.load(below, paths.data_root(folder)).train.images) == 3

    (folder / "w.pt").touch()
    with pytest.raises(SpecError, match=r"metrics.*the path is not UTF-8"):
        load_sweep(sweep_in(folder, weights="w.pt"))


def test_results_in_a_folder_whose_name_is_not_utf8_are_reported(tmp_path):
    """Its name stands on the page, in JSON and in problems; snapshots are kept by it."""
    root = tmp_path / NOT_UTF8
    sweep = make_sweep()
    write(root, sweep, lost=lambda trial: trial.beta == 10 and ("failed", f'File "{root}/mine.py", line 3'))
    min((root / "history").iterdir()).write_bytes(b"no table")
    (root / "points" / f"{NOT_UTF8}.parquet").write_bytes(b"no table")
    page = make_report([root], tmp_path / "page.html").read_text()
    assert f"rdbench report '{tmp_path}/caf\\udce9'".replace("'", "&#39;") in page
    files = export([root], tmp_path / "files", FORMATS)
    assert json.loads((tmp_path / "files" / "report.json").read_text())["problems"]
    assert all(path.read_text() for path in files if path.suffix not in (".png", ".pdf"))
    for form in ("json", "markdown", "text"):
        text = render(compare([root], [root]), [], form)
        assert text.encode("utf-8", "backslashreplace")
    assert read_cache._file(root, "") != read_cache._file(tmp_path, "")
    assert r"caf\udce9/mine.py" in load_results(root).trials["error"].dropna().iloc[0]


def test_the_snapshots_of_folders_stay(tmp_path):
    text = f"{tmp_path.resolve()}\n"
    assert read_cache._file(tmp_path, "").stem == hashlib.sha256(text.encode()).hexdigest()[:24]


def test_a_classifier_is_kept_in_a_cache_whose_name_is_not_utf8(tmp_path, monkeypatch, data):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "plain"))
    import torch

    first = classifier.classifier(data, torch.device("cpu"))
    shutil.copytree(tmp_path / "plain", tmp_path / NOT_UTF8)
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / NOT_UTF8))
    monkeypatch.setattr(classifier, "_packed", None)  # it is not made again
    assert classifier.classifier(data, torch.device("cpu")).hash == first.hash
