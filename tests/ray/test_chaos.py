"""Sweeps killed anywhere, at any moment, end as if nobody had disturbed them: ``tools/chaos.py`` in short."""

import random

import chaos
import pytest
import torch

from rdbench import datasets
from rdbench.results import store
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.trial.run import run_trial

LONGEST = 8  # seconds within which the kill falls, from the start of a sweep


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of the sweep, and the bytes of its points: each trial alone, here, without Ray."""
    folder = tmp_path_factory.mktemp("chaos")
    (folder / "chaos.yaml").write_text(chaos.SPEC.replace("epochs: 12", "epochs: 4"))
    sweep = load_sweep(folder / "chaos.yaml")
    data = datasets.load(sweep.dataset, folder)
    for trial in plan(sweep).trials:
        store.commit(folder / "alone", trial.id, run_trial(trial, data, torch.device("cpu")))
    expected = chaos.points(folder / "alone")
    assert len(expected) == 4
    return folder, expected


@pytest.mark.parametrize("target", chaos.TARGETS)
def test_a_sweep_that_was_killed_ends_with_the_same_bytes(undisturbed, target):
    folder, expected = undisturbed
    outcome, points = chaos.killed(folder, target, random.Random(target), LONGEST, 1, [target])
    assert outcome.problems == []
    assert points == expected
