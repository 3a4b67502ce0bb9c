"""What can be known before anything is trained is told then, and in a dry run as far as it is known there."""

import hashlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from rich.console import Console

from rdbench import datasets
from rdbench.commands import preflight
from rdbench.commands.plan import open_plan
from rdbench.commands.sweep import run_sweep
from rdbench.errors import DatasetError, SpecError
from rdbench.metrics.features import weights as published
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.scheduler import RunOptions
from rdbench.vae import networks


@pytest.fixture
def ahead(sweep_file, tmp_path):
    """Look ahead in a sweep of 256 and 100 digits, changed by overrides."""

    def look(*overrides: str, allow: bool = False) -> list[str]:
        return list(preflight.look_ahead(plan(load_sweep(sweep_file, overrides)), tmp_path / "raw", allow))

    return look


# Counts


@pytest.mark.parametrize(
    ("metric", "overrides", "expected"),
    [
        ("{name: prdc, split: test}", ["dataset.test_images=2"],
         r"prdc: the 2 images of the test split have no neighbour number 5; use k: 1 at most, or more "),
        ("{name: prdc, k: 64}", ["dataset.train_images=64"], "prdc: the 64 images of the train split"),
        ("{name: fd_classifier, split: test}", ["dataset.test_images=1"],
         r"fd_classifier: one image of the test split has no covariance; take more images \(dataset.test_im"),
        ("{name: kid, split: test}", ["dataset.test_images=1"], "kid: one image of the test split"),
        ("{name: fid, split: test}", ["dataset.test_images=1"], "fid: one image of the test split"),
        ("{name: reconstruction, features: classifier, images: 1}", [],
         "reconstruction: one image of the test split has no covariance; take images: 2, or more"),
        ("{name: reconstruction, measures: [ssim, ms_ssim]}", [], "reconstruction: ssim takes images of 11x11"
         " pixels or more, and those of digits have 8x8; leave it out of measures"),
        ("{name: reconstruction, measures: [ms_ssim]}", [], "reconstruction: ms_ssim takes images of 176x"),
        ("fd_classifier", ["dataset=gaussian"], "fd_classifier: gaussian holds float32 values"),
    ],
)  # fmt: skip
def test_too_few_images_for_a_metric_are_told_in_the_dry_run(ahead, metric, overrides, expected):
    asked = [f"metrics=[{metric}]", "train.batch_size=64", *overrides]
    if "dataset=gaussian" in overrides:
        asked += ["dataset={name: gaussian, train_images: 64, test_images: 9}", "model={name: linear}"]
    with pytest.raises(SpecError, match=rf"^metrics: {expected}.*; or go on without it by --allow-missing"):
        ahead(*asked)
    (line,) = ahead(*asked, allow=True)
    assert line.startswith("left out: metrics: ")


@pytest.mark.parametrize("measure", ["ssim", "ms_ssim"])
@pytest.mark.parametrize("allow", [True, False])
def test_a_search_by_what_the_images_are_too_small_for_is_refused_in_the_dry_run(
    sweep_file, tmp_path, measure, allow
):
    def look(objective):
        search = f"search={{name: optuna, objective: {objective}, over: {{lr: [1e-4, 1e-2]}}}}"
        wanted = load_sweep(sweep_file, [search, "metrics=[reconstruction]"])
        return list(preflight.look_ahead(open_plan(tmp_path / "results", wanted), tmp_path / "raw", allow))

    expected = rf"^search: reconstruction_{measure}: {measure} takes images of .*; let it rest on another"
    with pytest.raises(SpecError, match=expected):
        look(f"reconstruction_{measure}")
    assert look("reconstruction_psnr") == []


def test_just_enough_images_are_enough(ahead):
    assert ahead("metrics=[{name: prdc, split: test}]", "dataset.test_images=6") == []
    assert ahead("metrics=[{name: fd_classifier, split: test}]", "dataset.test_images=2") == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.batch_size=512"], "train.batch_size is 512 but there are only 256 training images"),
        (["protocol=paper", "train.batch_size=128"], "100 test images do not fill one batch of 128"),
        (["dataset={name: digits, train_images: 2000}"], "train_images: 2000 asked for, but there are 1437"),
        (["dataset={name: mnist, test_images: 10001}"], "test_images: 10001 asked for, but there are 10000"),
        (["search={name: optuna, over: {batch_size: [32, 300]}}"], "train.batch_size is 300 but there are"),
        (["search={name: optuna, over: {batch_size: {choices: [300, 32]}}}"], "train.batch_size is 300 but"),
    ],
)
def test_data_that_are_too_few_are_told_in_the_dry_run(sweep_file, tmp_path, overrides, expected):
    wanted = load_sweep(sweep_file, overrides)
    whole = open_plan(tmp_path / "results", wanted)
    with pytest.raises(DatasetError, match=expected):
        list(preflight.look_ahead(whole, tmp_path / "raw", False))


def test_what_is_known_of_a_dataset_costs_neither_preparing_nor_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    faces = datasets.known(datasets.make_options("celeba", {"test_images": 7}), tmp_path)
    assert (len(faces.train.images), len(faces.test.images), faces.shape) == (162_770, 7, (3, 64, 64))
    assert faces.train.images.strides[0] == 0
    (tmp_path / "photos").mkdir()
    folder = datasets.make_options("folder", {"path": str(tmp_path / "photos"), "size": 8})
    assert datasets.known(folder, tmp_path) is None
    assert not (tmp_path / "cache").exists()
    digits = datasets.make_options("digits", {"train_images": 9})
    assert datasets.known(digits, tmp_path).checksum == ""
    whole = datasets.load(digits, tmp_path)
    again = datasets.known(digits, tmp_path)
    assert again.checksum == whole.checksum
    assert np.array_equal(again.train.labels, whole.train.labels)


# Weights


def cut_download(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("network/data.pkl", b"x" * 10_000)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "spoil",
    [
        cut_download,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<html>404 not found</html>"),
    ],
    ids=["cut", "empty", "page"],
)
@pytest.mark.parametrize("metric", ["fid", "kid", "{features: inception, name: prdc}"])
def test_weights_that_are_not_whole_are_told_in_the_dry_run(ahead, tmp_path, monkeypatch, spoil, metric):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    spoil(tmp_path / "mine.pt")
    asked = metric if metric.startswith("{") else f"{{name: {metric}}}"
    with pytest.raises(SpecError, match=r"mine\.pt holds no Inception network for mode 'clean'"):
        ahead(f"metrics=[{asked[:-1]}, weights: {tmp_path / 'mine.pt'}}}]")
    published.folder().mkdir(parents=True)
    spoil(published.target("clean"))
    with pytest.raises(SpecError, match=r"is not what was published .*delete it and run `rdbench weights`"):
        ahead(f"metrics=[{metric}]")


def test_weights_are_read_once_for_as_long_as_they_stay_the_same(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(published, "sha256", lambda path: read.append(path) or hashlib.sha256().hexdigest())
    file = tmp_path / "mine.pt"
    file.write_bytes(b"\x80 a pickle")
    for _ in range(3):
        published.identify("clean", file)
    assert len(read) == 1
    file.write_bytes(b"\x80 another pickle")
    published.identify("clean", file)
    assert len(read) == 2


def started(sweep_file, tmp_path, *overrides):
    wanted = load_sweep(sweep_file, overrides)
    root = tmp_path / "results"
    run_sweep(open_plan(root, wanted), root, Console(quiet=True), RunOptions(tmp_path))


def test_weights_that_are_whole_and_hold_something_else_are_told_before_training(sweep_file, tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.pt", "w") as archive:
        archive.writestr("network/data.pkl", b"x")
    asked = f"metrics=[{{name: fid, weights: {tmp_path / 'mine.pt'}}}]"
    assert list(preflight.look_ahead(plan(load_sweep(sweep_file, [asked])), tmp_path, False)) == []
    with pytest.raises(SpecError, match=r"fid: .*mine\.pt holds no Inception network for mode 'clean'"):
        started(sweep_file, tmp_path, asked)
    assert not (tmp_path / "results" / "trials").exists()


# Networks


@pytest.mark.parametrize("variant", ["bs_vae", "sigma_vae", "two_stage"])
def test_networks_that_cannot_be_built_are_told_before_training(sweep_file, tmp_path, monkeypatch, variant):
    def build(spec, shape, *rest):
        raise RuntimeError(f"can't allocate memory for {shape}\nand more lines")

    monkeypatch.setattr(networks, "build", build)
    expected = (
        r"model: {'latent': 4, 'channels': \(8, 16\)} cannot be built for images of 1x8x8: RuntimeError"
    )
    with pytest.raises(SpecError, match=expected) as told:
        started(sweep_file, tmp_path, f"variants=[{variant}]")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "results" / "trials").exists()


# The command line


def test_a_dry_run_tells_without_torch_and_prepares_nothing(sweep_file, tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    code = f"""
import sys
sys.argv = ["rdbench", "sweep", {str(sweep_file)!r}, "--dry-run", *sys.argv[1:]]
from rdbench.cli.app import main
try:
    main()
finally:
    print([name for name in ("torch", "ray", "pandas", "pyarrow", "sklearn", "scipy") if name in sys.modules])
"""
    asked = ["--set", "metrics=[{name: prdc, split: test}]", "--set", "dataset.test_images=2"]
    ends = {}
    for more in ([], ["--allow-missing-metrics"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *asked, *more], capture_output=True, text=True, cwd=tmp_path
        )
        assert "2 trainings" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"
        ends[bool(more)] = done
    assert (ends[False].returncode, ends[True].returncode) == (2, 0)
    assert ends[False].stderr.startswith("error: metrics: prdc: the 2 images of the test split")
    assert ends[False].stderr.count("\n") == 1
    assert "left out: metrics: prdc: the 2 images" in ends[True].stdout
    assert not (tmp_path / "cache").exists()
