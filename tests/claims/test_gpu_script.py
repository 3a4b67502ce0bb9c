"""The script that measures a GPU runs anywhere, keeps what it has measured when killed, and needs no Ray."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rdbench.results.load import load_results

SCRIPT = Path(__file__).parents[2] / "reports/gpu/measure.py"
# As on a machine that has torch, numpy and Pillow, and what is carried there.
ALONE = """
import runpy, sys
for name in ("ray", "pyarrow", "pandas", "scipy", "sklearn", "psutil", "typer", "rich", "altair"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(out, stages, *options):
    asked = ["--smoke", "--out", str(out), "--stages", stages, *options]
    return [sys.executable, "-c", ALONE, str(SCRIPT), *asked]


def rows(out):
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def test_every_promise_holds_here_and_every_variant_trains(tmp_path):
    subprocess.run(command(tmp_path, "correctness"), check=True, capture_output=True, timeout=280)
    *found, end = rows(tmp_path)
    assert end["stage"] == "end"
    assert [row for row in found if row.get("error")] == []
    assert {row["holds"] for row in found if "holds" in row} == {True}
    assert len([row for row in found if row.get("status") == "done"]) == 13


def test_a_run_that_is_killed_leaves_whole_rows_and_the_next_goes_on_below_them(tmp_path):
    running = subprocess.Popen(command(tmp_path, "dense,packs"), stdout=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if (tmp_path / "rows.jsonl").exists() and len(rows(tmp_path)) > 1:
                break
            time.sleep(0.1)
    finally:
        running.kill()
        running.wait()
    killed = rows(tmp_path)
    assert killed[0]["images_per_s"] > 0
    subprocess.run(command(tmp_path, "dense", "--minutes", "0"), check=True, capture_output=True, timeout=200)
    after = rows(tmp_path)[len(killed) :]
    # It has no time at all: one result, and that there was none for more.
    assert [row.get("cut") for row in after] == [None, "no time for more", None]
    assert [row["stage"] for row in after] == ["dense", "dense", "end"]


def test_what_it_trains_of_table_1_becomes_a_results_folder(tmp_path):
    out, results = tmp_path / "out", tmp_path / "results"
    subprocess.run(command(out, "table1", "--minutes", "0"), check=True, capture_output=True, timeout=200)
    subprocess.run([sys.executable, SCRIPT, "--commit", out, results], check=True, timeout=200)
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
def test_what_it_cannot_do_is_a_line(tmp_path, arguments, words):
    import torch

    if torch.cuda.is_available() and not arguments:
        pytest.skip("there is a GPU")
    ended = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert words in ended.stderr
