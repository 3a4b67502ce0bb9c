"""Metrics of samples against a dataset: features and statistics joined, from a trial to the table."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import cleanfid.fid
import numpy as np
import pandas as pd
import prdc as published_prdc
import pytest
import torch
from PIL import Image
from torch import nn

from rdbench import datasets, metrics
from rdbench.datasets import Dataset
from rdbench.errors import SpecError
from rdbench.metrics.base import MetricOptions, TrainedModel, Value
from rdbench.metrics.fd_classifier import FdClassifierOptions
from rdbench.metrics.features import inception, samples
from rdbench.metrics.features import weights as published
from rdbench.metrics.features.classifier import classifier
from rdbench.metrics.fid import FidOptions
from rdbench.metrics.kid import KidOptions
from rdbench.metrics.prdc import PrdcOptions
from rdbench.metrics.reconstruction import ReconstructionOptions
from rdbench.numerics.frechet import Moments, frechet_distance
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, dump_sweep, load_sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial

CPU = torch.device("cpu")
TRAIN, TEST, SIZE = 200, 100, 16
SWEEP = f"""
name: test
dataset: {{name: digits, train_images: {TRAIN}, test_images: {TEST}}}
variants: [beta_vae]
beta: [0.1]
train: {{epochs: 40, batch_size: 64}}
model: {{latent: 4, channels: [8, 16]}}
"""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Classifiers are trained for a shorter time here, so no other test may find them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("rdbench.metrics.features.classifier.STEPS", 150)
        yield


class StandIn(nn.Module):
    """A network with the interface of the published TorchScript file."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, SIZE, 23, stride=23), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "stand_in.pt"
    with torch.random.fork_rng([]), warnings.catch_warnings():
        torch.manual_seed(1)
        warnings.filterwarnings("ignore", ".*torch.jit", FutureWarning)
        torch.jit.script(StandIn()).save(str(path))
    return path


class Run(NamedTuple):
    """A trained trial: its rows, and the images that were scored."""

    sweep: Sweep
    trial: Trial
    data: Dataset
    asked: list[MetricOptions]
    rows: pd.DataFrame
    samples: np.ndarray
    model: TrainedModel

    def row(self, name: str, quantity: str | None = None, n_samples: int | None = None):
        """The one row with these settings."""
        (row,) = [
            row
            for row in self.rows.itertuples()
            if row.name == name
            and row.quantity == (quantity or name)
            and n_samples in (None, json.loads(row.settings).get("n_samples"))
        ]
        return row


def run(folder: Path, protocol: str, asked: list[MetricOptions]) -> Run:
    """Train a model on digits and measure it, keeping the most samples that a metric looked at."""
    path = folder / "sweep.yaml"
    path.write_text(SWEEP + f"protocol: {protocol}\n")
    sweep = load_sweep(path).model_copy(update={"metrics": tuple(asked)})
    (trial,) = plan(sweep).trials
    data = datasets.load(trial.dataset, folder)
    streams, models = [], []

    def seen(model, *arguments, **options):
        models.append(model)
        streams.append([])
        for batch in stream(model, *arguments, **options):
            streams[-1].append(batch.numpy())
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        stream = samples.prior_samples
        patch.setattr(samples, "prior_samples", seen)
        tables = run_trial(trial, data, CPU, outputs=Outputs(asked))
    ResultsFolder(folder / "results").save_sweep(sweep)
    ResultsFolder(folder / "results").commit(trial.id, tables)
    found = load_results(folder / "results").metrics
    most = max((np.concatenate(batches) for batches in streams), key=len)
    return Run(sweep, trial, data, asked, found, most, models[0])


@pytest.fixture(scope="module")
def clean(tmp_path_factory, weights) -> Run:
    asked = [
        FidOptions(samples=250, weights=weights),
        FidOptions(samples=10, split="test", weights=weights),
        KidOptions(samples=TRAIN, subset_size=TRAIN, subsets=2, weights=weights),
        KidOptions(samples=250, subset_size=50, subsets=10, weights=weights),
        PrdcOptions(samples=120, k=50, features="inception", weights=weights),
        ReconstructionOptions(features="inception", weights=weights),
        ReconstructionOptions(),
        FdClassifierOptions(samples=250),
        PrdcOptions(samples=9999, k=3),
        ReconstructionOptions(features="classifier", images=90),
    ]
    return run(tmp_path_factory.mktemp("clean"), "clean", asked)


@pytest.fixture(scope="module")
def paper(tmp_path_factory, weights) -> Run:
    asked = [FidOptions(samples=250, weights=weights), FdClassifierOptions(samples=250)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "_state_dict", inception._torchscript)  # the stand-in for its weights too
        return run(tmp_path_factory.mktemp("paper"), "paper", asked)


def moments_of(features: np.ndarray) -> Moments:
    return Moments(len(features), features.mean(0), np.cov(features.T))


def extracted(weights: Path, images: np.ndarray) -> np.ndarray:
    return inception.load("clean", weights, CPU).extract(torch.from_numpy(np.array(images))).numpy()


# Inception


@pytest.mark.parametrize(("protocol", "mode"), [("clean", "clean"), ("paper", "legacy_pytorch")])
def test_fid_is_what_clean_fid_computes_from_files_of_the_same_images(
    protocol, mode, weights, tmp_path, request
):
    measured = request.getfixturevalue(protocol)
    folders = []
    for name, images in {"samples": measured.samples, "train": measured.data.train.images}.items():
        (tmp_path / name).mkdir()
        folders.append(str(tmp_path / name))
        for index, image in enumerate(images):
            Image.fromarray(image[0]).save(tmp_path / name / f"{index:05}.png")
    network = inception._torchscript(weights, CPU)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SciPy: of an argument that clean-fid passes
        theirs = cleanfid.fid.compare_folders(
            *folders, network, mode, num_workers=0, batch_size=32, device=CPU, verbose=False
        )
    row = measured.row("fid", n_samples=250)
    assert len(measured.samples) == 250
    assert theirs > 0.1
    assert row.value == pytest.approx(theirs, rel=1e-3)
    assert row.protocol == protocol
    assert json.loads(row.settings)["resizing"] == mode


def test_samples_are_clipped_or_stretched_as_the_protocol_has_it(clean, paper):
    spans = [(run.samples.min((1, 2, 3)), run.samples.max((1, 2, 3))) for run in (paper, clean)]
    assert [set(low) == {0} and set(high) == {255} for low, high in spans] == [True, False]


def test_a_value_carries_what_it_takes_to_compare_it(clean, weights):
    row = clean.row("fid", n_samples=250)
    settings = json.loads(row.settings)
    assert settings.pop("versions") == metrics.versions()
    assert settings == {
        "samples": 250,
        "split": "train",
        "weights": str(weights),
        "network": "not the published ones",
        "resizing": "clean",
        "n_samples": 250,
        "reference_images": TRAIN,
    }
    assert row.feature_hash == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert row.protocol == "clean"
    assert np.isnan(row.standard_error)


def test_fewer_samples_than_dimensions_give_a_number_and_a_warning(clean):
    row = clean.row("fid", n_samples=10)
    assert 0 < row.value < 1e6
    settings = json.loads(row.settings)
    assert settings["warning"].startswith(f"10 samples for {SIZE} dimensions: the covariance is singular")
    assert (settings["split"], settings["reference_images"]) == ("test", TEST)


def test_kid_of_whole_sets_is_what_clean_fid_computes(clean, weights):
    own, reference = (extracted(weights, x) for x in (clean.samples[:TRAIN], clean.data.train.images))
    theirs = cleanfid.fid.kernel_distance(own.astype(float), reference.astype(float), 1, TRAIN)
    row = clean.row("kid", n_samples=TRAIN)
    assert row.value == pytest.approx(theirs, rel=1e-6)
    assert "warning" not in json.loads(row.settings)
    more = clean.row("kid", n_samples=250)
    assert more.standard_error > 0
    assert abs(more.value - row.value) < 4 * more.standard_error
    assert json.loads(more.settings)["reference_images"] == TRAIN


def test_prdc_is_what_the_published_package_computes(clean, weights):
    same_each_time = np.sort(np.random.RandomState(0).permutation(TRAIN)[:120])
    images = (clean.data.train.images[same_each_time], clean.samples[:120])
    real, fake = (extracted(weights, some).astype(float) for some in images)
    theirs = published_prdc.compute_prdc(real, fake, nearest_k=50)
    assert len(theirs) == 4
    assert all(0 < value < 1 for value in theirs.values())
    for quantity, value in theirs.items():
        row = clean.row("prdc", quantity, n_samples=120)
        assert row.value == pytest.approx(value, abs=1e-9)
        assert json.loads(row.settings)["reference_images"] == 120
        assert (row.standard_error > 0) == (quantity in ("precision", "density"))


def test_rfid_compares_all_reconstructions_with_the_test_images(clean, weights):
    reconstructions = torch.cat(list(samples.reconstructions(clean.model, 32))).numpy()
    own, reference = (extracted(weights, images) for images in (reconstructions, clean.data.test.images))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = cleanfid.fid.fid_from_feats(own.astype(float), reference.astype(float))
    row = clean.row("reconstruction", "rfid")
    assert row.value == pytest.approx(theirs, rel=1e-3)
    assert row.value < clean.row("fid", n_samples=250).value
    settings = json.loads(row.settings)
    assert (settings["n_images"], settings["resizing"]) == (TEST, "clean")


# The classifier


def test_values_of_the_classifier_carry_its_accuracy_and_hash(clean):
    known = classifier(clean.data, CPU)
    rows = clean.rows[clean.rows["feature_hash"] == known.hash]
    assert rows["name"].value_counts().to_dict() == {"prdc": 4, "fd_classifier": 1, "reconstruction": 1}
    for settings in map(json.loads, rows["settings"]):
        assert settings["test_accuracy"] == known.settings["test_accuracy"]
    assert clean.row("fd_classifier").standard_error > 0


def test_sets_of_neighbours_are_no_larger_than_the_split(clean):
    row = clean.row("prdc", "coverage", n_samples=TRAIN)
    settings = json.loads(row.settings)
    assert (settings["samples"], settings["n_samples"], settings["reference_images"]) == (9999, TRAIN, TRAIN)


def test_some_reconstructions_are_compared_with_the_images_they_are_of(clean):
    features = classifier(clean.data, CPU)
    first = torch.cat(list(samples.reconstructions(clean.model, 32, 90)))
    assert len(first) == 90
    images = torch.from_numpy(np.array(clean.data.test.images[:90]))
    own, reference = (features.extract(x).numpy().astype(float) for x in (first, images))
    row = clean.row("reconstruction", "rfd_classifier")
    assert row.value == pytest.approx(frechet_distance(*map(moments_of, (own, reference))), rel=1e-4)
    assert json.loads(row.settings)["warning"].startswith("90 samples for 128 dimensions")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    return datasets.load(datasets.make_options("digits"), tmp_path_factory.mktemp("data"))


def that_makes(images: np.ndarray, data: Dataset) -> TrainedModel:
    """A model whose prior samples are these images, over and over."""
    pixels, at = torch.from_numpy(np.array(images)).float() / 255, [0]

    def decode(z):
        index = torch.arange(at[0], at[0] + len(z)) % len(pixels)
        at[0] += len(z)
        return pixels[index]

    return TrainedModel(
        encode=lambda x: (x.flatten(1)[:, :2], x.flatten(1)[:, :2]),
        decode=decode,
        latent=2,
        data=data,
        test_images=lambda index: torch.from_numpy(data.test.images[index]).float() / 255,
        n_test=len(data.test.images),
        test_sse=np.ones(len(data.test.images)),
        beta=1.0,
        seed=0,
        protocol="clean",
        device=CPU,
    )


def test_the_distance_in_its_features_is_small_between_halves_and_grows_with_noise(digits):
    middle = len(digits.train.images) // 2
    splits = [
        dataclasses.replace(digits.train, images=digits.train.images[part], labels=digits.train.labels[part])
        for part in (slice(middle), slice(middle, None))
    ]
    halves = dataclasses.replace(digits, train=splits[0], test=splits[1], checksum="halves")
    other, random = halves.test.images, np.random.default_rng(0)
    options = FdClassifierOptions(samples=len(other))

    def distance(scale: float) -> Value:
        """To the one half, of the other with noise."""
        images = (other + scale * random.standard_normal(other.shape)).clip(0, 255).astype(np.uint8)
        (value,) = metrics.get("fd_classifier").compute(options, that_makes(images, halves))
        return value

    same, *noise = (distance(scale) for scale in (0, 40, 80, 160, 500))
    values = [value.value for value in (same, *noise)]
    assert values == sorted(values)
    assert 0 <= same.value < 0.3 * noise[1].value
    assert same.value < 0.05 * noise[-1].value
    assert all(value.standard_error > 0 for value in (same, *noise))


# What is asked, and what is missing


def test_what_was_asked_counts_as_measured_and_nothing_else_does(clean, paper):
    for run in (clean, paper):
        rows = run.rows.to_dict("records")
        for asked in run.asked:
            assert metrics.is_measured(asked, rows)
            number = "images" if asked.name == "reconstruction" else "samples"
            assert not metrics.is_measured(asked.model_copy(update={number: 77}), rows)


def test_two_settings_of_one_metric_give_rows_that_do_not_share_settings(clean):
    for name, asked in {"fid": 2, "kid": 2, "prdc": 2, "reconstruction": 3}.items():
        rows = clean.rows[clean.rows["name"] == name]
        assert len(rows) >= asked
        assert not rows.duplicated(["quantity", "reading", "settings"]).any()


@pytest.mark.parametrize("name", ["fid", "kid", "prdc", "reconstruction"])
def test_absent_weights_are_named_with_the_mend(name, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    metric = metrics.get(name)
    features = {"features": "inception"} if name in ("prdc", "reconstruction") else {}
    for protocol, which in {"clean": "clean", "paper": "legacy_pytorch"}.items():
        line = metric.missing(metric.options(**features), digits, protocol)
        file = published.target(which)
        for part in (file.name, str(file.parent), "`rdbench weights`"):
            assert part in line
        assert "\n" not in line
        file.parent.mkdir(exist_ok=True)
        file.touch()
        line = metric.missing(metric.options(**features), digits, protocol)
        assert line.startswith(f"{file} is not what was published (SHA-256 ")
        assert line.endswith("; delete it and run `rdbench weights`")
    line = metric.missing(metric.options(**features, weights=tmp_path / "mine.pt"), digits, "clean")
    assert f"{tmp_path / 'mine.pt'}, which was given as Inception's weights, is no file" in line


def test_weights_that_cannot_be_used_leave_a_row_that_says_so(clean, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"no network" * 100)
    for name, reason in {
        "absent.pt": "is no file; correct it",
        "broken.pt": "holds no Inception network",
    }.items():
        (row,) = metrics.rows([FidOptions(samples=10, weights=tmp_path / name)], clean.model)
        assert row["value"] is None
        assert reason in json.loads(row["settings"])["error"]


@pytest.mark.parametrize("options", [FdClassifierOptions(), PrdcOptions()])
def test_a_dataset_without_labels_is_a_clear_line(options, digits, tmp_path):
    metric = metrics.get(options.name)
    bare = [dataclasses.replace(split, labels=None) for split in (digits.train, digits.test)]
    unlabelled = dataclasses.replace(digits, train=bare[0], test=bare[1])
    line = "digits has no labels to train a classifier on; leave out what needs one"
    assert metric.missing(options, unlabelled, "clean") == line
    assert metric.missing(options, digits, "clean") is None
    (row,) = metrics.rows([options], that_makes(digits.train.images, unlabelled))
    assert row["value"] is None
    assert line in json.loads(row["settings"])["error"]


def test_data_that_are_no_images_are_a_clear_line(tmp_path):
    data = datasets.load(datasets.make_options("gaussian"), tmp_path)
    for name in ("fid", "kid", "fd_classifier", "prdc"):
        metric = metrics.get(name)
        line = metric.missing(metric.options(), data, "clean")
        assert line.startswith("gaussian holds float32 values, and a feature network takes uint8 images")
    line = metrics.get("reconstruction").missing(ReconstructionOptions(), data, "clean")
    assert line.startswith("gaussian holds values that are no pixels in [0, 1]")


def loaded(tmp_path: Path, asked: str, protocol: str = "clean") -> Sweep:
    (tmp_path / "sweep.yaml").write_text(SWEEP + f"protocol: {protocol}\nmetrics: {asked}\n")
    return load_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_file_names_them_and_its_weights_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = "[fid, {name: kid, samples: 100, weights: x/mine.pt}, prdc, fd_classifier]"
    sweep = loaded(tmp_path, asked, "paper")
    assert sweep.metrics == (
        FidOptions(),
        KidOptions(samples=100, weights=tmp_path / "x" / "mine.pt"),
        PrdcOptions(),
        FdClassifierOptions(),
    )
    (tmp_path / "sweep.yaml").write_text(dump_sweep(sweep))
    assert load_sweep(tmp_path / "sweep.yaml") == sweep


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("{name: prdc, weights: mine.pt}", "weights of Inception; use features: inception, or leave"),
        ("{name: reconstruction, weights: mine.pt}", "weights of Inception; use features: inception, or"),
        ("{name: prdc, samples: 5}", "5 samples have no neighbour number 5; use a smaller k, or more"),
        ("{name: fid, split: val}", "'val' is not known here"),
    ],
)
def test_what_makes_no_sense_is_refused(asked, reason, tmp_path):
    with pytest.raises(SpecError, match=reason):
        loaded(tmp_path, f"[{asked}]")


def test_what_is_missing_is_told_without_torch(tmp_path):
    datasets.load(datasets.make_options("digits"), tmp_path)  # else it is prepared there, by scikit-learn
    code = """
import sys, tempfile
from pathlib import Path
from rdbench import datasets, metrics
data = datasets.load(datasets.make_options("digits"), Path(tempfile.gettempdir()))
for name in ("fid", "kid", "fd_classifier", "prdc", "reconstruction"):
    metric = metrics.get(name)
    metric.missing(metric.options(), data, "clean")
    print(name, [module for module in ("torch", "scipy", "pandas") if module in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert len(told) == 5
    assert [line for line in told if not line.endswith(" []")] == []
