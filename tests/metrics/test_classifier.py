"""A dataset's own classifier: trained once, the same each time, and its features tell images apart."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from rdbench import datasets
from rdbench.commands.evaluate import evaluate
from rdbench.datasets import Dataset, Split
from rdbench.errors import DatasetError, ResultsError
from rdbench.metrics.fd_classifier import FdClassifierOptions
from rdbench.metrics.features import classifier as module
from rdbench.metrics.features.classifier import Classifier, classifier
from rdbench.metrics.prdc import PrdcOptions
from rdbench.metrics.reconstruction import ReconstructionOptions
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.storage import paths
from rdbench.trial.job import Job, Outputs
from rdbench.trial.worker import work

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Dataset:
    return datasets.load(datasets.make_options("digits"), tmp_path_factory.mktemp("data"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def short(monkeypatch):
    """Training of a few steps."""
    monkeypatch.setattr(module, "STEPS", 6)
    monkeypatch.setattr(module, "EPOCHS", 1)


def with_labels(data: Dataset, train, test) -> Dataset:
    changed = (dataclasses.replace(data.train, labels=train), dataclasses.replace(data.test, labels=test))
    checksum = hashlib.sha256(repr((train, test)).encode()).hexdigest()
    return dataclasses.replace(data, train=changed[0], test=changed[1], checksum=checksum)


def features_of(data: Dataset, images: np.ndarray) -> np.ndarray:
    return classifier(data, CPU).extract(torch.from_numpy(np.array(images))).numpy()


# Features


def test_it_reads_digits_and_so_do_neighbours_among_its_features(digits):
    found = classifier(digits, CPU)
    assert found.settings["test_accuracy"] > 0.97
    train, test = (features_of(digits, split.images) for split in (digits.train, digits.test))
    assert test.shape == (360, found.size)
    assert test.dtype == np.float32
    neighbours = KNeighborsClassifier().fit(train, digits.train.labels)
    assert neighbours.score(test, digits.test.labels) > 0.97


def test_noise_moves_the_features_the_farther_the_more_of_it_there_is(digits):
    noise = np.random.default_rng(0).standard_normal(digits.test.images.shape)
    clean = features_of(digits, digits.test.images)
    distances = [
        np.square(
            features_of(digits, np.clip(digits.test.images + level * noise, 0, 255).astype(np.uint8)) - clean
        )
        .sum(1)
        .mean()
        for level in (5, 20, 40, 80)
    ]
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_features_of_an_image_do_not_depend_on_the_batch(digits):
    found = classifier(digits, CPU)
    images = torch.from_numpy(np.array(digits.test.images[:20]))
    alone = torch.cat([found.extract(image[None]) for image in images])
    torch.testing.assert_close(alone, found.extract(images), rtol=1e-4, atol=1e-4)
    assert not alone.requires_grad


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 5, 33), (1, 1, 2)])
def test_it_takes_images_of_any_size(shape):
    network = Classifier(shape, 3).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 3)
    assert network.features(torch.zeros(2, *shape)).shape == (2, module.SIZE)


# Trained once, the same each time


def test_training_repeats_bit_for_bit_whatever_ran_before(digits, short, tmp_path, monkeypatch):
    found = []
    for seed in (1, 2):
        monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / str(seed)))
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        found.append(classifier(digits, CPU))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert found[0].hash == found[1].hash
    assert found[0].settings == found[1].settings


def test_it_is_trained_once_and_kept_without_pickle(digits, short, cache, monkeypatch):
    first = classifier(digits, CPU)
    monkeypatch.setattr(module, "_train", lambda *_: pytest.fail("it was trained again"))
    second = classifier(digits, CPU)
    (file,) = paths.cache_root().glob("classifiers/*.safetensors")
    assert file.name == f"{digits.checksum}-{module.RECIPE}.safetensors"
    assert (second.hash, second.settings) == (first.hash, first.settings)
    images = torch.from_numpy(np.array(digits.test.images[:9]))
    assert torch.equal(first.extract(images), second.extract(images))


@pytest.mark.parametrize("damage", ["cut", "flipped", "of other classes", "not a tensor file"])
def test_a_damaged_file_is_trained_again(damage, digits, short, cache, caplog):
    first = classifier(digits, CPU)
    (file,) = cache.glob("classifiers/*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[:-100]
    elif damage == "flipped":
        content[-100] ^= 1
    elif damage == "of other classes":
        content = module._packed(Classifier(digits.shape, 3), 1.0)
    else:
        content = b"PNG"
    file.write_bytes(content)
    again = classifier(digits, CPU)
    assert again.hash == first.hash
    assert again.settings == first.settings
    assert "training the classifier again" in caplog.text


def test_the_hash_is_of_the_weights_alone(digits, short, cache):
    first = classifier(digits, CPU)
    flipped = with_labels(digits, digits.train.labels[::-1].copy(), digits.test.labels)
    assert classifier(flipped, CPU).hash != first.hash
    network = Classifier(digits.shape, 10)
    weights = network.state_dict()
    assert module._digest(weights) == module._digest(dict(reversed(weights.items())))
    weights["classes.bias"][0] += 1
    assert module._digest(weights) != module._digest(Classifier(digits.shape, 10).state_dict())


# One in a sweep, whatever machines it runs on


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Go to another machine, which has a cache of its own and rounds otherwise."""
    initialise = module._initialise

    def go_to(number: int) -> None:
        monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / f"cache {number}"))

        def rounding(network: Classifier) -> None:
            initialise(network)
            with torch.no_grad():
                network.classes.bias += number * 1e-3

        monkeypatch.setattr(module, "_initialise", rounding)

    go_to(1)
    return go_to


def test_every_machine_takes_the_one_that_lies_with_the_results(
    digits, short, machines, tmp_path, monkeypatch
):
    images = torch.from_numpy(np.array(digits.test.images[:9]))
    folder = tmp_path / "results" / "classifier"
    first = classifier(digits, CPU, folder)
    assert first.hash == classifier(digits, CPU).hash
    machines(2)
    assert classifier(digits, CPU).hash != first.hash  # of this machine, without a sweep
    second = classifier(digits, CPU, folder)
    assert (second.hash, second.settings) == (first.hash, first.settings)
    assert torch.equal(second.extract(images), first.extract(images))
    (file,) = folder.iterdir()
    assert file.name == f"{digits.checksum}-{module.RECIPE}.safetensors"
    machines(3)
    monkeypatch.setattr(module, "_train", lambda *_: pytest.fail("it was trained again"))
    assert classifier(digits, CPU, folder).hash == first.hash


@pytest.mark.parametrize("damage", ["cut", "flipped", "no header"])
def test_a_damaged_one_is_put_back_where_it_is_the_same_and_never_replaced_by_another(
    damage, digits, short, machines, tmp_path, caplog
):
    first = classifier(digits, CPU, tmp_path / "classifier")
    (file,) = (tmp_path / "classifier").iterdir()
    whole = file.read_bytes()
    flipped = bytes([*whole[:-100], whole[-100] ^ 1, *whole[-99:]])
    damaged = {"cut": whole[:-100], "flipped": flipped, "no header": b"PNG"}[damage]
    file.write_bytes(damaged)
    machines(2)
    with pytest.raises(ResultsError) as caught:
        classifier(digits, CPU, tmp_path / "classifier")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{file}: is damaged (")
    assert "copy it back, or delete it" in str(caught.value)
    assert file.read_bytes() == damaged
    machines(1)
    if damage == "no header":  # which it was nobody knows
        with pytest.raises(ResultsError):
            classifier(digits, CPU, tmp_path / "classifier")
        return
    assert classifier(digits, CPU, tmp_path / "classifier").hash == first.hash
    assert file.read_bytes() == whole
    assert "it is put back" in caplog.text


def test_a_sweep_that_is_resumed_elsewhere_and_evaluated_later_has_one_hash(sweep, short, machines, tmp_path):
    few = FdClassifierOptions(samples=50)
    asking = sweep.model_copy(update={"metrics": (few,), "keep_weights": True})
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(asking)
    for machine, trial in enumerate(plan(asking).trials, start=1):
        machines(machine)
        work([trial], Job(root, tmp_path, outputs=Outputs((few,), weights=True)), "cpu")
    machines(3)
    more = [
        FdClassifierOptions(samples=60),
        PrdcOptions(samples=50),
        ReconstructionOptions(features="classifier"),
    ]
    assert evaluate(root, more, tmp_path, "cpu").measured == 2
    rows = load_results(root).metrics
    hashes = rows["feature_hash"].dropna()
    assert len(hashes) == 2 * (1 + 1 + 4 + 1)
    assert hashes.nunique() == 1
    assert hashes.iloc[0] != classifier(datasets.load(asking.dataset, tmp_path), CPU).hash


# Labels


def test_the_accuracy_is_that_of_the_test_labels_whatever_numbers_classes_have(digits, short, cache):
    """Even and odd digits as classes -3 and 70; a third of the test labels is of a class never seen."""
    train, test = (np.where(split.labels % 2, 70, -3) for split in (digits.train, digits.test))
    plain = classifier(with_labels(digits, train, test), CPU).settings
    assert plain["classes"] == 2
    assert plain["test_accuracy"] > 0.6
    swapped = classifier(with_labels(digits, train, 67 - test), CPU).settings
    assert swapped["test_accuracy"] == pytest.approx(1 - plain["test_accuracy"])
    never = classifier(with_labels(digits, train, np.full_like(test, 71)), CPU).settings
    assert never["test_accuracy"] == 0


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        (None, None, "digits has no labels"),
        (np.arange(1437), None, "digits has no labels"),
        (np.zeros(1437, int), np.zeros(360, int), "digits has one class only"),
    ],
)
def test_without_labels_to_learn_it_is_refused_in_one_line(train, test, reason, digits, cache):
    with pytest.raises(DatasetError, match=reason) as caught:
        classifier(with_labels(digits, train, test), CPU)
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("*.safetensors"))


def test_images_that_are_no_pixels_are_refused(digits, cache):
    images = np.zeros((4, 2, 1, 1), np.float32)
    split = Split(images, np.array([0, 1, 0, 1]))
    with pytest.raises(DatasetError, match="uint8 images, not float32"):
        classifier(dataclasses.replace(digits, train=split, test=split, shape=(2, 1, 1)), CPU)


def test_a_handful_of_images_is_enough(short, cache):
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 6, 7), dtype=np.uint8)
    split = Split(images, np.array([0, 1, 2, 0, 1]))
    data = Dataset("few", split, split, "0" * 64, "none", (3, 6, 7))
    assert classifier(data, CPU).extract(torch.from_numpy(images)).shape == (5, module.SIZE)


def test_training_that_diverges_is_an_error_and_leaves_nothing(digits, short, cache, monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATE", 1e38)
    with pytest.raises(DatasetError, match="digits did not converge"):
        classifier(digits, CPU)
    assert not list(cache.rglob("*.safetensors"))
