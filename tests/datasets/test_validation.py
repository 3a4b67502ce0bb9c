"""Validation images are held out of the training images by a seed, and the test images never change."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from rdbench import datasets
from rdbench.datasets import make_options
from rdbench.errors import DatasetError, SpecError
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep, load_sweep


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))


def load(root, name="digits", **options):
    return datasets.load(make_options(name, options), root)


def as_bytes(images):
    return [image.tobytes() for image in images]


def test_the_held_out_images_are_training_images_each_on_one_side_in_their_order(tmp_path):
    whole, split = load(tmp_path), load(tmp_path, validation=200)
    chosen = np.sort(np.random.RandomState(1).permutation(1437)[:200])
    assert np.array_equal(split.validation.images, whole.train.images[chosen])
    assert np.array_equal(split.validation.labels, whole.train.labels[chosen])
    rest = np.setdiff1d(np.arange(1437), chosen)
    assert np.array_equal(split.train.images, whole.train.images[rest])
    assert np.array_equal(split.train.labels, whole.train.labels[rest])
    assert np.array_equal(split.test.images, whole.test.images)
    assert split.splits == ("train", "validation", "test")
    assert not split.train.images.flags.writeable
    assert not split.validation.images.flags.writeable


def test_a_share_is_of_the_training_images_that_are_used_and_fewer_are_among_more(tmp_path):
    tenth, fifth = (load(tmp_path, train_images=1000, validation=share) for share in (0.1, 0.2))
    assert (len(tenth.train.images), len(tenth.validation.images)) == (900, 100)
    assert (len(fifth.train.images), len(fifth.validation.images)) == (800, 200)
    assert set(as_bytes(tenth.validation.images)) <= set(as_bytes(fifth.validation.images))


def test_a_made_source_is_split_too(tmp_path):
    data = load(tmp_path, "gaussian", train_images=100, test_images=10, validation=30)
    assert (len(data.train.images), len(data.validation.images)) == (70, 30)


def test_what_is_trained_on_is_part_of_the_checksum(tmp_path):
    checksums = {
        load(tmp_path, **options).checksum for options in ({}, {"validation": 10}, {"validation": 20})
    }
    assert len(checksums) == 3


def test_without_validation_ids_and_checksums_are_those_of_before(tmp_path):
    sweep = {"name": "try", "dataset": "mnist", "variants": ["bs_vae"], "beta": [1]}
    (trial,) = plan(Sweep.model_validate(sweep)).trials
    assert "validation" not in trial.to_json()
    assert (
        trial.id
        == plan(Sweep.model_validate(sweep | {"dataset": {"name": "mnist", "validation": None}})).trials[0].id
    )
    (other,) = plan(Sweep.model_validate(sweep | {"dataset": {"name": "mnist", "validation": 5000}})).trials
    assert other.id != trial.id
    assert load(tmp_path).splits == ("train", "test")


@pytest.mark.parametrize("asked", [0, -3, 1.0, 1.5, 0.0, True, "5000", "all", [10]])
def test_what_is_neither_a_number_a_share_nor_published_is_refused(asked):
    with pytest.raises(
        (DatasetError, ValidationError), match="write a number of training images to hold out"
    ):
        make_options("digits", {"validation": asked})


@pytest.mark.parametrize("asked", [1437, 2000, 1e-6])
def test_a_side_without_images_is_refused_before_anything_is_read(tmp_path, asked):
    for look in (load, lambda root, **options: datasets.known(make_options("digits", options), root)):
        with pytest.raises(DatasetError, match="of 1,437 training images leaves none on one side"):
            look(tmp_path, validation=asked)


def test_the_sizes_are_known_before_the_data_are_read(tmp_path):
    assert datasets.sizes(make_options("mnist", {"validation": 0.1})) == (54_000, 10_000, 6_000)
    assert datasets.sizes(make_options("celeba", {"validation": "published"})) == (162_770, 19_962, 19_867)
    stand_in = datasets.known(make_options("mnist", {"validation": 5000}), tmp_path)
    assert [len(getattr(stand_in, split).images) for split in stand_in.splits] == [55_000, 5_000, 10_000]


def test_only_a_dataset_that_is_published_with_one_has_a_validation_split_by_name(tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(
        "name: try\ndataset: {name: mnist, validation: published}\nvariants: [bs_vae]\nbeta: [1]\n"
    )
    with pytest.raises(SpecError) as refused:
        load_sweep(sweep)
    assert "sweep.yaml:2: dataset.validation: mnist has no published validation split; hold out" in str(
        refused.value
    )


def test_celebas_own_split_is_partition_1_and_leaves_training_and_test_images_alone(tmp_path):
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for index in range(5):
        pixels = np.random.RandomState(index).randint(0, 256, (218, 178, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "img_align_celeba" / f"{index}.jpg")
    (folder / "list_eval_partition.txt").write_text("0.jpg 0\n1.jpg 1\n2.jpg 2\n3.jpg 1\n4.jpg 0\n")
    without, published = load(tmp_path, "celeba"), load(tmp_path, "celeba", validation="published")
    assert [len(getattr(published, split).images) for split in published.splits] == [2, 2, 1]
    assert np.array_equal(without.train.images, published.train.images)
    assert np.array_equal(without.test.images, published.test.images)
    everything = {*as_bytes(published.train.images), *as_bytes(published.test.images)}
    assert everything.isdisjoint(as_bytes(published.validation.images))
    # Once the files are gone, each is found again among what was prepared.
    (folder / "list_eval_partition.txt").unlink()
    assert load(tmp_path, "celeba", validation="published").checksum == published.checksum
    assert load(tmp_path, "celeba").checksum == without.checksum
    assert all(check.damage == () for check in datasets.verify("celeba"))
