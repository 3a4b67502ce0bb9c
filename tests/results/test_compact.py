"""Compacting: the same rows in fewer files, whenever it is killed."""

import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_builders import make_sweep, write

from rdbench.errors import ResultsError
from rdbench.results import compact, store
from rdbench.results.lease import Lease
from rdbench.results.load import load_results
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.storage import places


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compact, "TRIALS", 3)


@pytest.fixture
def root(tmp_path):
    """A results folder of eight trials."""
    return write(tmp_path / "results", make_sweep(seeds=2), images=True)


def same(one, other):
    for table in store.TABLES:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))
    return True


def test_the_rows_are_the_same_in_fewer_files(root):
    before, ids = load_results(root), ResultsFolder(root).finished(make_sweep())
    was, now = compact.compact(root)
    assert (was.files, now.files) == (32, 12)  # of 8 trials in 4 tables: 3, 3 and 2
    assert now.size < was.size
    assert same(before, load_results(root))
    assert ResultsFolder(root).finished(make_sweep()) == ids == set(ResultsFolder(root).trial_ids())
    for table in ("points", "history", "images", "trials"):
        alone = pd.read_parquet(root / table).sort_values("trial", kind="stable", ignore_index=True)
        rows = getattr(before, table)
        stored = rows[rows["reading"] != "optimal_train"] if table == "points" else rows  # no file has that
        assert alone["trial"].tolist() == stored["trial"].tolist()
    assert max(pq.read_table(file)["trial"].unique().to_pylist().__len__()
               for file in (root / "points").iterdir()) == 3  # fmt: skip
    assert compact.compact(root) == (now, now)


def test_a_trial_is_read_and_written_again_as_before(root):
    trial = ResultsFolder(root).trial_ids()[0]
    before = ResultsFolder(root).trial_tables(trial)
    compact.compact(root)
    assert ResultsFolder(root).trial_tables(trial) == before
    assert ResultsFolder(root).is_done(trial)
    row = {"name": "kid", "value": 1.0, "settings": "{}"}
    ResultsFolder(root).add_metrics(trial, [], [row])
    points = [before["points"][0] | {"rate": 77.0}]
    ResultsFolder(root).commit(trial, {"points": points, "trials": before["trials"]})
    for _ in range(2):
        found = load_results(root).points
        assert found.loc[found["trial"] == trial, "rate"].unique().tolist() == [77.0]
        assert ResultsFolder(root).trial_tables(trial)["metrics"][0]["value"] == 1.0
        compact.compact(root)  # what came later stays the later


def test_killed_at_any_moment_nothing_is_lost_or_read_twice(root, monkeypatch):
    before = load_results(root)
    moments = 0
    for step in range(60):
        count = iter(range(step + 1))

        def last(*_, count=count):
            if next(count, None) is None:
                raise Killed

        write_file, delete = places.write_atomically, type(root).unlink

        def writing(path, content, last=last, write_file=write_file):
            last() if path.suffix == ".parquet" else None
            write_file(path, content)

        def deleting(path, missing_ok=False, last=last, delete=delete):
            last() if path.suffix == ".parquet" else None
            delete(path, missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(places, "write_atomically", writing)
            patch.setattr(type(root), "unlink", deleting)
            try:
                compact.compact(root)
                ended = True
            except Killed:
                ended, moments = False, moments + 1
        assert same(before, load_results(root))
        if ended:
            break
    assert ended
    assert moments > 5
    assert compact.measure(root).files == 12


def test_a_damaged_compacted_file_costs_its_trials_alone(root):
    compact.compact(root)
    file = root / "points" / "compact-1-0.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    ids = ResultsFolder(root).trial_ids()
    assert ResultsFolder(root).finished(make_sweep()) == set(ids[3:])
    assert set(load_results(root).points["trial"]) == set(ids[3:])
    (line,) = set_aside(root)
    assert "its bytes do not match its digest" in line
    assert "the trials it held run again" in line


def test_files_that_are_not_committed_stay_as_they_are(root):
    orphan = ResultsFolder(root).trial_ids()[0]
    (root / "trials" / f"{orphan}.parquet").unlink()
    compact.compact(root)
    assert (root / "points" / f"{orphan}.parquet").exists()
    assert orphan not in load_results(root).points["trial"].tolist()


def test_while_a_sweep_is_at_work_nothing_is_compacted(root):
    with Lease(root, "rdbench sweep"), pytest.raises(ResultsError, match="in use by 'rdbench sweep'"):
        compact.compact(root)
    assert compact.measure(root).files == 32


def test_a_compacted_file_under_another_name_is_not_read(root):
    compact.compact(root)
    one = ResultsFolder(root).table("points").file("compact-1-0")
    one.rename(one.with_name("compact-7-0.parquet"))
    assert len(set(load_results(root).points["trial"])) == 5
