"""Snapshots: the same rows as the files have, whatever happened to either since."""

import pandas as pd
import pytest
from report_builders import make_sweep, write

from rdbench.results import read_cache, store
from rdbench.results.load import load_results
from rdbench.spec.plan import plan
from rdbench.storage import paths, places


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """A results folder of 60 trials."""
    return write(tmp_path / "a", make_sweep(beta=list(range(1, 31))))


def read_anew(monkeypatch, root):
    """Load the results, and return them with the number of files that were opened."""
    opened = []
    one = places._content
    with monkeypatch.context() as patch:
        patch.setattr(places, "_content", lambda path: opened.append(path) or one(path))
        return load_results(root), len(opened)


def tables(results):
    return {name: getattr(results, name) for name in store.TABLES}


def same(one, other):
    for name, frame in tables(one).items():
        pd.testing.assert_frame_equal(frame, getattr(other, name))
    return True


def test_rows_come_from_the_snapshot_as_they_came_from_the_files(root, monkeypatch):
    first, opened = read_anew(monkeypatch, root)
    assert opened == 180  # points, history and trials of 60
    again, opened = read_anew(monkeypatch, root)
    assert opened == 0
    assert same(first, again)


def test_a_file_that_changed_came_or_went_is_what_it_is_now(root, tmp_path):
    load_results(root)
    trials = plan(make_sweep(beta=list(range(1, 31)))).trials
    (root / "points" / f"{trials[0].id}.parquet").write_bytes(b"junk")
    (root / "trials" / f"{trials[1].id}.parquet").unlink()
    new = make_sweep(beta=[99])
    write(tmp_path / "b", new)
    for table in ("points", "history", "trials"):
        for file in (tmp_path / "b" / table).iterdir():
            file.rename(root / table / file.name)
    found = load_results(root)
    assert trials[0].id not in set(found.points["trial"])
    assert any(f"{trials[0].id}.parquet: left out" in problem for problem in found.problems)
    assert trials[1].id not in set(found.trials["trial"])
    assert {trial.id for trial in plan(new).trials} <= set(found.points["trial"])
    # The damaged one is named again, though nothing else is read.
    assert load_results(root).problems == found.problems


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_snapshot_costs_time_alone(root, damage):
    first = load_results(root)
    kept = list((paths.cache_root() / "tables").iterdir())
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    assert same(first, load_results(root))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_flipped_bit_in_a_snapshot_is_no_wrong_number(root, share):
    first = load_results(root)
    for file in (paths.cache_root() / "tables").iterdir():
        content = bytearray(file.read_bytes())
        content[int(share * len(content))] ^= 4
        file.write_bytes(content)
    assert same(first, load_results(root))


def test_few_files_are_not_worth_a_snapshot(tmp_path):
    load_results(write(tmp_path / "a", make_sweep()))
    assert len(make_sweep().beta) * 2 < read_cache.WORTH_IT
    assert not (paths.cache_root() / "tables").exists()
