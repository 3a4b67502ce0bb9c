"""Whole sweeps on images: the real MNIST where it is there, and a user's own folder of photographs."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, refused
from PIL import Image

from rdbench import load_results

MNIST = Path(os.environ.get("RDBENCH_DATA", "RDBENCH_DATA is not set")) / "MNIST" / "raw"


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"the real MNIST is missing: no folder {MNIST}")
def test_mnist_smoke_runs_to_its_report(tmp_path, rdbench):
    done = rdbench("sweep", ROOT / "sweeps" / "mnist_smoke.yaml", "--set", "beta=[1]")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("report written to results/mnist_smoke/report.html")
    results = load_results(tmp_path / "results" / "mnist_smoke")
    networks = results.trials.query("variant != 'linear_coder'")
    assert (networks["parameters"] == 1_291_521).all()
    test = results.points.query("split == 'test' and reading == 'optimal'").set_index(["variant", "beta"])
    assert (test["n_images"] == 500).all()
    # Thirty steps are enough to tell the two apart: only one of them has learnt its decoder variance.
    assert test.loc[("bs_vae", 1.0), "elbo"] > test.loc[("beta_vae", 1.0), "elbo"]
    # Neither is near the linear coder yet, which has no epochs.
    assert test["mse"].idxmin() == ("linear_coder", 1.0)
    assert set(results.history["trial"]) == set(networks["trial"])


@pytest.fixture
def photographs(tmp_path):
    """Sixty colour JPEGs in two classes, with gradients rather than noise, as photographs have."""
    random = np.random.RandomState(0)
    ramp = np.linspace(0, 1, 16)
    for index in range(60):
        colours = random.rand(3, 3)
        image = ramp[:, None, None] * colours[0] + ramp[None, :, None] * colours[1] + colours[2] / 2
        folder = tmp_path / "photographs" / ("ship", "frog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image / image.max() * 255).astype(np.uint8)).save(folder / f"{index:02}.jpg")
    return tmp_path / "photographs"


SWEEP = """
name: photographs
dataset: {{name: folder, path: {path}, size: 16, channels: 3, test_fraction: 0.2{more}}}
variants: [beta_vae, bs_vae]
beta: [1]
train: {{epochs: 1, batch_size: 16}}
model: {{latent: 4, channels: [8, 16]}}
"""


def sweep_of(folder, more=""):
    path = folder.parent / "photographs.yaml"
    path.write_text(SWEEP.format(path=folder, more=more))
    return path


def test_a_folder_of_photographs_is_swept_without_its_bad_files_which_are_named(
    photographs, tmp_path, rdbench
):
    (photographs / "ship" / "torn.jpg").write_bytes((photographs / "ship" / "00.jpg").read_bytes()[:200])
    (photographs / "ship" / "notes.txt").write_text("taken in May")
    Image.new("RGB", (40, 24), "teal").save(photographs / "frog" / "wide.png")

    line = refused(rdbench("sweep", sweep_of(photographs)))
    assert "torn.jpg" in line
    assert "notes.txt" in line
    assert "on_bad: skip" in line
    assert not (tmp_path / "results").exists()

    done = rdbench("sweep", sweep_of(photographs, ", on_bad: skip"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 files skipped" in done.stdout
    assert "torn.jpg" in done.stdout
    assert "1 of 61 images had another size" in done.stdout
    results = load_results(tmp_path / "results" / "photographs")
    assert (results.trials["skipped_files"] == 2).all()
    report = (tmp_path / "results" / "photographs" / "report.html").read_text()
    assert 'files left out of the dataset</th><td class="text">2</td>' in report


def test_a_folder_that_changed_is_not_mixed_into_its_old_results(photographs, tmp_path, rdbench):
    assert rdbench("sweep", sweep_of(photographs), "--limit", 1, "--no-report").returncode == 0
    shutil.copy(photographs / "ship" / "00.jpg", photographs / "ship" / "copy.jpg")
    line = refused(rdbench("sweep", sweep_of(photographs)))
    assert "trials of other data: the files of dataset folder have changed" in line
