"""Sweeps killed anywhere, at any moment, end as if nobody had disturbed them: ``tests/chaos.py`` in short."""

import random

import chaos
import pytest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    (folder / "chaos.yaml").write_text(chaos.SPEC.replace("epochs: 12", "epochs: 4"))
    whole = chaos.disturb(folder, folder / "undisturbed", random.Random(0), 0, kills=0)
    assert whole.problems == []
    expected = chaos.points(folder / "undisturbed")
    assert len(expected) == 4
    return folder, expected


@pytest.mark.parametrize("target", chaos.TARGETS)
def test_a_sweep_that_was_killed_ends_with_the_same_bytes(undisturbed, target):
    folder, expected = undisturbed
    outcome, points = chaos.killed(folder, target, random.Random(target), chaos.LONGEST, 1, [target])
    assert outcome.problems == []
    assert points == expected
