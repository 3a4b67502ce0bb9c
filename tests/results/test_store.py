"""The tables: a trial exists once its last row is written, and any Parquet reader opens them."""

import datetime

import pandas as pd
import pyarrow.parquet as pq
import pytest
from older_rows import as_of
from report_builders import make_sweep

from rdbench.errors import ResultsError, StorageError
from rdbench.results import compact, older, parquet, store
from rdbench.results.load import load_results
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.storage import places

POINT = {"dataset": "digits", "variant": "bs_vae", "beta": 1.0, "seed": 0, "split": "test", "reading": "half"}
POINT |= {"rate": 2.0, "sse": 1.0, "n_images": 5}


def trial_row(status="done", **more):
    return {"status": status, "started": datetime.datetime.now(datetime.UTC), **more}


@pytest.fixture
def root(tmp_path, sweep):
    root = tmp_path / "results"
    ResultsFolder(root).save_sweep(sweep)
    ResultsFolder(root).commit("aaaa", {"points": [POINT, POINT], "trials": [trial_row()]})
    return root


def test_what_was_committed_is_read_back(root):
    results = load_results(root)
    assert results.trials["trial"].tolist() == ["aaaa"]
    assert results.points["rate"].tolist() == [2.0, 2.0]
    assert results.points["psnr_of_mse"].isna().all()
    assert results.history.empty
    assert results.trials["commit"].isna().all()
    assert results.trials["commit"].dtype == "str"  # not float64, though no value says so
    assert results.problems == []


def test_pandas_reads_a_table_without_rdbench(root):
    frame = pd.read_parquet(root / "points")
    assert frame["trial"].tolist() == ["aaaa", "aaaa"]
    assert frame["psnr_of_mse"].dtype == "float64"


def test_a_trial_without_its_last_row_does_not_exist(root, monkeypatch):
    write = store.write_atomically

    def killed_before_the_commit(path, content):
        if path.parent.name == "trials":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(store, "write_atomically", killed_before_the_commit)
    with pytest.raises(KeyboardInterrupt):
        ResultsFolder(root).commit("bbbb", {"points": [POINT], "trials": [trial_row()]})
    assert (root / "points" / "bbbb.parquet").exists()
    assert ResultsFolder(root).finished(make_sweep()) == {"aaaa"}
    assert set(load_results(root).points["trial"]) == {"aaaa"}


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr(places.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(StorageError, match="disk full"):
        places.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_done_and_diverged_trials_are_finished_and_failed_ones_are_not(root):
    ResultsFolder(root).commit("cccc", {"trials": [trial_row("diverged", error="NaN")]})
    ResultsFolder(root).commit("dddd", {"trials": [trial_row("failed", error="boom")]})
    assert ResultsFolder(root).finished(make_sweep()) == {"aaaa", "cccc"}


def test_a_done_trial_that_lacks_a_needed_table_is_not_finished(root):
    assert ResultsFolder(root).finished(make_sweep(keep_per_image=True)) == set()
    row = {"index": 0, "sse": 1.0, "rate": 1.0}
    ResultsFolder(root).commit("aaaa", {"per_image": [row], "trials": [trial_row()]})
    assert ResultsFolder(root).finished(make_sweep(keep_per_image=True)) == {"aaaa"}


def test_damaged_and_foreign_files_are_named_and_left_out(root):
    (root / "trials" / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    foreign = pq.read_table(root / "trials" / "aaaa.parquet").replace_schema_metadata(
        {"rdbench_schema": "99"}
    )
    pq.write_table(foreign, root / "trials" / "later.parquet")
    results = load_results(root)
    assert results.trials["trial"].tolist() == ["aaaa"]
    later, torn = sorted(results.problems)
    assert "later.parquet: left out, its schema version is 99" in later
    assert "torn.parquet: left out, not a readable Parquet file" in torn
    assert ResultsFolder(root).finished(make_sweep()) == {"aaaa"}


def test_a_table_without_rows_has_no_file_and_is_no_damage(root):
    ResultsFolder(root).commit("cccc", {"points": [POINT], "history": [], "trials": [trial_row()]})
    results = load_results(root)
    assert results.problems == []
    assert "cccc" in set(results.trials["trial"])
    assert not (root / "history" / "cccc.parquet").exists()


def test_a_folder_of_the_first_schema_is_read_and_what_it_did_not_hold_is_null(root):
    for table in ("points", "trials"):
        file = root / table / "aaaa.parquet"
        old = pq.read_table(file)
        pq.write_table(as_of(table, old, 1).replace_schema_metadata({"rdbench_schema": "1"}), file)
    ResultsFolder(root).commit("bbbb", {"points": [POINT], "trials": [trial_row(pack=4)]})
    results = load_results(root)
    assert results.problems == []
    assert results.points["trial"].tolist() == ["aaaa", "aaaa", "bbbb"]
    assert results.points["binned_bits_per_dim"].isna().all()
    assert list(results.points) == parquet.schema("points").names
    assert results.trials["pack"].isna().tolist() == [True, False]
    assert results.trials["pack"].tolist()[1] == 4


@pytest.fixture
def schema_3(monkeypatch):
    """Write files as the third schema had them, until the returned function is called."""
    monkeypatch.setattr(parquet, "SCHEMA_VERSION", 3)
    for table, columns in list(parquet.TABLES.items()):
        kinds = [column.split(":") for column in columns.split()]
        then = [f"{old}:{kind}" for name, kind in kinds for old in older.columns(table, 3, [name])]
        monkeypatch.setitem(parquet.TABLES, table, " ".join(then))
    parquet.schema.cache_clear()

    def now():
        monkeypatch.undo()
        parquet.schema.cache_clear()

    yield now
    now()


@pytest.mark.parametrize("compacted", [False, True])
def test_files_of_the_third_schema_keep_their_digest_and_are_read_by_any_columns(
    schema_3, tmp_path, sweep, compacted
):
    root = tmp_path / "old"
    ResultsFolder(root).save_sweep(sweep)
    for trial in ("aaaa", "bbbb"):
        ResultsFolder(root).commit(trial, {"points": [POINT], "trials": [trial_row(pack=4)]})
    if compacted:
        compact.compact(root)
    schema_3()
    assert ResultsFolder(root).finished(make_sweep()) == {"aaaa", "bbbb"}
    rows = ResultsFolder(root).frame("trials", ("trial", "pack", "train_images"))
    assert rows["pack"].tolist() == [4, 4]
    assert rows["train_images"].isna().all()
    results = load_results(root)
    assert results.problems == []
    assert results.trials["data_notes"].isna().all()
    assert list(results.trials) == parquet.schema("trials").names
    (file, *_) = (root / "trials").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert len(load_results(root).problems) == 1


def test_a_failure_replaces_a_failure_but_never_a_result(root):
    ResultsFolder(root).commit("aaaa", {"trials": [trial_row("failed", error="late")]})
    ResultsFolder(root).commit("bbbb", {"trials": [trial_row("failed", error="first")]})
    ResultsFolder(root).commit("bbbb", {"trials": [trial_row("failed", error="second")]})
    trials = load_results(root).trials.set_index("trial")
    assert trials["status"].to_dict() == {"aaaa": "done", "bbbb": "failed"}
    assert trials["error"]["bbbb"] == "second"


def test_a_misspelt_column_is_refused_rather_than_dropped(root):
    with pytest.raises(ValueError, match="no column named raet"):
        ResultsFolder(root).commit("eeee", {"points": [{"raet": 1.0}], "trials": [trial_row()]})


def test_a_folder_that_is_no_results_folder_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"not a results folder \(no sweep.yaml"):
        load_results(tmp_path)


def test_every_single_bit_of_a_file_is_guarded(root):
    file = root / "points" / "aaaa.parquet"
    content = file.read_bytes()
    for at in range(0, len(content), 41):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        file.write_bytes(flipped)
        assert load_results(root).points.empty
        assert ResultsFolder(root).finished(make_sweep()) == set()


def test_a_file_of_another_trial_or_table_is_left_out(root):
    ResultsFolder(root).commit("bbbb", {"points": [POINT | {"rate": 9.0}], "trials": [trial_row()]})
    (root / "points" / "aaaa.parquet").write_bytes((root / "points" / "bbbb.parquet").read_bytes())
    (root / "history").mkdir()
    (root / "history" / "bbbb.parquet").write_bytes((root / "points" / "bbbb.parquet").read_bytes())
    results = load_results(root)
    assert results.points["trial"].tolist() == ["bbbb"]
    assert results.history.empty
    assert len(results.problems) == 2
    assert ResultsFolder(root).finished(make_sweep()) == {"bbbb"}


def test_an_older_file_of_another_trial_is_left_out(root):
    old = pq.read_table(root / "points" / "aaaa.parquet").replace_schema_metadata({"rdbench_schema": "2"})
    pq.write_table(old, root / "points" / "bbbb.parquet")
    ResultsFolder(root).commit("bbbb", {"trials": [trial_row()]})
    results = load_results(root)
    assert results.points["trial"].unique().tolist() == ["aaaa"]
    assert "it holds another trial" in results.problems[0]


def test_set_aside_moves_what_is_damaged_or_foreign_and_removes_what_is_temporary(root):
    (root / "points" / "aaaa.parquet").write_bytes(b"PAR1")
    (root / "points" / "notes.txt").write_text("mine")
    (root / "trials" / ".bbbb.parquet.0123.tmp").write_bytes(b"half")
    (root / "trials" / ".hidden").write_bytes(b"another program's")
    lines = set_aside(root)
    assert len(lines) == 2
    assert any("the trial of that name runs again" in line for line in lines)
    assert (root / "set_aside" / "points" / "aaaa.parquet").read_bytes() == b"PAR1"
    assert (root / "set_aside" / "points" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (root / "trials").iterdir()) == [".hidden", "aaaa.parquet"]
    assert set_aside(root) == []
    (root / "points" / "aaaa.parquet").write_bytes(b"again")
    set_aside(root)
    assert (root / "set_aside" / "points" / "2-aaaa.parquet").read_bytes() == b"again"


def test_results_of_a_newer_rdbench_are_not_touched(root):
    newer = pq.read_table(root / "trials" / "aaaa.parquet").replace_schema_metadata({"rdbench_schema": "99"})
    pq.write_table(newer, root / "trials" / "aaaa.parquet")
    with pytest.raises(ResultsError, match=r"schema version is 99.*update rdbench"):
        set_aside(root)
    assert (root / "trials" / "aaaa.parquet").exists()
