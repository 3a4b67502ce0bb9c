"""rdbench from Python: a sweep, its results, its networks, its page."""

import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

import rdbench
from rdbench.errors import ResultsError, SpecError
from rdbench.spec.sweep import dump_sweep

SETTINGS = {
    "name": "mine",
    "dataset": {"name": "digits", "train_images": 256},
    "variants": ["bs_vae"],
    "beta": [1],
    "train": {"epochs": 1, "batch_size": 64},
    "model": {"latent": 2, "channels": [2]},
}


def test_the_public_names_are_listed_and_each_can_be_had():
    assert set(rdbench.__all__) <= set(dir(rdbench))
    assert all(getattr(rdbench, name) for name in rdbench.__all__)
    assert all(line.find("cli/") < 0 for line in rdbench.__doc__.splitlines())


def test_importing_rdbench_takes_under_a_tenth_of_a_second():
    code = "import time; t = time.perf_counter(); import rdbench; print(time.perf_counter() - t)"
    times = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3)]
    assert min(times) < 0.1


def test_a_sweep_from_keywords_is_that_of_the_file(sweep, sweep_file):
    assert rdbench.load_sweep(str(sweep_file)) == rdbench.load_sweep(sweep_file) == sweep
    short = rdbench.Sweep(name="x", dataset="digits", variants=["bs_vae"], beta=[10, 1], seeds=2)
    assert (short.beta, short.seeds) == ((1, 10), (0, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"variants": ["bs_va"]}, "rdbench.Sweep: variants[0]"),
        ({"betas": [1]}, "rdbench.Sweep: betas: unknown key"),
        ({"train": {"epoch": 1}}, "rdbench.Sweep: train.epoch: unknown key"),
    ],
)
def test_a_wrong_setting_is_one_line(change, says):
    with pytest.raises(SpecError) as raised:
        rdbench.Sweep(**SETTINGS | change)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_metric_that_breaks_is_told_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def broken(images):\n    return 1 / 0\n\n\ndef bright(images):\n    return images.mean()\n"
    )
    metrics = ["mine.py:broken", "mine.py:bright"]
    results = rdbench.run(rdbench.Sweep(**SETTINGS, metrics=metrics), scheduler="serial")
    values = results.metrics.set_index("name")["value"]
    assert pd.isna(values["broken"])
    assert 0 < values["bright"] < 1
    said = capsys.readouterr().out
    assert "broken" in said
    assert "mine.py:2: ZeroDivisionError" in said


SCRIPT = """
import rdbench
results = rdbench.run(rdbench.Sweep(**{settings!r}), {root!r}, keep_weights=True)
rdbench.write_report(results, {page!r})
"""


def test_a_plain_script_trains_keeps_networks_and_writes_the_page(tmp_path):
    root, page = tmp_path / "results", tmp_path / "page.html"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(settings=SETTINGS, root=str(root), page=str(page)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "<html" in page.read_text()[:200]
    results = rdbench.load_results(str(root))
    model = rdbench.load_model(results, "bs_vae beta 1", device="cpu")
    assert not model.training
    (image,) = results.images.query("kind == 'original'").head(1)["png"]
    assert image.startswith(b"\x89PNG")
    mean, log_var = model.encode(torch.zeros(3, 1, 8, 8))
    assert mean.shape == log_var.shape == (3, 2)
    assert model(torch.zeros(3, 1, 8, 8), torch.zeros(3, 2)).reconstruction.shape == (3, 1, 8, 8)


def test_run_restores_torch_and_trains_nothing_twice(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(dump_sweep(rdbench.Sweep(**SETTINGS)))
    before = torch.get_num_threads()
    first = rdbench.run(str(file), tmp_path / "one", scheduler="serial")
    assert torch.get_num_threads() == before
    start = time.monotonic()
    again = rdbench.run(file, tmp_path / "one", beta=[1])
    assert time.monotonic() - start < 5
    pd.testing.assert_frame_equal(first.points, again.points)
    more = rdbench.run(rdbench.Sweep(**SETTINGS), tmp_path / "one", seeds=2)
    assert set(more.points["seed"]) == {0, 1}


def test_a_network_that_was_not_kept_is_one_line(tmp_path):
    rdbench.run(rdbench.Sweep(**SETTINGS), tmp_path / "one")
    with pytest.raises(ResultsError, match=r"was not kept; sweep again with --set keep_weights=true"):
        rdbench.load_model(tmp_path / "one", "bs_vae beta 1")


def test_each_epoch_is_told_as_it_ends_and_is_the_history(tmp_path):
    told = []
    results = rdbench.run(
        rdbench.Sweep(**SETTINGS | {"beta": [0.1, 1]}),
        tmp_path / "one",
        train={"epochs": 3},
        on_epoch=lambda trial, epoch: told.append((trial.id, epoch.epoch, epoch.loss)),
    )
    history = results.history[["trial", "epoch", "loss"]]
    assert told == list(history.set_index("trial").loc[list(dict.fromkeys(t for t, *_ in told))].itertuples())


def test_what_a_callback_raises_stops_the_run_and_the_next_goes_on_from_there(tmp_path, monkeypatch):
    monkeypatch.setattr("rdbench.trial.worker.STOP_LOOK_SECONDS", 0)
    sweep = rdbench.Sweep(**SETTINGS | {"train": {"epochs": 6, "batch_size": 64}})
    whole = rdbench.run(sweep, tmp_path / "whole")

    def on_epoch(trial, epoch):
        if epoch.epoch == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        rdbench.run(sweep, tmp_path / "one", on_epoch=on_epoch)
    told = []
    again = rdbench.run(sweep, tmp_path / "one", on_epoch=lambda trial, epoch: told.append(epoch.epoch))
    assert told[0] > 2
    assert told[-1] == 6
    pd.testing.assert_frame_equal(whole.points, again.points)
    assert set(again.trials["status"]) == {"done"}


def test_a_callback_with_ray_is_refused_in_one_line(tmp_path):
    with pytest.raises(SpecError, match=r"on_epoch is called in this process.*scheduler='serial'"):
        rdbench.run(rdbench.Sweep(**SETTINGS), tmp_path, scheduler="ray", on_epoch=print)
