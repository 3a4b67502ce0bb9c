"""``rdbench compress`` and ``decompress``: what comes out is the network's, or nothing does."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS
from PIL import Image

from rdbench import datasets
from rdbench.commands.compress import read
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.job import Job, Outputs
from rdbench.trial.worker import work
from rdbench.vae.models import from_bytes

TRIAL = "linear_coder beta 0.1"


@pytest.fixture
def kept(tmp_path):
    """A results folder with kept networks, and a folder of 40 test images."""
    (tmp_path / "small.yaml").write_text(DIGITS)
    settings = ["variants=[linear_coder, autoencoder]", "beta=[0.1]", "seeds=2"]
    sweep, root = load_sweep(tmp_path / "small.yaml", settings), tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    for trial in plan(sweep).trials:
        work([trial], Job(root, tmp_path, outputs=Outputs(weights=True)), "cpu", lambda share: None)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(datasets.load(sweep.dataset, tmp_path).test.images[:40]):
        Image.fromarray(image[0]).save(tmp_path / "images" / f"{number:02}.png")
    return root


@pytest.fixture
def coded(rdbench, kept, tmp_path):
    code, said, err = rdbench("compress", kept, f"{TRIAL} seed 0", "images", "out.rdb")
    assert (code, err) == (0, "")
    return said


def decoded(folder):
    return {file.name: np.asarray(Image.open(file)).astype(float) for file in sorted(folder.iterdir())}


def test_what_comes_out_is_the_networks_reconstruction_of_what_went_in(rdbench, kept, coded, tmp_path):
    code, said, err = rdbench("decompress", kept, "out.rdb", "again")
    assert (code, err) == (0, "")
    assert said == "40 images by linear_coder beta 0.1 seed 0 written to again\n"
    before, after = decoded(tmp_path / "images"), decoded(tmp_path / "again")
    assert before.keys() == after.keys()
    (trial, *_) = plan(ResultsFolder(kept).sweep()).trials
    model = from_bytes(
        trial, (1, 8, 8), 256, ResultsFolder(kept).weights_file(trial.id).read_bytes(), torch.device("cpu")
    )
    images = np.stack(list(before.values()))
    with torch.no_grad():
        mean, _ = model.encode(torch.from_numpy(images[:, None]).float() / 255)
        exact = model.decode(mean)[:, 0].clamp(0, 1).numpy() * 255
    # A step of the grid is one posterior deviation, so a rounded mean is off by a fraction of it.
    off = np.abs(np.stack(list(after.values())) - exact).mean()
    assert 0.5 < off < 0.5 * np.abs(images - exact).mean()
    quality = float(re.search(r"([\d.]+) dB", coded)[1])
    mse = ((images - np.stack(list(after.values()))) ** 2).mean() / 255**2
    assert quality == pytest.approx(-10 * np.log10(mse), abs=0.01)


def test_the_line_states_the_real_length_of_the_file(coded, tmp_path):
    size = (tmp_path / "out.rdb").stat().st_size
    assert f"in {size:,} bytes: {8 * size / 40:.1f} bits an image" in coded
    latents = 32 * len(read((tmp_path / "out.rdb").read_bytes(), "f").words) / 40
    assert f"{latents:.1f} are latents" in coded


def test_smaller_steps_take_more_bits(rdbench, kept, coded, tmp_path):
    rdbench("compress", kept, f"{TRIAL} seed 0", "images", "fine.rdb", "--step", 0.1)
    words = [len(read((tmp_path / name).read_bytes(), "f").words) for name in ("out.rdb", "fine.rdb")]
    assert words[1] > words[0]


def test_another_process_decodes_the_same_bytes(rdbench, kept, coded, tmp_path):
    rdbench("decompress", kept, "out.rdb", "here")
    command = [sys.executable, "-m", "rdbench", "decompress", str(kept), "out.rdb", "there"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    here, there = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("here", "there")
    )
    assert here == there


def broken(content, how):
    if how == "cut":
        return content[: len(content) // 2]
    if how == "flipped":
        middle = len(content) - 60
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if how == "later":
        return content[:7] + b"\x09" + content[8:]
    if how == "header":
        body = content[:12] + b"nothing" + content[19:-32]
        return body + hashlib.sha256(body).digest()
    return b"\x89PNG" + content[4:] if how == "foreign" else b""


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "is cut short or damaged"),
        ("flipped", "is cut short or damaged"),
        ("later", "its format is version 9; use a later rdbench"),
        ("header", "holds a header that no rdbench wrote"),
        ("foreign", "is no file that rdbench compress wrote"),
        ("empty", "is no file that rdbench compress wrote"),
    ],
)
def test_a_file_that_is_not_whole_is_one_line_and_no_image(how, says, rdbench, kept, coded, tmp_path):
    file = tmp_path / "out.rdb"
    file.write_bytes(broken(file.read_bytes(), how))
    code, out, err = rdbench("decompress", kept, "out.rdb", "again")
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "again").exists()


def test_every_flipped_bit_is_noticed(coded, tmp_path):
    content = (tmp_path / "out.rdb").read_bytes()
    for place in range(0, len(content), 7):
        with pytest.raises(Exception, match=r"compress wrote|damaged|later rdbench"):
            read(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :], "f")


def test_another_training_of_the_same_trial_is_refused(rdbench, kept, coded, tmp_path):
    (trial, *_) = plan(ResultsFolder(kept).sweep()).trials
    file = ResultsFolder(kept).weights_file(trial.id)
    weights = bytearray(file.read_bytes())
    weights[-1] ^= 1
    file.write_bytes(bytes(weights))
    code, out, err = rdbench("decompress", kept, "out.rdb", "again")
    assert (code, out) == (2, "")
    assert "was made by another training of linear_coder beta 0.1 seed 0" in err


def test_a_machine_that_rounds_otherwise_writes_no_image(rdbench, kept, coded, tmp_path, monkeypatch):
    from rdbench.commands import compress

    pixels = compress._pixels
    monkeypatch.setattr(compress, "_pixels", lambda images: pixels(images + 1 / 255))
    code, out, err = rdbench("decompress", kept, "out.rdb", "again")
    assert (code, out) == (2, "")
    assert "decodes to other pixels here than where it was made" in err
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((TRIAL + " seed 0", "nowhere"), "nowhere: is no folder"),
        ((TRIAL + " seed 0", "large"), "large: a.png has 9x8 pixels, and the network takes 8x8"),
        ((TRIAL + " seed 0", "odd"), "odd: a.txt: not an image in a known format"),
        ((TRIAL + " seed 0", "empty"), "empty: holds no images"),
        (("autoencoder beta 0.1 seed 0", "images"), "has no Gaussian posterior"),
    ],
)
def test_what_cannot_be_coded_is_one_line(arguments, says, rdbench, kept, tmp_path):
    for name in ("large", "odd", "empty"):
        (tmp_path / name).mkdir()
    Image.new("L", (9, 8)).save(tmp_path / "large" / "a.png")
    (tmp_path / "odd" / "a.txt").write_text("a")
    trial, folder = arguments
    code, out, err = rdbench("compress", kept, trial, folder, "out.rdb")
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert not Path("out.rdb").exists()


def test_a_folder_with_files_is_left_alone(rdbench, kept, coded, tmp_path):
    code, out, err = rdbench("decompress", kept, "out.rdb", "images")
    assert (code, out) == (2, "")
    assert "images: is not empty; name a new folder" in err
