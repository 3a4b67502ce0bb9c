"""Datasets of the user's own: what their code gives, prepared, checksummed and known as ours are."""

import json

import numpy as np
import pytest
from broken_plugins import DATASETS

from rdbench import datasets
from rdbench.datasets import prepared
from rdbench.errors import DatasetError, SpecError
from rdbench.registry import running
from rdbench.report import make_report
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import Trial, changed_settings, plan
from rdbench.spec.sweep import dump_sweep, load_sweep
from rdbench.trial.job import Job
from rdbench.trial.worker import work

SPEC = """
name: test
dataset: %s
variants: [bs_vae]
beta: [1]
train: {epochs: 1, batch_size: 16}
"""
RINGS = '''
import numpy as np
from pathlib import Path

def rings(*, count: int = 60, size: int = 8):
    """Rings."""
    with (Path(__file__).parent / "calls").open("a") as file:
        file.write("x")
    random = np.random.RandomState(3)
    for number in range(count):
        yield random.randint(0, 256, (size, size)).astype(np.uint8), number % 3
'''


def sweep_of(folder, dataset):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.yaml").write_text(SPEC % dataset)
    return load_sweep(folder / "s.yaml")


def loaded(folder, source, dataset="./mine.py:mine"):
    (folder / "mine.py").write_text(source)
    return datasets.load(sweep_of(folder, dataset).dataset, folder)


def calls(folder):
    return len((folder / "calls").read_text())


def test_it_is_read_once_and_then_opened_from_the_cache(tmp_path):
    (tmp_path / "mine.py").write_text(RINGS)
    sweep = sweep_of(tmp_path, "{name: ./mine.py:rings, count: 50, test_fraction: 0.2}")
    asked = sweep.dataset
    assert (asked.name, asked.shape, asked.options) == ("rings", (1, 8, 8), {"count": 50, "size": 8})
    data = datasets.load(asked, tmp_path)
    assert (data.train.images.shape, data.test.images.shape) == ((40, 1, 8, 8), (10, 1, 8, 8))
    assert data.train.images.dtype == np.uint8
    same = sweep_of(tmp_path, "{name: ./mine.py:rings, count: 50, test_fraction: 0.2}")
    again = datasets.load(same.dataset, tmp_path)
    assert again.checksum == data.checksum
    assert calls(tmp_path) == 1
    random = np.random.RandomState(3)
    images = np.stack([random.randint(0, 256, (8, 8)).astype(np.uint8) for _ in range(50)])
    both = np.concatenate([data.train.images[:, 0], data.test.images[:, 0]])
    order = [next(i for i, image in enumerate(images) if np.array_equal(image, one)) for one in both]
    assert sorted(order) == [*range(50)]
    assert [*data.train.labels, *data.test.labels] == [index % 3 for index in order]
    assert datasets.sizes(asked) is None
    assert datasets.known(asked, tmp_path).checksum == data.checksum


def test_the_verbs_of_data_take_it_too(tmp_path, rdbench, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RINGS.replace("rings", "verbs"))
    code, out, err = rdbench("data", "prepare", "mine.py:verbs", "--set", "count=30")
    assert (code, err) == (0, "")
    assert out.startswith("mine.py:verbs: prepared in ")
    for name in ("verbs", "mine.py:verbs"):
        code, out, err = rdbench("data", "verify", name)
        assert (code, err) == (0, "")
        assert out.startswith("verbs: OK (")
    code, _, err = rdbench("data", "verify", "verb")
    assert code == 2
    assert err.startswith("error: unknown dataset 'verb'")


def test_an_edit_or_another_option_is_another_dataset_and_another_trial(tmp_path):
    (tmp_path / "mine.py").write_text(RINGS)
    first = sweep_of(tmp_path, "./mine.py:rings")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "moved.py").write_text(RINGS)
    moved = sweep_of(tmp_path / "a", "./moved.py:rings")
    other = sweep_of(tmp_path, "{name: ./mine.py:rings, size: 9}")
    (tmp_path / "mine.py").write_text(RINGS.replace("% 3", "% 4"))
    edited = sweep_of(tmp_path, "./mine.py:rings")
    ids = [plan(sweep).trials[0].id for sweep in (first, moved, other, edited)]
    assert ids[0] == ids[1]
    assert len({*ids}) == 3
    assert changed_settings(first, moved) == []
    assert [line.partition(":")[0] for line in changed_settings(first, edited)] == ["dataset.code"]
    with pytest.raises(SpecError, match="was edited since the sweep was read"):
        ResultsFolder(tmp_path / "results").save_sweep(first)


PLAIN = np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4)
FORMS = {
    "a pair of arrays": "def mine():\n    return X, Y\n",
    "a pair that stands there": "mine = (X, Y)\n",
    "tensors of floats": "import torch\nmine = (torch.tensor(X).unsqueeze(1) / 255, torch.tensor(Y))\n",
    "channels last": "def mine():\n    return X[..., None], Y.tolist() and Y.astype(float)\n",
    "one by one": "def mine():\n    yield from zip(X, Y)\n",
    "a torch Dataset": (
        "import torch\nfrom PIL import Image\nclass mine(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n        return 20\n"
        "    def __getitem__(self, i):\n        return Image.fromarray(X[i]), int(Y[i])\n"
    ),
    "a torch Dataset that is made": (
        "import torch\ndef mine():\n"
        "    return torch.utils.data.TensorDataset(torch.tensor(X)[:, None] / 255, torch.tensor(Y))\n"
    ),
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS.keys())
def test_all_forms_of_the_same_images_are_the_same_data(source, tmp_path):
    head = "import numpy as np\nX = np.arange(320, dtype=np.uint8).reshape(20, 4, 4)\nY = np.arange(20) % 3\n"
    data = loaded(tmp_path, head + source)
    expected = loaded(tmp_path, head + "def mine():\n    return X, Y\n")
    assert data.checksum == expected.checksum
    assert data.shape == (1, 4, 4)
    assert sorted(image.tobytes() for part in (data.train, data.test) for image in part.images) == sorted(
        image.tobytes() for image in PLAIN
    )
    assert (data.notes, data.train.labels.dtype) == ((), np.int64)


def test_its_own_splits_are_kept_apart(tmp_path):
    head = "import numpy as np\n"
    mapping = "mine = {'train': np.full((9, 4, 4), 9), 'test': np.full((5, 4, 4), 7)}\n"
    called = mapping.replace("mine", "both") + "def mine(split):\n    return both[split]\n"
    for source in (called, mapping):
        data = loaded(tmp_path, head + source)
        assert (len(data.train.images), len(data.test.images)) == (9, 5)
        assert ({*data.train.images.flat}, {*data.test.images.flat}) == ({9}, {7})
        assert data.train.labels is None


def test_what_rounding_changed_is_remarked(tmp_path):
    data = loaded(tmp_path, "import numpy as np\nmine = np.linspace(0, 1, 180).reshape(20, 3, 3)\n")
    assert data.notes == ("values were rounded to 256 levels",)


def test_random_numbers_are_the_same_each_time(tmp_path):
    source = "import numpy as np, random\ndef mine():\n    {}\n"
    source += "    return np.random.rand(20, 4, 4) * random.random()\n"
    one, other = loaded(tmp_path, source.format("0")), loaded(tmp_path, source.format("1"))
    assert one.checksum == other.checksum


def test_data_are_read_again_when_a_file_or_folder_changes_that_they_were_read_from(tmp_path):
    source = """
import numpy as np
from pathlib import Path

def mine():
    folder = Path(__file__).parent / "data"
    return np.concatenate([np.load(file) for file in sorted(folder.glob("*.npy"))])
"""

    def load(folder):
        return {*datasets.load(sweep_of(folder, "./mine.py:mine").dataset, folder).test.images.flat}

    for name, level in (("a", 5), ("b", 6)):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "mine.py").write_text(source)
        np.save(tmp_path / name / "data" / "1.npy", np.full((20, 4, 4), level))
    assert (load(tmp_path / "a"), load(tmp_path / "b"), load(tmp_path / "a")) == ({5}, {6}, {5})
    np.save(tmp_path / "a" / "data" / "1.npy", np.full((30, 4, 4), 8))
    assert load(tmp_path / "a") == {8}
    np.save(tmp_path / "a" / "data" / "2.npy", np.full((300, 4, 4), 9))
    assert 9 in load(tmp_path / "a")
    before = load(tmp_path / "a")
    for file in (tmp_path / "a" / "data").iterdir():
        file.unlink()
    (tmp_path / "a" / "data").rmdir()
    assert load(tmp_path / "a") == before  # what was prepared stands in for files that are gone


@pytest.mark.parametrize("mistake", DATASETS.values(), ids=DATASETS.keys())
def test_a_mistake_is_one_line_as_the_sweep_file_is_read(mistake, tmp_path):
    with pytest.raises(SpecError) as caught:
        sweep_of(tmp_path, mistake.written(tmp_path))
    mistake.is_told_by(str(caught.value), "s.yaml:3: dataset: ")


def test_wrong_options_are_named(tmp_path):
    (tmp_path / "mine.py").write_text(RINGS)
    for written, says in (
        ("cuont: 3", "dataset.cuont: unknown key; dataset rings: did you mean 'count'?"),
        ("count: many", 'dataset.count: expected a whole number, got "many"'),
        ("test_fraction: 2", "dataset.test_fraction: 2 is out of range"),
        ("train_images: 0", "dataset.train_images: 0 is out of range"),
        ("validation: published", "dataset.validation: rings has no published validation split"),
        ("augment: spin", "dataset.augment: 'spin' is not known here"),
    ):
        with pytest.raises(SpecError) as caught:
            sweep_of(tmp_path, f"{{name: ./mine.py:rings, {written}}}")
        assert says in str(caught.value)


def test_a_shape_that_is_written_spares_reading_and_is_held_to(tmp_path):
    (tmp_path / "mine.py").write_text(RINGS)
    sweep = sweep_of(tmp_path, "{name: ./mine.py:rings, count: 40, shape: [1, 9, 9]}")
    assert not (tmp_path / "calls").exists()
    assert datasets.known(sweep.dataset, tmp_path) is None
    with pytest.raises(DatasetError, match=r"1x8x8.*1x9x9|1x9x9.*1x8x8"):
        datasets.load(sweep.dataset, tmp_path)
    sweep_of(tmp_path, "{name: ./mine.py:rings, count: 40}")
    with pytest.raises(DatasetError, match="rings: images are 1x8x8, not 1x9x9; leave shape out"):
        datasets.load(sweep.dataset, tmp_path)


def test_a_worker_reads_it_from_what_it_was_shipped(tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text("LEVEL = 77\n")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom helper import LEVEL\nmine = np.full((20, 4, 4), LEVEL)\n"
    )
    sweep = sweep_of(tmp_path, "./mine.py:mine")
    from rdbench.commands.preflight import runnable

    sources = runnable(sweep)
    assert [file.name for file in sources[sweep.dataset.code]] == ["mine.py", "helper.py"]
    for name in ("mine.py", "helper.py"):
        (tmp_path / name).unlink()
    monkeypatch.setattr(prepared, "folder_of_all", lambda: tmp_path / "another machine")
    (trial,) = plan(sweep).trials
    with pytest.raises(SpecError, match="there is no file"):
        datasets.load(trial.dataset, tmp_path)
    running.ship(sources)
    assert {*datasets.load(trial.dataset, tmp_path).test.images.flat} == {77}


def test_results_are_read_trained_on_and_reported_without_the_file_or_its_copy_being_run(tmp_path):
    (tmp_path / "mine.py").write_text(RINGS)
    sweep = sweep_of(tmp_path, "{name: ./mine.py:rings, count: 70}")
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    work(list(plan(sweep).trials), Job(root, tmp_path), "cpu")
    (tmp_path / "mine.py").unlink()
    assert str(tmp_path) not in (root / "sweep.yaml").read_text()
    again = load_results(root).sweep
    assert plan(again).trials[0].id == plan(sweep).trials[0].id
    assert again.dataset.source.startswith(str(root / "plugins" / "rings-"))
    trial = Trial.from_json(load_results(root).trials["spec"].iloc[0])
    assert trial.id == plan(sweep).trials[0].id
    assert "rings" in make_report([root], tmp_path / "page.html").read_text()
    assert json.loads(trial.to_json())["dataset"]["shape"] == [1, 8, 8]
    assert calls(tmp_path) == 1
    (copy,) = root.glob("plugins/*.py")
    copy.unlink()
    assert load_results(root).sweep.dataset.shape == (1, 8, 8)
    assert "rings" in make_report([root], tmp_path / "page.html").read_text()
    assert "shape: [1, 8, 8]" in dump_sweep(sweep)


def test_the_default_model_fits_every_size():
    from rdbench.datasets.plugged import default_model
    from rdbench.spec.settings import ModelSpec

    for side in (1, 2, 3, 4, 7, 8, 9, 16, 28, 32, 64, 224):
        model = default_model((1, side, side))
        assert 2 ** len(model["channels"]) <= max(side, 1) * 2
        ModelSpec.model_validate({"name": "conv", **model} | {"channels": tuple(model["channels"])})
    assert default_model((1, 8, 8)) == datasets.get("digits").default_model(None)
    for side, halved in ((28, 3), (32, 3), (64, 4), (224, 4), (4, 1)):
        assert len(default_model((1, side, side))["channels"]) == halved
    assert default_model((3, 32, 32)) == datasets.get("cifar10").default_model(None)
