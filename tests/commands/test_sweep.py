"""What a sweep does before its trials: what it finds in its folder, and who else is at work there."""

import io

import pytest
from rich.console import Console

from rdbench import datasets
from rdbench.commands.plan import open_plan
from rdbench.commands.status import status_lines
from rdbench.commands.sweep import run_sweep
from rdbench.errors import ResultsError, SpecError
from rdbench.results.lease import Lease
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.spec.labels import trial_name_in
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.storage import places
from rdbench.trial.job import Job
from rdbench.trial.scheduler import RunOptions
from rdbench.trial.worker import work


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def finished(sweep, root, tmp_path):
    """A folder whose sweep has run to its end."""
    ResultsFolder(root).save_sweep(sweep)
    for trial in plan(sweep).trials:
        work([trial], Job(root, tmp_path), "cpu")
    assert open_plan(root, sweep).todo == []
    return root


def run(sweep, root, tmp_path):
    console = Console(file=io.StringIO())
    account = run_sweep(open_plan(root, sweep), root, console, RunOptions(tmp_path))
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
    (line,) = set_aside(finished)
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


def test_an_option_that_a_variant_refuses_is_told_before_anything_is_trained(sweep_file, root, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import rdbench\n\n@rdbench.variant('mine')\nclass Mine(rdbench.Model):\n"
        "    def __init__(self, about, *, groups: int = 3):\n        super().__init__(about)\n"
        "        if about.latent % groups:\n            raise ValueError('mine: latent is no multiple')\n"
    )
    wanted = load_sweep(sweep_file, ["variants=[bs_vae, mine.py:mine]"])
    with pytest.raises(SpecError, match="variants: mine cannot be built: mine: latent is no multiple"):
        run(wanted, root, tmp_path)
    assert not (root / "trials").exists()


def test_a_model_that_raises_is_a_line_that_names_the_authors_own(sweep_file, root, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import rdbench, torch\n\n@rdbench.variant('mine')\nclass Mine(rdbench.Model):\n"
        "    def __init__(self, about):\n        super().__init__(about)\n"
        "        torch.zeros(2, 3) @ torch.zeros(2, 3)\n"
    )
    wanted = load_sweep(sweep_file, [f"variants=[bs_vae, '{mine}:mine']"])
    with pytest.raises(
        SpecError, match=r"Mine cannot be built: line 7: RuntimeError: .*; 'rdbench check "
    ) as told:
        run(wanted, root, tmp_path)
    assert "\n" not in str(told.value)
    assert not (root / "trials").exists()

    (tmp_path / "layers.py").write_text("\n1 / 0\n")
    mine.write_text("import layers\n" + mine.read_text())
    wanted = load_sweep(sweep_file, [f"variants=[bs_vae, '{mine}:mine']"])
    with pytest.raises(SpecError, match=r"Mine cannot be imported: layers.py line 2: ZeroDivisionError: "):
        run(wanted, root, tmp_path)


def test_trials_of_one_variant_with_other_options_have_names_of_their_own(sweep_file, root):
    wanted = load_sweep(sweep_file, ["variants=[{name: student_t, dof: 3}, {name: student_t, dof: 5}]"])
    first, second = (each.model_copy(update={"seed": 4}) for each in plan(wanted).trials)
    assert trial_name_in(wanted, first) == "student_t (dof=3.0) beta 1 seed 4"
    assert trial_name_in(wanted, second) == "student_t (dof=5.0) beta 1 seed 4"
    wanted = load_sweep(sweep_file, ["variants=[multi_rate, {name: multi_rate, root: true}]"])
    names = {trial_name_in(wanted, trial) for trial in plan(wanted).trials}
    assert names == {"multi_rate (root=False) beta 1 seed 0", "multi_rate (root=True) beta 1 seed 0"}
