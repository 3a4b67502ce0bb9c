"""Datasets arrive as what they are, are prepared once, and bad ones are refused in one line."""

import gzip
import hashlib
import io
import logging
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdbench import datasets
from rdbench.datasets import digits as digits_module
from rdbench.datasets import gaussian, make_options, prepared
from rdbench.errors import DatasetError
from rdbench.storage import paths
from rdbench.storage.paths import DataRoot


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give each test a cache of its own."""
    path = tmp_path / "cache"
    monkeypatch.setenv("RDBENCH_CACHE", str(path))
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the tests use no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    yield path
    for folder in (path, *path.rglob("*/")):
        folder.chmod(0o755)  # some tests make it read-only


def load(root: Path, name: str, progress=None, **options) -> datasets.Dataset:
    return datasets.load(make_options(name, options), root, progress)


def refusal(root: Path, name: str, **options) -> str:
    """The one line with which the dataset is refused."""
    with pytest.raises(DatasetError) as error:
        load(root, name, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def save(path: Path, size=(8, 8), mode="RGB", seed=0, **options) -> np.ndarray:
    """Write a random image in the format of the suffix; returns its pixels (H, W) or (H, W, C)."""
    shape = size[::-1] if mode == "L" else (*size[::-1], len(mode))
    pixels = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def photos(root: Path, count: int = 10, **options) -> Path:
    for index in range(count):
        save(root / "photos" / f"{index:03}.png", seed=index, **options)
    return root / "photos"


# --- the registry


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'digits' is already registered"):
        datasets.register(datasets.get("digits"))


def test_a_mistyped_name_gets_the_close_ones():
    with pytest.raises(DatasetError, match="'mnst'; did you mean 'mnist'"):
        datasets.get("mnst")


def test_importing_datasets_imports_nothing_heavy():
    heavy = {"torch", "torchvision", "sklearn", "pandas", "PIL", "scipy"}
    code = f"import sys; from rdbench import datasets as d; d.names(); print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize(
    ("name", "options", "shape", "latent", "channels", "augmentation"),
    [
        ("digits", {}, (1, 8, 8), 8, [32, 64], "none"),
        ("mnist", {}, (1, 28, 28), 32, [32, 64, 128], "rotate_crop"),
        ("fashion_mnist", {}, (1, 28, 28), 32, [32, 64, 128], "rotate_crop"),
        ("cifar10", {}, (3, 32, 32), 64, [32, 64, 128], "flip"),
        ("celeba", {}, (3, 64, 64), 64, [32, 64, 128, 256], "flip"),
        ("folder", {"path": "x", "size": 64}, (3, 64, 64), 64, [32, 64, 128, 256], "none"),
        ("folder", {"path": "x", "size": 8, "channels": 1}, (1, 8, 8), 16, [32], "none"),
        (
            "folder",
            {"path": "x", "size": 256, "augment": "flip"},
            (3, 256, 256),
            64,
            [32, 64, 128, 256],
            "flip",
        ),
        ("gaussian", {}, (16, 1, 1), 12, [], "none"),
        ("gaussian", {"eigenvalues": [3, 2, 1]}, (3, 1, 1), 3, [], "none"),
    ],
)
def test_each_dataset_states_its_shape_and_defaults(name, options, shape, latent, channels, augmentation):
    info, chosen = datasets.get(name), make_options(name, options)
    model = info.default_model(chosen)
    assert info.shape(chosen) == shape
    assert (model["latent"], model["channels"]) == (latent, channels)
    assert info.augmentation(chosen) == augmentation


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digits", {"train_imgs": 3}, "train_imgs: Extra inputs"),
        ("digits", {"train_images": 0}, "train_images"),
        ("folder", {}, "path: Field required; size: Field required"),
        ("folder", {"path": "x", "size": 8, "channels": 2}, "channels"),
        ("folder", {"path": "x", "size": 8, "test_fraction": 1.0}, "test_fraction"),
        ("gaussian", {"eigenvalues": []}, "eigenvalues"),
        ("gaussian", {"eigenvalues": [1, -1]}, "eigenvalues"),
        ("gaussian", {"eigenvalues": [float("inf")]}, "eigenvalues"),
    ],
)
def test_a_wrong_option_is_named(name, options, message):
    with pytest.raises(DatasetError, match=message):
        make_options(name, options)


# --- the datasets


def test_digits_are_those_of_scikit_learn_each_once_in_a_fixed_split(root):
    from sklearn.datasets import load_digits

    digits = load(root, "digits")
    assert (len(digits.train.images), len(digits.test.images)) == (1437, 360)
    published = load_digits()
    order = np.random.RandomState(0).permutation(1797)
    for split, index in ((digits.train, order[0]), (digits.test, order[1437])):
        expected = [[int(v * 255 / 16 + 0.5) for v in row] for row in published.images[index]]
        assert split.images[0, 0].tolist() == expected
        assert split.labels[0] == published.target[index]
    everything = np.concatenate([digits.train.images, digits.test.images])
    assert everything.astype(np.int64).sum() == np.floor(published.images * 255 / 16 + 0.5).sum()
    assert digits.train.images.dtype == np.uint8
    assert digits.train.labels.dtype == np.int64


def test_digits_are_read_without_importing_scikit_learn_and_say_where_it_is_not_there(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # of which any import fails
    assert len(load(root, "digits").train.images) == 1437
    monkeypatch.setattr("rdbench.datasets.digits.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="pip install scikit-learn"):
        digits_module._read()


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">i4").tobytes()
        + array.astype(np.uint8).tobytes()
    )


def write_mnist(root: Path, name: str = "MNIST", train: int = 7, test: int = 3) -> dict[str, np.ndarray]:
    random = np.random.RandomState(1)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[prefix] = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        idx(root / name / "raw" / f"{prefix}-images-idx3-ubyte", arrays[prefix])
        idx(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    return arrays


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files_become_the_same_pixels(root, name, folder):
    raw = write_mnist(root, folder)
    data = load(root, name)
    assert np.array_equal(data.train.images[:, 0], raw["train"])
    assert np.array_equal(data.test.images[:, 0], raw["t10k"])
    assert data.train.labels.tolist() == list(range(7))


@pytest.mark.parametrize("damage", [b"", b"\0\0\x08\x03\0\0", "cut"])
def test_a_damaged_idx_file_is_refused(root, damage):
    write_mnist(root)
    path = root / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else damage)
    assert f"mnist: the raw files in {path.parent} are damaged or incomplete" in refusal(root, "mnist")


def test_labels_that_do_not_belong_to_the_images_are_refused(root):
    write_mnist(root)
    idx(root / "MNIST/raw/train-labels-idx1-ubyte", np.arange(6))
    assert "7 images but 6 labels" in refusal(root, "mnist")


def test_cifar10_batches_become_the_same_pixels(root, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.random.RandomState(0).randint(0, 256, (12, 3072)).astype(np.uint8)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    digests = []
    for index, name in enumerate(names):
        batch = {"data": rows[2 * index : 2 * index + 2], "labels": [index, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
        digests.append([name, hashlib.md5((folder / name).read_bytes()).hexdigest()])
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    assert "damaged or incomplete" in refusal(root, "cifar10")  # not the published checksums
    monkeypatch.setattr(CIFAR10, "train_list", digests[:5])
    monkeypatch.setattr(CIFAR10, "test_list", digests[5:])
    meta = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    data = load(root, "cifar10")
    assert np.array_equal(data.train.images, rows[:10].reshape(-1, 3, 32, 32))
    assert np.array_equal(data.test.images, rows[10:].reshape(-1, 3, 32, 32))
    assert data.train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_1"),
        ("celeba", "celeba/list_eval_partition.txt"),
    ],
)
def test_missing_raw_data_are_asked_for_by_name_and_a_read_only_root_is_not_written_to(root, name, file):
    root.chmod(0o555)
    message = refusal(root, name)
    assert message.startswith(f"{name}: {root / file}: No such file")
    assert "put " in message
    assert "RDBENCH_DATA" in message
    if name != "celeba":
        assert f"{root} is not writable" in message
    assert list(root.iterdir()) == []


def test_a_failed_download_says_so(root):
    assert "download failed" in refusal(root, "mnist")


def test_raw_data_are_downloaded_where_they_are_absent(root, monkeypatch):
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "download", lambda self: write_mnist(Path(self.root)))
    assert len(load(root, "mnist").train.images) == 7


def test_the_published_mnist_is_read_whole():
    root = os.environ.get("RDBENCH_DATA")
    if not root or not (Path(root) / "MNIST/raw/train-images-idx3-ubyte").exists():
        pytest.skip("needs MNIST/raw under RDBENCH_DATA")
    data = load(Path(root), "mnist")
    assert data.train.images.shape == (60000, 1, 28, 28)
    assert (
        hashlib.md5(data.train.images.tobytes()).hexdigest()
        == hashlib.md5((Path(root) / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:]).hexdigest()
    )
    assert data.train.images.mean() / 255 == pytest.approx(
        0.1307, abs=1e-4
    )  # the mean everybody normalises by
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def write_celeba(root: Path, partitions: str) -> Path:
    folder = root / "celeba"
    lines = []
    for index, partition in enumerate(partitions):
        save(folder / "img_align_celeba" / f"{index:06}.jpg", (178, 218), seed=index, quality=80)
        lines.append(f"{index:06}.jpg {partition}\n")
    (folder / "list_eval_partition.txt").write_text("".join(lines))
    return folder


def test_celeba_equals_torchvisions_crop_and_resize_and_leaves_validation_out(root):
    from torchvision.transforms import CenterCrop, Compose, Resize

    folder = write_celeba(root, "0120")
    data = load(root, "celeba")
    transform = Compose([CenterCrop(148), Resize(64)])
    for split, files in ((data.train, (0, 3)), (data.test, (2,))):
        with_torchvision = [
            np.asarray(transform(Image.open(folder / "img_align_celeba" / f"{i:06}.jpg"))) for i in files
        ]
        assert np.array_equal(split.images, np.stack(with_torchvision).transpose(0, 3, 1, 2))
        assert split.labels is None


def test_celeba_names_what_is_wrong_with_its_files(root):
    folder = write_celeba(root, "0022")
    photo = folder / "img_align_celeba" / "000001.jpg"
    photo.write_bytes(photo.read_bytes()[:2000])
    message = refusal(root, "celeba")
    assert "1 file cannot be used: 000001.jpg (damaged:" in message
    assert "extract img_align_celeba.zip again" in message
    photo.unlink()
    assert "cannot read 000001.jpg: No such file" in refusal(root, "celeba")
    (folder / "list_eval_partition.txt").write_text("000000.jpg 0\n../../secret 2\n")
    assert "list_eval_partition.txt:2: expected a file name and 0, 1 or 2" in refusal(root, "celeba")


# --- folder


def test_train_and_test_folders_become_the_splits_and_their_subfolders_the_classes(root):
    pixels = {}
    for split, kinds in (("train", "ab"), ("test", "bc")):
        for kind in kinds:
            path = root / "photos" / split / kind / "deeper" / "x.png"
            pixels[split, kind] = save(path, seed=zlib.crc32(f"{split}{kind}".encode()))
    data = load(root, "folder", path="photos", size=8)
    assert np.array_equal(data.train.images[1], pixels["train", "b"].transpose(2, 0, 1))
    assert np.array_equal(data.test.images[0], pixels["test", "b"].transpose(2, 0, 1))
    assert data.train.labels.tolist() == [0, 1]
    assert data.test.labels.tolist() == [1, 2]  # one numbering for both


def test_a_folder_without_splits_holds_out_a_seeded_fraction(root, cache):
    photos(root, 20)
    data = load(root, "folder", path="photos", size=8, test_fraction=0.25)
    assert (len(data.train.images), len(data.test.images)) == (15, 5)
    assert data.train.labels is None
    whole = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert len(whole) == 20
    again = load(root, "folder", path=str(root / "photos"), size=8, test_fraction=0.25)
    assert again.checksum == data.checksum
    assert len(list((cache / "datasets").glob("folder-*/"))) == 1


def test_images_of_another_size_are_cropped_resized_and_counted(root):
    from torchvision.transforms import CenterCrop, Resize

    photos(root, 4)
    save(root / "photos" / "wide.png", (31, 20))
    data = load(root, "folder", path="photos", size=8)
    expected = Resize(8)(CenterCrop(20)(Image.open(root / "photos" / "wide.png")))
    everything = np.concatenate([data.train.images, data.test.images])
    assert any(np.array_equal(image, np.asarray(expected).transpose(2, 0, 1)) for image in everything)
    assert data.notes == ("1 of 5 images had another size and were cropped and resized",)
    message = refusal(root, "folder", path="photos", size=8, wrong_size="refuse")
    assert "wide.png (31x20, not 8x8); set wrong_size: resize or skip" in message
    skipped = load(root, "folder", path="photos", size=8, wrong_size="skip").skipped
    assert [name.split(": ", 1)[1] for name in skipped] == ["wide.png: 31x20, not 8x8"]


def bomb(width: int = 30000, height: int = 30000) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    return buffer.getvalue()


def sixteen_bits() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "a.txt": (b"notes", "not an image"),
    "b.jpg": (jpeg()[:600], "damaged"),
    "c.png": (b"", "empty file"),
    "d.png": (bomb(), "pixels"),
    "e.png": (bomb(10000, 10000), "pixels"),  # Pillow warns only
    "f.png": (sixteen_bits(), "more than 8 bits"),
    "g.png": (jpeg()[:3], "not an image"),
    "h.png": (bomb(8, 8), "damaged"),
    "i.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "not an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_sound_image_is_refused_with_the_reason(root, name):
    photos(root, 3)
    content, reason = BAD[name]
    (root / "photos" / name).write_bytes(content)
    message = refusal(root, "folder", path="photos", size=8)
    assert f"folder: 1 file cannot be used: {name} (" in message
    assert reason in message
    assert "set on_bad: skip" in message


def test_many_bad_files_are_counted_and_the_first_few_named(root):
    photos(root, 3)
    for name, (content, _) in BAD.items():
        (root / "photos" / name).write_bytes(content)
    message = refusal(root, "folder", path="photos", size=8)
    assert f"{len(BAD)} files cannot be used" in message
    assert f"and {len(BAD) - 3} more" in message


def test_skipped_files_are_named_and_the_others_keep_pixels_labels_and_order(root):
    pixels = [save(root / "photos" / "train" / "ab"[i % 2] / f"{i}.png", seed=i) for i in range(6)]
    save(root / "photos" / "test" / "a" / "0.png")
    (root / "photos/train/a/1.txt").write_text("notes")
    (root / "photos/train/.DS_Store").write_text("a hidden file is no image and no mistake")
    data = load(root, "folder", path="photos", size=8, on_bad="skip")
    assert data.skipped == ("train: a/1.txt: not an image in a known format",)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = [pixels[i].transpose(2, 0, 1) for i in (0, 2, 4, 1, 3, 5)]
    assert np.array_equal(data.train.images, expected)


def test_grey_palette_and_transparent_images_are_converted(root):
    save(root / "photos" / "grey.png", mode="L")
    save(root / "photos" / "clear.png", mode="RGBA")
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(root / "photos" / "palette.png", transparency=bytes([0, 255]))
    assert load(root, "folder", path="photos", size=8).train.images.shape == (2, 3, 8, 8)
    assert load(root, "folder", path="photos", size=8, channels=1).train.images.shape == (2, 1, 8, 8)


def test_a_folder_that_cannot_be_split_says_why(root):
    for path in ("photos", "~nobody-of-this-name/photos"):
        assert "photos is not a folder" in refusal(root, "folder", path=path, size=8)
    (root / "photos").mkdir()
    assert "photos has no images" in refusal(root, "folder", path="photos", size=8)
    photos(root, 1)
    assert "has 1 images: at least 2" in refusal(root, "folder", path="photos", size=8)
    (root / "photos" / "test").mkdir()
    assert "has test/ but no train/" in refusal(root, "folder", path="photos", size=8)
    (root / "photos" / "train").mkdir()
    assert f"{root / 'photos' / 'train'} has no images" in refusal(root, "folder", path="photos", size=8)
    (root / "photos" / "train" / "a.txt").write_text("")
    save(root / "photos" / "test" / "a.png")
    message = refusal(root, "folder", path="photos", size=8, on_bad="skip")
    assert "no train images (1 were left out)" in message


def test_links_that_lead_nowhere_or_in_circles_are_refused(root):
    folder = photos(root, 3)
    (folder / "circle").symlink_to(folder)
    assert "circle links back" in refusal(root, "folder", path="photos", size=8)
    (folder / "circle").unlink()
    (folder / "gone.png").symlink_to(root / "nothing")
    assert "gone.png is a broken link" in refusal(root, "folder", path="photos", size=8)


def test_an_edited_folder_is_prepared_anew(root):
    folder = photos(root)
    seen = {load(root, "folder", path="photos", size=8).checksum}
    save(folder / "more.png", seed=99)
    seen.add(load(root, "folder", path="photos", size=8).checksum)
    time = (folder / "000.png").stat().st_mtime_ns
    save(folder / "000.png", seed=77)
    os.utime(folder / "000.png", ns=(time + 1, time + 1))
    seen.add(load(root, "folder", path="photos", size=8).checksum)
    (folder / "001.png").rename(folder / "zzz.png")
    seen.add(load(root, "folder", path="photos", size=8).checksum)
    assert len(seen) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are no UTF-8")
def test_any_file_name_can_be_reported(root):
    folder = photos(root, 3)
    (folder / os.fsdecode(b"\xff\n.png")).write_bytes(b"")
    message = refusal(root, "folder", path="photos", size=8)
    message.encode("utf-8")
    assert "\N{REPLACEMENT CHARACTER}" in message
    (skipped,) = load(root, "folder", path="photos", size=8, on_bad="skip").skipped
    skipped.encode("utf-8")


# --- gaussian


def test_gaussian_images_have_the_covariance_they_state(root):
    options = make_options("gaussian", {"eigenvalues": [0.5, 4, 1], "seed": 3})
    data = datasets.load(options, root)
    assert data.train.images.shape == (65536, 3, 1, 1)
    assert data.train.images.dtype == np.float32
    assert gaussian.spectrum(options).tolist() == [4, 1, 0.5]
    rotation = gaussian.rotation(3, 3)
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    for split in (data.train, data.test):
        x = split.images.reshape(-1, 3).astype(np.float64)
        # Sampling error of a covariance entry is at most 4 sqrt(2 / 65536) = 0.022.
        assert np.allclose(np.cov(x.T), rotation @ np.diag([4, 1, 0.5]) @ rotation.T, atol=0.1)
        assert np.allclose(x.mean(0), 0, atol=0.04)


def test_the_power_law_spectrum_is_scale_times_i_to_the_minus_decay():
    options = make_options("gaussian", {"eigenvalues": {"scale": 2, "decay": 0.7, "dims": 256}})
    assert gaussian.spectrum(options)[[0, 9, 255]] == pytest.approx([2, 2 * 10**-0.7, 2 * 256**-0.7])


def test_gaussian_images_depend_on_the_seed_and_splits_differ(root):
    few = {"train_images": 5000, "test_images": 10}
    first, again = load(root, "gaussian", **few), load(root, "gaussian", **few)
    more, other = (
        load(root, "gaussian", **{**few, "train_images": 6000}),
        load(root, "gaussian", seed=1, **few),
    )
    assert np.array_equal(first.train.images, again.train.images)
    assert first.checksum == again.checksum
    assert np.allclose(first.train.images, more.train.images[:5000], atol=1e-5)
    assert np.array_equal(first.test.images, more.test.images)
    assert len({first.checksum, more.checksum, other.checksum}) == 3
    assert not np.allclose(first.train.images[:10], first.test.images)
    assert not np.allclose(first.train.images, other.train.images)
    assert not first.train.images.flags.writeable


# --- subsets


def test_a_subset_is_the_same_every_time_in_order_and_part_of_the_identity(root):
    whole = load(root, "digits")
    part = load(root, "digits", train_images=100, test_images=20)
    smaller = load(root, "digits", train_images=50, test_images=20)
    chosen = np.sort(np.random.RandomState(0).permutation(1437)[:100])
    assert np.array_equal(part.train.images, whole.train.images[chosen])
    assert np.array_equal(part.train.labels, whole.train.labels[chosen])
    assert {i.tobytes() for i in smaller.train.images} <= {i.tobytes() for i in part.train.images}
    assert len({whole.checksum, part.checksum, smaller.checksum}) == 3
    assert load(root, "digits", train_images=1437).checksum == whole.checksum
    assert not part.train.images.flags.writeable


def test_a_subset_larger_than_the_split_is_refused(root):
    expected = "digits: test_images: 361 asked for, but there are 360 test images"
    assert refusal(root, "digits", test_images=361) == expected


# --- the cache


def test_a_dataset_is_prepared_once_with_progress_and_then_memory_mapped(root):
    photos(root)
    calls: list[tuple[int, int]] = []
    load(root, "folder", lambda done, total: calls.append((done, total)), path="photos", size=8)
    assert calls[-1] == (10, 10)
    calls.clear()
    data = load(root, "folder", lambda done, total: calls.append((done, total)), path="photos", size=8)
    assert calls == []
    assert isinstance(data.train.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        data.train.images[0] = 0


def test_prepared_data_outlive_their_raw_files(root):
    write_mnist(root)
    checksum = load(root, "mnist").checksum
    (root / "MNIST/raw/train-images-idx3-ubyte").unlink()
    assert load(root, "mnist").checksum == checksum
    write_mnist(root, train=8)  # another MNIST: now a missing file could stand for either
    load(root, "mnist")
    (root / "MNIST/raw/train-images-idx3-ubyte").unlink()
    assert "No such file" in refusal(root, "mnist")


@pytest.mark.parametrize("file", ["train_images.npy", "test_labels.npy", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_cache_is_noticed_and_prepared_again(root, file, how, caplog):
    write_mnist(root)
    whole = load(root, "mnist")
    expected = np.array(whole.train.images), np.array(whole.test.labels)
    (folder,) = prepared.folders("mnist")
    if how == "cut":
        (folder / file).write_bytes((folder / file).read_bytes()[:-20])
    else:
        (folder / file).unlink()
    (check,) = datasets.verify("mnist")
    assert file in check.damage[0]
    with caplog.at_level(logging.WARNING):
        again = load(root, "mnist")
    assert f"{folder} are damaged ({file}" in caplog.text
    assert np.array_equal(again.train.images, expected[0])
    assert np.array_equal(again.test.labels, expected[1])
    assert again.checksum == whole.checksum
    (check,) = datasets.verify("mnist")
    assert str(check) == f"mnist: OK ({folder})"


def test_verify_finds_a_single_changed_byte(root):
    photos(root)
    load(root, "folder", path="photos", size=8)
    (folder,) = prepared.folders("folder")
    content = bytearray((folder / "test_images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "test_images.npy").write_bytes(content)
    (check,) = datasets.verify("folder")
    assert check.damage == ("test_images.npy is not what was written (SHA-256 differs)",)
    assert str(check).endswith("delete that folder, and the next use prepares it again")


def test_what_a_killed_preparation_left_behind_does_no_harm(root, monkeypatch):
    folder = photos(root)
    interrupted = []

    def interrupt(done, total):
        interrupted.extend(prepared.folder_of_all().glob("*.partial"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(root, "folder", interrupt, path="photos", size=8)
    assert len(interrupted) == 1
    assert not interrupted[0].exists()
    interrupted[0].mkdir()  # what kill -9 leaves
    (interrupted[0] / "train_images.npy").write_bytes(b"half")
    assert prepared.folders("folder") == []
    assert len(load(root, "folder", path=str(folder), size=8).train.images) == 9
    assert not interrupted[0].exists()


def test_four_processes_at_once_prepare_once_and_agree(root, tmp_path):
    photos(root, 40)
    code = f"""
import pathlib, time
from rdbench import datasets
from rdbench.datasets import folder
go = pathlib.Path({str(tmp_path / "go")!r})
while not go.exists():
    time.sleep(0.01)
calls = []
def progress(done, total):
    calls.append(done)
    time.sleep(0.5)  # leaves the others time to come
options = datasets.make_options("folder", dict(path="photos", size=8))
data = datasets.load(options, pathlib.Path({str(root)!r}), progress)
print(data.checksum, len(data.train.images), bool(calls))
"""
    command = [sys.executable, "-W", "error", "-c", code]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [stderr for _, stderr in outputs] == [""] * 4
    words = [stdout.split() for stdout, _ in outputs]
    assert len({word[0] for word in words}) == 1
    assert {word[1] for word in words} == {"36"}
    assert sorted(word[2] for word in words) == ["False", "False", "False", "True"]


def test_a_read_only_data_root_is_left_as_it_is(root):
    write_mnist(root)
    photos(root)
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    load(root, "mnist")
    load(root, "folder", path="photos", size=8)
    assert {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))} == before


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "file" / "cache"))
    message = refusal(root, "digits")
    assert f"cannot write {tmp_path / 'file' / 'cache' / 'datasets'}/" in message
    assert "(Not a directory)" in message
    assert "RDBENCH_CACHE" in message


def test_a_full_disk_is_one_line_and_leaves_nothing_half_done(root, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rdbench.datasets.write._sync", full)
    assert "(No space left on device); set RDBENCH_CACHE" in refusal(root, "digits")
    assert prepared.folders("digits") == []
    assert list(prepared.folder_of_all().glob("*.partial")) == []


def test_the_cache_is_addressed_by_format_name_and_source(root):
    """Two layouts of one dataset never share a folder."""
    photos(root)
    for options in ({"size": 8}, {"size": 16}, {"size": 8, "channels": 1}, {"size": 8, "test_fraction": 0.3}):
        load(root, "folder", path="photos", **options)
    load(
        root, "folder", path="photos", size=8, augment="flip", train_images=3
    )  # the same arrays as the first
    assert len(prepared.folders("folder")) == 4


# --- what the command line shows


def test_status_says_what_is_there_and_what_is_prepared(root):
    write_mnist(root)
    load(root, "digits")
    found = {status.name: status for status in datasets.status(root)}
    assert list(found) == datasets.names()
    assert found["mnist"].raw is True
    assert found["mnist"].prepared == ()
    assert found["digits"].prepared == tuple(prepared.folders("digits"))
    assert found["cifar10"].raw is False
    assert "data_batch_1" in found["cifar10"].needs
    assert found["folder"].raw is None
    assert found["gaussian"].raw is True


def test_prepare_returns_the_folder_and_a_generated_dataset_has_none(root):
    assert datasets.prepare(make_options("digits"), root) == prepared.folders("digits")[0]
    assert datasets.prepare(make_options("gaussian"), root) is None
    assert datasets.verify("gaussian") == []


# --- an explicit word wins over a cache


def named(path: Path, by: str = "--data") -> DataRoot:
    return DataRoot(path, by)


@pytest.mark.parametrize("name", ["celeba", "mnist"])
@pytest.mark.parametrize("by", ["--data", "RDBENCH_DATA"])
def test_a_data_root_that_was_named_is_not_replaced_by_a_prepared_copy(root, tmp_path, name, by):
    write_celeba(root, "02")
    write_mnist(root)
    load(root, name)
    (copy,) = prepared.folders(name)
    options, gone = make_options(name), tmp_path / "no such folder"
    assert datasets.prepare(options, gone) == copy  # which nobody named
    for way in (datasets.load, datasets.prepare):
        with pytest.raises(DatasetError) as error:
            way(options, named(gone, by))
        message = str(error.value)
        assert message.startswith(f"{name}: {gone}")
        assert message.endswith(f"; or leave {by} out to use the copy in {copy}")
        assert "\n" not in message
    assert not gone.exists()  # nor is anything left of a download that failed
    gone.mkdir()  # it is there, and lacks the files
    gone.chmod(0o555)
    with pytest.raises(DatasetError, match="No such file"):
        datasets.prepare(options, named(gone, by))
    assert datasets.prepare(options, named(root, by)) == copy


def test_the_flag_and_the_variable_name_a_data_root_and_the_default_does_not(monkeypatch, tmp_path):
    monkeypatch.delenv("RDBENCH_DATA", raising=False)
    assert paths.chosen_data_root().named_by == ""
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path))
    assert paths.chosen_data_root() == named(tmp_path, "RDBENCH_DATA")
    assert paths.chosen_data_root(tmp_path / "a") == named(tmp_path / "a", "--data")


def test_what_is_known_of_a_dataset_is_known_without_preparing_it(root, cache):
    write_mnist(root)
    options = make_options("mnist")
    stand_in = datasets.known(options, root)
    assert (len(stand_in.train.images), len(stand_in.test.images)) == (60_000, 10_000)
    assert not cache.exists()
    load(root, "mnist")
    ready = datasets.known(options, named(root))
    assert (len(ready.train.images), len(ready.test.images)) == (7, 3)
    assert len(ready.notes) == 2
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        datasets.known(make_options("folder", {"path": "nowhere", "size": 8}), root)
    assert "No such file" in datasets.known(make_options("celeba"), named(root)).notes[0]


# --- names of splits


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "testing"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("train", "testing"),
        ("Training", "test"),
    ],
)
def test_near_names_of_train_and_test_are_the_splits(root, train, test):
    pixels = [save(root / "photos" / split / "a" / "x.png", seed=seed)
              for seed, split in enumerate((train, test))]  # fmt: skip
    save(root / "photos" / "other" / "y.png", seed=3)
    data = load(root, "folder", path="photos", size=8)
    assert (len(data.train.images), len(data.test.images)) == (1, 1)
    assert np.array_equal(data.train.images[0], pixels[0].transpose(2, 0, 1))
    assert np.array_equal(data.test.images[0], pixels[1].transpose(2, 0, 1))
    assert data.train.labels.tolist() == data.test.labels.tolist() == [0]


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "val"),
        ("training", "validation"),
        ("Train", "Valid"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "test1"),
        ("val",),
        ("cats", "Evaluation"),
        ("train2017", "val2017"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test", "seg_pred"),
        ("trainA", "trainB", "testA", "testB"),
        ("trainset", "Training", "testset"),
    ],
)
def test_other_names_of_splits_are_refused_and_not_pooled(root, folders):
    for seed, folder in enumerate(folders):
        for index in range(3):
            save(root / "photos" / folder / f"{index}.png", seed=10 * seed + index)
    message = refusal(root, "folder", path="photos", size=8)
    assert "as splits are called: name the one to train on train/" in message
    assert all(folder in message for folder in folders if folder not in ("cats", "seg_pred"))


@pytest.mark.parametrize("place", ["inner", "cats"])
def test_splits_deeper_in_a_folder_are_refused_and_not_pooled(root, place):
    for split in ("Train", "test"):
        save(root / "photos" / place / split / "x.png")
    save(root / "photos" / "dogs" / "x.png")
    message = refusal(root, "folder", path="photos", size=8)
    assert (
        f"{root / 'photos' / place} has Train/ and test/, as splits are called: point 'path' at it" in message
    )


def test_classes_that_only_resemble_splits_stay_classes(root):
    names = ["bullet_train", "devices", "testimony", "test_tube", "trainers", "valley"]
    for seed, name in enumerate(names):
        for index in range(2):
            save(root / "photos" / name / f"{index}.png", seed=10 * seed + index)
    data = load(root, "folder", path="photos", size=8, test_fraction=0.25)
    assert set(data.train.labels) | set(data.test.labels) == set(range(6))


# --- stray files


@pytest.mark.parametrize(
    "stray", ["Thumbs.db", "desktop.ini", "README.txt", "train/Thumbs.db", "test/notes.md"]
)
@pytest.mark.parametrize("split", [True, False])
def test_a_stray_file_takes_no_labels_away(root, stray, split):
    for seed in range(8):
        place = ("train/" if seed < 6 else "test/") if split else ""
        save(root / "photos" / f"{place}{'ab'[seed % 2]}" / f"{seed}.png", seed=seed)
    whole = load(root, "folder", path="photos", size=8, on_bad="skip")
    (root / "photos" / stray).parent.mkdir(exist_ok=True)
    (root / "photos" / stray).write_bytes(b"no image")
    if not split and "/" in stray:
        return
    data = load(root, "folder", path="photos", size=8, on_bad="skip")
    if split:
        assert data.train.labels.tolist() == whole.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert data.test.labels.tolist() == [0, 1]
        assert data.checksum == whole.checksum
    assert data.train.labels is not None
    assert set(data.train.labels) | set(data.test.labels) == {0, 1}


def test_an_image_in_no_class_takes_the_labels_of_both_splits(root):
    save(root / "photos" / "train" / "a" / "0.png")
    save(root / "photos" / "train" / "1.png", seed=1)
    save(root / "photos" / "test" / "a" / "2.png", seed=2)
    data = load(root, "folder", path="photos", size=8)
    assert (data.train.labels, data.test.labels) == (None, None)
    save(root / "photos" / "train" / "1.png", (9, 9), seed=1)
    data = load(root, "folder", path="photos", size=8, wrong_size="skip")
    assert data.train.labels.tolist() == [0]  # it is left out, so it does not count


def test_labels_that_a_stray_file_took_away_come_back(root, monkeypatch):
    """What an older rdbench prepared without labels is not taken for what is prepared now."""
    photos(root, 4)
    plain = datasets.get("folder").source(make_options("folder", {"path": "photos", "size": 8}), root)
    assert "labels" not in plain.identity  # such folders keep their prepared arrays
    save(root / "photos" / "a" / "x.png")
    mixed = datasets.get("folder").source(make_options("folder", {"path": "photos", "size": 8}), root)
    assert mixed.identity["labels"] == 2


# --- packed files


def pack_files(folder: Path, names=None) -> None:
    for path in list(folder.iterdir()):
        if names is None or path.name in names:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize("files", [None, ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]])
def test_packed_idx_files_are_read_offline_and_the_root_is_not_written_to(root, cache, name, folder, files):
    raw = write_mnist(root, folder)
    pack_files(root / folder / "raw", files)
    for path in (root, *root.rglob("*/")):
        path.chmod(0o555)
    before = sorted(root.rglob("*"))
    data = load(root, name)
    assert np.array_equal(data.train.images[:, 0], raw["train"])
    assert np.array_equal(data.test.images[:, 0], raw["t10k"])
    assert data.train.labels.tolist() == list(range(7))
    assert sorted(root.rglob("*")) == before
    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".npy", ".json", ".lock"}


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_packed_file_is_refused(root, damage):
    write_mnist(root)
    pack_files(root / "MNIST/raw")
    path = root / "MNIST/raw/train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"<html>not found</html>")
    assert f"mnist: the raw files in {path.parent} are damaged or incomplete" in refusal(root, "mnist")


def test_what_is_missing_may_be_put_there_packed(root):
    assert "(or each as .gz)" in refusal(root, "mnist")
    write_mnist(root)
    pack_files(root / "MNIST/raw")
    first = load(root, "mnist").checksum
    (root / "MNIST/raw/t10k-images-idx3-ubyte.gz").write_bytes(b"")
    assert "damaged" in refusal(root, "mnist")  # a changed file is not the one that was prepared
    write_mnist(root)
    assert load(root, "mnist").checksum == first


# --- modes of images


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_of_eight_bits_is_converted(root, mode, channels):
    (root / "photos").mkdir()
    for index in range(2):
        Image.new(mode, (8, 8), 1).save(root / "photos" / f"{index}.tiff")
    data = load(root, "folder", path="photos", size=8, channels=channels)
    assert data.train.images.shape == (1, channels, 8, 8)


def test_a_mid_grey_of_lab_is_mid_grey(root):
    (root / "photos").mkdir()
    for index in range(2):
        Image.new("LAB", (8, 8), (137, 128, 128)).save(root / "photos" / f"{index}.tiff")
    for channels in (1, 3):
        pixels = load(root, "folder", path="photos", size=8, channels=channels).train.images
        assert np.abs(pixels.astype(int) - 128).max() <= 2  # L* = 53.6 is 50 % grey in sRGB


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B"])
def test_a_mode_of_more_bits_is_named(root, mode):
    photos(root, 3)
    Image.new(mode, (8, 8)).save(root / "photos" / "deep.tiff")
    assert f"deep.tiff (more than 8 bits a value (mode {mode}))" in refusal(
        root, "folder", path="photos", size=8
    )


def test_a_mode_that_cannot_be_converted_is_named_and_not_called_damaged(root, monkeypatch):
    photos(root, 3)
    Image.new("LAB", (8, 8)).save(root / "photos" / "lab.tiff")
    convert = Image.Image.convert

    def without_colour_management(self, mode, *arguments, **options):
        if self.mode == "LAB":
            raise ImportError("no ImageCms")
        return convert(self, mode, *arguments, **options)

    monkeypatch.setattr(Image.Image, "convert", without_colour_management)
    message = refusal(root, "folder", path="photos", size=8)
    assert "lab.tiff (mode LAB cannot be converted to RGB)" in message


# --- what is published


def test_a_dataset_that_is_not_the_published_one_says_so(root):
    write_mnist(root, train=60, test=30)
    data = load(root, "mnist", train_images=10)
    assert data.notes == (
        "60 train images instead of the 60,000 that are published",
        "30 test images instead of the 10,000 that are published",
    )
    (folder,) = prepared.folders("mnist")
    assert datasets.remarks("mnist", folder) == data.notes
    assert load(root, "digits").notes == ()
    assert load(root, "digits", train_images=5).notes == ()


def test_images_of_celeba_that_are_not_the_aligned_ones_are_told(root):
    folder = write_celeba(root, "0022")
    assert load(root, "celeba").notes == (
        "2 train images instead of the 162,770 that are published",
        "2 test images instead of the 19,962 that are published",
    )
    for index in (0, 2, 3):
        save(folder / "img_align_celeba" / f"{index:06}.jpg", (409, 687 if index else 700), seed=index)
    (folder / "list_eval_partition.txt").touch()
    os.utime(folder / "list_eval_partition.txt", ns=(1, 1))
    assert load(root, "celeba").notes[2:] == (
        "3 of 4 images are not 178x218 as published (most often 409x687)",
    )


def test_the_augmentation_of_each_dataset_is_told(root):
    told = {status.name: status.augmentation for status in datasets.status(root)}
    assert told["mnist"] == told["fashion_mnist"] == "rotated within 10 degrees and cropped at random"
    assert told["celeba"] == told["cifar10"] == "flipped at random"
    assert told["digits"] == told["gaussian"] == "not augmented"
    assert told["folder"] == "depends on options"
