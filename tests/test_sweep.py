"""What a sweep does before its trials: what it finds in its folder, and who else is at work there."""

import io

import pytest
from rich.console import Console

from rdbench import datasets, places, store
from rdbench.errors import ResultsError
from rdbench.lease import Lease
from rdbench.plan import plan
from rdbench.sweep import open_plan, run_sweep, status_lines
from rdbench.worker import Job, work


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def finished(sweep, root, tmp_path):
    """A folder whose sweep has run to its end."""
    store.save_sweep(root, sweep)
    for trial in plan(sweep).trials:
        work([trial], Job(root, tmp_path, keep_per_image=False, threads=1), "cpu")
    assert open_plan(root, sweep).todo == []
    return root


def run(sweep, root, tmp_path):
    console = Console(file=io.StringIO())
    account = run_sweep(open_plan(root, sweep), root, tmp_path, console)
    return account, console.file.getvalue()


def test_a_sweep_that_was_killed_before_it_wrote_its_spec_begins_again(sweep, root):
    places.write_atomically(root / "driver.json", b"{}")
    (root / ".sweep.yaml.0123.tmp").write_text("name")
    assert len(open_plan(root, sweep).todo) == 2
    (root / "thesis.tex").write_text("")
    with pytest.raises(ResultsError, match="not a results folder and is not empty"):
        open_plan(root, sweep)


def test_what_is_finished_needs_no_ray(sweep, finished, tmp_path):
    account, said = run(sweep, finished, tmp_path)
    assert (account.done, account.left) == (2, 0)
    assert "Ray" not in said


def test_a_second_driver_is_told_who_holds_the_folder(sweep, finished, tmp_path):
    with Lease(finished, "rdbench sweep"), pytest.raises(ResultsError, match="is in use by 'rdbench sweep'"):
        run(sweep, finished, tmp_path)


@pytest.mark.parametrize("table", ["points", "trials"])
def test_a_damaged_file_is_named_and_its_trial_is_to_be_trained_again(sweep, finished, table):
    victim = plan(sweep).trials[1]
    file = finished / table / f"{victim.id}.parquet"
    file.write_bytes(file.read_bytes()[:-7])
    assert open_plan(finished, sweep).todo == [victim]
    assert any(f"{victim.id}.parquet" in line for line in status_lines(finished))
    (line,) = store.set_aside(finished)
    assert f"{table}/{victim.id}.parquet" in line
    assert (finished / "set_aside" / table / file.name).exists()
    assert not file.exists()


def test_data_that_have_changed_are_refused(sweep, finished, tmp_path, monkeypatch):
    (finished / "points" / f"{plan(sweep).trials[0].id}.parquet").unlink()
    before = datasets.load

    def other(*arguments):
        data = before(*arguments)
        object.__setattr__(data, "checksum", "0" * 64)
        return data

    monkeypatch.setattr(datasets, "load", other)
    with pytest.raises(ResultsError, match="have changed since"):
        run(sweep, finished, tmp_path)
    assert not (finished / "driver.json").exists()
