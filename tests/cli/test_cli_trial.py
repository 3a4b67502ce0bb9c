"""``rdbench trial`` and ``rdbench sample``: a trial in the foreground, and pictures of one that was kept."""

import re

import pytest
import torch
from conftest import DIGITS
from PIL import Image
from typer.testing import CliRunner

from rdbench import datasets
from rdbench.cli import app
from rdbench.results.readings import likelihood_rows
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.job import Job, Outputs
from rdbench.trial.run import run_trial
from rdbench.trial.worker import work

BROKEN = """
import rdbench

@rdbench.variant("broken")
def broken(sse, rate, beta, n):
    raise ZeroDivisionError("in the author's code")
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """A small sweep file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(DIGITS)
    return tmp_path / "small.yaml"


def test_a_trial_in_the_foreground_measures_what_the_sweep_would(rdbench, spec):
    (trial,) = plan(load_sweep(spec, ["variants=[bs_vae]", "beta=[3]", "seeds=[7]"])).trials
    tables = run_trial(trial, datasets.load(trial.dataset, spec), torch.device("cpu"))
    points = [*tables["points"], *likelihood_rows(tables["points"])]
    rows = {row["reading"]: row for row in points if row["split"] == "test"}
    code, out, err = rdbench("trial", spec, "--variant", "bs_vae", "--beta", "3", "--seed", "7")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "bs_vae beta 3 seed 7"
    assert [line.partition(":")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    rate, mse = rows["optimal"]["rate"], rows["optimal"]["mse"]
    assert f"test at beta 3: rate {rate:.6g} nats, mse {mse:.6g}" in lines
    assert [line for line in lines if line.startswith("  ")] == [
        f"  {name}: ELBO {row['elbo']:.6g}, distortion {row['distortion']:.6g}" for name, row in rows.items()
    ]
    assert lines[-1].endswith("nothing was stored")
    assert sorted(path.name for path in spec.parent.iterdir()) == ["small.yaml"]


def test_without_options_it_is_the_files_first_trial_with_its_metrics(rdbench, spec):
    code, out, _ = rdbench("trial", spec, "--set", "metrics=[latents]")
    assert code == 0
    assert out.startswith("beta_vae beta 1 seed 0, the first of 2 trials of test\n")
    assert re.search(r"^latents active_units: [0-4]$", out, re.MULTILINE)


def test_what_a_variant_raises_comes_with_its_stack(rdbench, spec):
    (spec.parent / "mine.py").write_text(BROKEN)
    with pytest.raises(ZeroDivisionError, match="in the author's code") as raised:
        rdbench("trial", spec, "--variant", "mine.py:broken")
    assert raised.traceback[-1].path.name == "mine.py"


def test_a_trial_that_diverges_says_so(rdbench, spec):
    broken = BROKEN.replace('raise ZeroDivisionError("in the author\'s code")', "return sse * float('nan')")
    (spec.parent / "mine.py").write_text(broken)
    code, out, _ = rdbench("trial", spec, "--variant", "mine.py:broken")
    assert code == 1
    assert out.splitlines()[-1].startswith("diverged: ")


@pytest.fixture
def kept(spec):
    """A results folder with one network kept and one not."""
    sweep = load_sweep(spec)
    root = spec.parent / "results"
    ResultsFolder(root).save_sweep(sweep)
    for trial, keep in zip(plan(sweep).trials, (True, False), strict=True):
        job = Job(root, spec.parent, outputs=Outputs(weights=keep))
        (ended,) = work([trial], job, "cpu", lambda share: None)
        assert ended["status"] == "done"
    return root


def test_samples_are_drawn_from_a_kept_network(rdbench, kept, tmp_path):
    first = plan(load_sweep(tmp_path / "small.yaml")).trials[0].id
    grids = []
    (tmp_path / "pictures").mkdir()
    for wanted, seed in ((first[:6], 0), ("beta_vae beta 1", 0), ("beta_vae beta 1 seed 0", 1)):
        out = tmp_path / "pictures" / f"{len(grids)}.png"
        code, said, err = rdbench("sample", kept, wanted, "--n", 6, "--out", out, "--seed", seed)
        assert (code, err) == (0, "")
        assert said == f"6 samples of beta_vae beta 1 seed 0 written to {out}\n"
        grids.append(Image.open(out))
    # Rows of two, each image of 8x8 with a line around it.
    assert grids[0].size == (2 * 9 + 1, 3 * 9 + 1)
    assert grids[0].tobytes() == grids[1].tobytes()
    assert grids[0].tobytes() != grids[2].tobytes()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (
            "bs_vae beta 1",
            "the network of bs_vae beta 1 seed 0 was not kept; sweep again with --set keep_weights",
        ),
        ("bs_vae beta 2", "no finished trial is 'bs_vae beta 2'; name one of: "),
        ("", "2 trials are ''; name one of: "),
    ],
)
def test_a_trial_that_cannot_be_sampled_is_one_line(rdbench, kept, wanted, says):
    code, out, err = rdbench("sample", kept, wanted)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_picture_that_cannot_be_written_is_one_line(rdbench, kept, tmp_path):
    (tmp_path / "file").touch()
    code, out, err = rdbench("sample", kept, "beta_vae beta 1", "--out", tmp_path / "file" / "grid.png")
    assert (code, out) == (5, "")
    assert "grid.png: cannot be written" in err
    assert len(err.splitlines()) == 1


def test_samples_go_where_a_link_leads_or_to_standard_output(rdbench, kept, tmp_path, monkeypatch):
    (tmp_path / "grid.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("grid.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, said, _ = rdbench("sample", kept, "beta_vae beta 1", "--out=~/link.png")
    assert (code, said) == (0, "64 samples of beta_vae beta 1 seed 0 written to ~/link.png\n")
    assert (tmp_path / "link.png").is_symlink()
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (73, 73)

    printed = CliRunner().invoke(app.app, ["sample", str(kept), "beta_vae beta 1", "--out", "-"])
    assert printed.stdout_bytes == (tmp_path / "grid.png").read_bytes()
    assert printed.stderr == "64 samples of beta_vae beta 1 seed 0 written to -\n"

    code, _, err = rdbench("sample", kept, "beta_vae beta 1", "--out", tmp_path / "typo" / "grid.png")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"there is no folder {tmp_path / 'typo'}" in err


@pytest.mark.parametrize(
    ("option", "value", "key"), [("--beta", "0.0", "beta[0]"), ("--seed", "-1", "seeds[0]")]
)
def test_a_mistake_in_an_option_names_that_option(rdbench, spec, option, value, key):
    code, _, err = rdbench("trial", spec, option, value)
    assert code == 2
    assert err.startswith(f"error: {option} {value}: {key}: {value} is out of range; use at least ")


def test_an_option_wins_over_every_override(rdbench, spec):
    code, out, _ = rdbench("trial", spec, "--set", "seeds=[1]", "--set", "seeds=[2]", "--seed", 1)
    assert code == 0
    assert "seed 1" in out


def test_a_folder_without_results_is_one_line(rdbench, tmp_path):
    code, _, err = rdbench("sample", tmp_path, "bs_vae beta 1")
    assert (code, err) == (
        2,
        f"error: {tmp_path}: not a results folder (no sweep.yaml in it); give the folder that 'rdbench sweep'"
        " wrote, results/<name>\n",
    )
