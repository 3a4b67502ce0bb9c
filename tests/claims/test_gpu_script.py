"""The script that measures a GPU runs anywhere, keeps what it has measured when killed, and needs no Ray."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rdbench.results.load import load_results
from rdbench.vae import fused

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "reports/gpu/measure.py"
# As on a machine that has torch, numpy and Pillow, and what is carried there.
ALONE = """
import runpy, sys
for name in ("ray", "pyarrow", "pandas", "scipy", "sklearn", "psutil", "typer", "rich", "altair"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# The check alone, on a pretended GPU as its processes have one too.
BREAKS_OFF = """
import json, runpy, sys
from pathlib import Path
for name in ("ray", "pyarrow", "pandas", "scipy", "sklearn", "psutil", "typer", "rich", "altair"):
    sys.modules[name] = None
measure = runpy.run_path(sys.argv[1])
bench = measure["Bench"](Path(sys.argv[2]), Path(), smoke=True, minutes=5)
print(json.dumps(measure["what_breaks_off_a_recording_trains_without"](bench)))
"""


def rows(out):
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


@pytest.fixture
def measure(monkeypatch):
    """Run the script in this process, which has imported what takes it most of its time here."""
    threads = torch.get_num_threads()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    yield run
    torch.set_num_threads(threads)


def test_all_promises_hold_without_ray_and_a_run_that_is_killed_leaves_whole_rows(tmp_path, measure):
    asked = [str(SCRIPT), "--smoke", "--out", str(tmp_path), "--stages", "correctness,dense,packs"]
    running = subprocess.Popen([sys.executable, "-c", ALONE, *asked], stdout=subprocess.DEVNULL)
    try:
        while running.poll() is None:  # until it is done with the first, and before it is with the last
            if (tmp_path / "rows.jsonl").exists() and '"dense"' in (tmp_path / "rows.jsonl").read_text():
                break
            time.sleep(0.05)
    finally:
        running.kill()
        running.wait()
    killed = rows(tmp_path)
    found = [row for row in killed if row["stage"] == "correctness"]
    assert [row for row in found if row.get("error")] == []
    assert {row["holds"] for row in found if "holds" in row} == {True}
    assert len([row for row in found if row.get("status") == "done"]) == 13
    assert killed[len(found)]["images_per_s"] > 0
    assert "end" not in [row["stage"] for row in killed]

    measure("--smoke", "--out", tmp_path, "--stages", "dense", "--minutes", "0")
    after = rows(tmp_path)[len(killed) :]
    # The next goes on below. It has no time at all: one result, and that there was none for more.
    assert [row.get("cut") for row in after] == [None, "no time for more", None]
    assert [row["stage"] for row in after] == ["dense", "dense", "end"]


def test_a_trial_whose_recording_breaks_off_goes_on_in_another_process(tmp_path):
    path = os.pathsep.join([str(ROOT / "tests/helpers/on_pretended_gpu"), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, "-c", BREAKS_OFF, str(SCRIPT), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    row = json.loads(ended.stdout.splitlines()[-1])
    first, second = row["attempts"]
    assert "CaptureFailed: its step could not be recorded" in first["retry"]
    assert second["status"] == "done"
    assert row["verdicts"] == ["CUDA error: operation not permitted when stream is capturing"]
    assert row["held_bytes"] == 0
    assert row["holds"]


def test_fused_layers_are_measured_beside_the_plain_and_are_right(tmp_path, measure):
    measure("--smoke", "--out", tmp_path, "--stages", "fused", "--minutes", "0.0001")
    checked, cut, end = rows(tmp_path)
    assert checked["holds"]
    assert 0 < checked["relative_error"] < 1e-4  # they are other layers
    assert not fused.FUSED_ON
    assert (cut["cut"], end["stage"]) == ("no time for more", "end")


def test_the_plain_loop_is_measured_without_torchvision_too(tmp_path, measure, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchvision" else find(name)
    )
    monkeypatch.setitem(sys.modules, "torchvision", None)
    measure("--smoke", "--out", tmp_path, "--stages", "plain", "--minutes", "0")
    plain, *_ = rows(tmp_path)
    assert not plain["augmented"]
    assert plain["images_per_s"] > 0


def test_what_it_trains_of_table_1_becomes_a_results_folder(tmp_path, measure):
    out, results = tmp_path / "out", tmp_path / "results"
    measure("--smoke", "--out", out, "--stages", "table1", "--minutes", "0")
    measure("--commit", out, results)
    kept = load_results(results)
    assert sorted(kept.trials["variant"].value_counts().items()) == [("beta_vae", 5), ("bs_vae", 5)]
    assert set(kept.trials["status"]) == {"done"}
    assert set(kept.trials["pack"]) == {10}
    assert len(kept.points) == 10 * 2 * 5  # two splits, five readings
    assert len(kept.history) == 10 * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--stages", "dense,speed"], "there is no speed; choose of ceilings, dense"), ([], "sees no GPU here")],
)
def test_what_it_cannot_do_is_a_line(tmp_path, measure, capsys, arguments, words):
    if torch.cuda.is_available() and not arguments:
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as ended:
        measure("--out", tmp_path, *arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
