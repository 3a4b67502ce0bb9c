"""A sweep whose worker, raylet and driver are killed ends as if nobody had disturbed it.

``tools/chaos.py`` does the same at random moments, again and again.
"""

import math
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import chaos
import pytest
import torch
from chaos import Kill
from ray_sweeps import until

from rdbench import datasets
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.run import run_trial


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the sweep, and the bytes of its points: each trial alone, here, without Ray."""
    folder = tmp_path_factory.mktemp("chaos")
    (folder / "chaos.yaml").write_text(chaos.SPEC.replace("epochs: 12", "epochs: 4"))
    sweep = load_sweep(folder / "chaos.yaml")
    data = datasets.load(sweep.dataset, folder)
    for trial in plan(sweep).trials:
        ResultsFolder(folder / "alone").commit(trial.id, run_trial(trial, data, torch.device("cpu")))
    return folder, chaos.points(folder / "alone")


@pytest.fixture(scope="module")
def killed(alone):
    """What became of the sweep: a worker is killed in mid-trial, then Ray, then the driver."""
    folder, _ = alone
    results = folder / "killed"
    log = results.with_suffix(".log")

    def trains_again(seconds):
        """Whether a checkpoint was written after Ray had died."""
        since = log.stat().st_mtime if "its raylet was ended" in log.read_text() else math.inf
        with suppress(FileNotFoundError):  # there are two at a time
            return any(file.stat().st_mtime > since for file in results.glob("resume/*.safetensors"))
        return False

    scratch = Path(tempfile.mkdtemp(prefix="rd-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        outcome = chaos.disturb(
            folder,
            results,
            [
                Kill("worker", lambda seconds: any(results.glob("resume/*.safetensors"))),
                Kill("raylet", lambda seconds: len(chaos.committed(results)) >= 1),
                Kill("driver", trains_again),
            ],
        )
    until(lambda: not any(scratch.iterdir()), 10)
    left = [file.name for file in scratch.iterdir()]
    shutil.rmtree(scratch)
    return outcome, chaos.points(results), log.read_text(), left


def test_a_sweep_that_was_killed_ends_with_the_same_bytes(alone, killed):
    _, expected = alone
    outcome, points, *_ = killed
    assert [kill.split()[0] for kill in outcome.kills] == ["worker", "raylet", "driver"]
    assert outcome.problems == []
    assert len(expected) == 4
    assert points == expected


def test_what_was_killed_is_said_in_a_line_and_nothing_is_left(killed):
    _, _, said, left = killed
    assert "its worker was killed or crashed; starting it again" in said
    # A machine that is very busy may keep Ray from its start, which is told in its words and tried again.
    (of_raylet,) = (line for line in said.splitlines() if "raylet" in line and "has not started" not in line)
    assert of_raylet.startswith("Ray died (its raylet was ended); starting it again")
    assert "Traceback" not in said
    assert left == [], "temporary files of a driver that was killed, which the next one sweeps up"
