"""What the verbs say of the data: a root that was named is the one that counts, and differences are told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdbench import datasets
from rdbench.commands.bench.estimate import images
from rdbench.commands.doctor import wanted
from rdbench.commands.preflight import data_lines
from rdbench.datasets import make_options
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.storage.paths import DataRoot
from rdbench.trial.job import Job, Outputs
from rdbench.trial.worker import work

SWEEP = """
name: faces
dataset: {name}
variants: [beta_vae]
beta: [1]
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """A cache of its own, no variable that names data, and no network."""

    def refuse(*arguments, **options):
        raise OSError("the tests use no network")

    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RDBENCH_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def faces(tmp_path):
    """A data root with four images of CelebA in a wrong size."""
    folder = tmp_path / "data" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for index in range(4):
        pixels = np.random.RandomState(index).randint(0, 256, (687, 409, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    lines = (f"{index}.jpg {partition}\n" for index, partition in enumerate("0022"))
    (folder.parent / "list_eval_partition.txt").write_text("".join(lines))
    return tmp_path / "data"


@pytest.fixture
def digits(tmp_path):
    """A data root with an MNIST of 60 + 30 images."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in (("train", 60), ("t10k", 30)):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            content = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
            content += np.zeros(shape, np.uint8).tobytes()
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(content)
    return tmp_path / "data"


def sweep_of(name):
    Path("sweep.yaml").write_text(SWEEP.replace("{name}", name))
    return "sweep.yaml"


PREPARED = (
    "  2 train images instead of the 162,770 that are published\n"
    "  2 test images instead of the 19,962 that are published\n"
    "  4 of 4 images are not 178x218 as published (most often 409x687)\n"
)


def test_prepare_and_verify_tell_what_is_not_as_published(rdbench, faces):
    code, out, _ = rdbench("data", "prepare", "celeba", "--data", faces)
    assert (code, out.endswith(PREPARED)) == (0, True)
    code, out, _ = rdbench("data", "verify", "celeba")
    assert (code, out.endswith(PREPARED)) == (0, True)


@pytest.mark.parametrize("named", ["flag", "variable"])
def test_no_verb_takes_a_prepared_copy_for_a_root_that_was_named(rdbench, faces, monkeypatch, named):
    assert rdbench("data", "prepare", "celeba", "--data", faces)[0] == 0
    assert rdbench("data", "prepare", "celeba")[0] == 0  # nobody named a root: the copy will do
    gone = Path("no such folder").absolute()
    arguments = ["--data", "no such folder"] if named == "flag" else []
    if named == "variable":
        monkeypatch.setenv("RDBENCH_DATA", str(gone))
    by = "--data" if named == "flag" else "RDBENCH_DATA"
    spec = sweep_of("celeba")
    for verb in (
        ["data", "prepare", "celeba"],
        ["sweep", spec],
        ["trial", spec],
    ):
        code, _, err = rdbench(*verb, *arguments)
        assert code == 2, verb
        assert err.startswith(f"error: celeba: {gone}/celeba/list_eval_partition.txt: No such file")
        assert f"or leave {by} out to use the copy in" in err
        assert err.count("\n") == 1
    code, out, _ = rdbench("sweep", spec, "--dry-run", *arguments)
    assert (code, f"celeba: {gone}/celeba/list_eval_partition.txt: No such file" in out) == (0, True)
    rows = {row.what: row for row in wanted.sweep(Path(spec), [], gone if arguments else None, "results/x")}
    assert rows["sweep: celeba"].state == "problem"
    assert "list_eval_partition.txt" in rows["sweep: celeba"].found


def test_doctor_says_of_a_root_that_was_named_that_it_is_not_there(tmp_path, monkeypatch):
    from rdbench.commands.doctor import folders

    assert next(folders.data(None)).state == "note"
    assert next(folders.data(tmp_path / "gone")).state == "problem"
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path / "gone"))
    row = next(folders.data(None))
    assert (row.state, "correct RDBENCH_DATA" in row.fix) == ("problem", True)


def test_doctor_prepares_nothing_though_another_copy_is_prepared(digits, tmp_path):
    datasets.prepare(make_options("mnist"), digits)
    file = digits / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    before = sorted((tmp_path / "cache").rglob("*"))
    rows = {row.what: row for row in wanted.sweep(Path(sweep_of("mnist")), [], digits, "results/x")}
    assert rows["sweep: mnist"].found == "raw data there, prepared when the sweep starts"
    assert sorted((tmp_path / "cache").rglob("*")) == before


def test_doctor_tells_what_is_not_as_published(digits):
    from rdbench.commands.doctor import folders

    datasets.prepare(make_options("mnist"), digits)
    rows = {row.what: row for row in folders.data(digits)}
    rows |= {row.what: row for row in wanted.sweep(Path(sweep_of("mnist")), [], digits, "results/x")}
    for row in (rows["data: mnist"], rows["sweep: mnist"]):
        assert row.state == "note"
        assert "60 train images instead of the 60,000 that are published" in row.found


def test_the_dry_run_tells_what_is_not_as_published_and_counts_what_is_there(rdbench, digits):
    spec = sweep_of("mnist")
    assert "published" not in rdbench("sweep", spec, "--dry-run", "--data", digits)[1]  # not known yet
    datasets.prepare(make_options("mnist"), digits)
    out = rdbench("sweep", spec, "--dry-run", "--data", digits)[1]
    assert "mnist: 60 train images instead of the 60,000 that are published\n" in out
    assert "mnist: 30 test images instead of the 10,000 that are published\n" in out
    options = make_options("mnist")
    there = images(options, DataRoot(digits, "--data"))
    assert there == (60, 30)
    assert images(options) == (60_000, 10_000)


def test_a_root_that_nobody_named_need_not_be_there_for_a_dry_run(tmp_path):
    stand_in = datasets.known(make_options("celeba"), DataRoot(tmp_path / "gone"))
    assert (len(stand_in.train.images), stand_in.notes) == (162_770, ())
    for name in ("celeba", "mnist"):
        (note,) = datasets.known(make_options(name), DataRoot(tmp_path / "gone", "--data")).notes
        assert "No such file" in note


def test_a_trial_in_the_foreground_tells_what_is_not_as_published(rdbench, digits):
    spec = sweep_of("mnist")
    small = ["--set", "train={epochs: 1, batch_size: 10}", "--set", "model={latent: 2, channels: [4]}"]
    _, out, _ = rdbench("trial", spec, "--data", digits, *small)
    assert "mnist: 60 train images instead of the 60,000 that are published\n" in out


def test_the_list_tells_the_augmentations(rdbench):
    out = rdbench("data", "list")[1]
    place = out.index("fashion_mnist")
    assert "training images: rotated within 10 degrees and cropped at random" in out[place : place + 300]


@pytest.mark.parametrize("protocol", ["clean", "paper"])
@pytest.mark.parametrize("age", ["now", "older"])
def test_samples_need_no_data_where_the_results_say_how_many_images_there_were(
    rdbench, digits, monkeypatch, protocol, age
):
    changes = [
        "train={epochs: 1, batch_size: 25}",
        "model={latent: 2, channels: [4]}",
        f"protocol={protocol}",
    ]
    kept = load_sweep(Path(sweep_of("mnist")), changes)
    root = Path("kept")
    ResultsFolder(root).save_sweep(kept)
    (trial,) = plan(kept).trials
    work([trial], Job(root, digits, outputs=Outputs(weights=True)), "cpu")
    tables = ResultsFolder(root).trial_tables(trial.id)
    row = tables["trials"][0]
    assert (row["train_images"], row["test_images"]) == (60, 30)
    assert "60 train images instead" in row["data_notes"]
    if age == "older":
        row |= {"train_images": None, "test_images": None, "data_notes": None}
        ResultsFolder(root).commit(trial.id, tables)
    digits.rename("moved")
    for folder in (Path("cache") / "datasets").glob("mnist-*/"):
        folder.rename(Path("moved") / folder.name)
    code, _, err = rdbench("sample", root, "beta_vae beta 1", "--n", 4)
    if (age, protocol) == ("older", "paper"):  # its points leave out the last partial batch
        assert (code, "No such file" in err) == (2, True)
        code, _, err = rdbench("sample", root, "beta_vae beta 1", "--n", 4, "--data", "moved")
    assert (code, err) == (0, "")
    assert Path("samples.png").read_bytes().startswith(b"\x89PNG")


def test_the_sweep_tells_the_augmentation_and_what_is_not_as_published(digits):
    data = datasets.load(make_options("mnist"), digits)
    for augment in (True, False):
        said = "".join(f"{line}\n" for line in data_lines(data, augment))
        assert ("training images are rotated within 10 degrees and cropped at random" in said) == augment
        assert "  60 train images instead of the 60,000 that are published\n" in said
