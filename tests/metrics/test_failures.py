"""A metric that fails costs no trial twice, is told at the end, and is tried again where that may help."""

import dataclasses
import errno
import json

import pytest
import torch

from rdbench.commands import evaluate
from rdbench.commands.plan import _lines, account, open_plan
from rdbench.metrics import failures, iwae
from rdbench.metrics.iwae import IwaeOptions
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.trial import worker
from rdbench.trial.job import Job, Outputs
from rdbench.trial.run import run_pack
from rdbench.trial.worker import work

ASKED = IwaeOptions(samples=2, images=5, readings=("half",))


class Broken:
    """A metric that raises one error after another, and measures when there is none left."""

    def __init__(self, monkeypatch) -> None:
        self.errors: list[Exception] = []
        self.calls = 0
        self.measures = iwae.METRIC.compute
        monkeypatch.setattr(iwae, "METRIC", dataclasses.replace(iwae.METRIC, compute=self))

    def __call__(self, options, model):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.measures(options, model)


@pytest.fixture
def broken(monkeypatch):
    return Broken(monkeypatch)


@pytest.fixture
def trained(monkeypatch):
    """How often a trial was trained."""
    calls = []
    monkeypatch.setattr(
        worker, "run_pack", lambda *given, **more: calls.append(1) or run_pack(*given, **more)
    )
    return calls


@pytest.fixture
def runs(sweep, tmp_path):
    """Run what is left to do of one trial; returns the metric's row, and how many trials are left."""
    root = tmp_path / "results"
    asking = sweep.model_copy(update={"metrics": (ASKED,), "variants": sweep.variants[:1]})
    ResultsFolder(root).save_sweep(asking)

    def run(keep: bool = False):
        job = Job(root, tmp_path, outputs=Outputs((ASKED,), weights=keep))
        todo = open_plan(root, asking).todo
        for each in todo:
            work([each], job, "cpu")
        row = ResultsFolder(root).trial_tables(plan(asking).trials[0].id)["metrics"][0]
        return row, len(todo)

    run.root, run.sweep = root, asking
    return run


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_what_fails_twice_in_the_same_way_is_given_up_without_training_again(broken, trained, runs):
    broken.errors = [ValueError("4 of 5 samples"), ValueError("3 of 5 samples"), ValueError("unreachable")]
    row, todo = runs()
    assert (broken.calls, todo, len(trained)) == (2, 1, 1)
    assert row["value"] is None
    assert json.loads(row["settings"])["failures"] == 2
    assert runs()[1] == 0
    assert len(trained) == 1
    ended = account(runs.root, open_plan(runs.root, runs.sweep))
    assert (ended.done, ended.lacking, ended.left) == (1, 1, 0)
    assert ended.failed_metrics == ("no iwae: 1 trial: ValueError: 3 of 5 samples",)


def test_what_fails_once_is_measured_at_once(broken, trained, runs):
    broken.errors = [ValueError("once")]
    row, _ = runs()
    assert row["value"] is not None
    assert (broken.calls, len(trained)) == (2, 1)


def test_a_fault_of_the_machine_costs_one_training_more_and_no_third(broken, trained, runs):
    broken.errors = [full(), full(), full()]
    for failures_so_far, todo in ((1, 1), (2, 1), (2, 0)):
        row, left = runs()
        assert (json.loads(row["settings"])["failures"], left) == (failures_so_far, todo)
    assert (broken.calls, len(trained)) == (2, 2)


def test_failures_of_different_kinds_do_not_add_up(broken, trained, runs):
    broken.errors = [full(), MemoryError(), full()]
    for _ in range(3):
        row, todo = runs()
        assert (json.loads(row["settings"])["failures"], todo) == (1, 1)
    assert runs()[0]["value"] is not None


def test_with_its_network_kept_no_trial_is_trained_for_a_metric(broken, trained, runs, monkeypatch):
    broken.errors = [full()]
    runs(keep=True)

    def no_memory(*arguments):
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr("rdbench.trial.run.measure", no_memory)  # which comes before any metric
        row, todo = runs(keep=True)
    assert todo == 1
    assert "tried to allocate" in failures.reason(row)
    assert runs(keep=True)[0]["value"] is not None
    assert len(trained) == 1


def test_evaluate_tries_again_what_was_given_up(broken, runs, tmp_path):
    broken.errors = [ValueError("x")] * 2
    runs(keep=True)
    assert runs(keep=True)[1] == 0
    broken.errors = [ValueError("x")] * 2
    found = evaluate.evaluate(runs.root, [ASKED], tmp_path, "cpu")
    assert found.failed == ("beta_vae beta 1 seed 0: iwae: ValueError: x",)
    assert evaluate.evaluate(runs.root, [ASKED], tmp_path, "cpu").measured == 1
    assert account(runs.root, open_plan(runs.root, runs.sweep)).failed_metrics == ()


def test_what_was_given_up_is_trained_again_where_the_network_is_to_be_kept(broken, trained, runs):
    broken.errors = [ValueError("x")] * 2
    runs()
    kept = runs.sweep.model_copy(update={"keep_weights": True})
    assert len(open_plan(runs.root, kept).todo) == 1


def test_what_a_worker_lacks_costs_one_training_more_as_another_may_have_it_and_no_third(
    monkeypatch, trained, runs
):
    lacking = dataclasses.replace(iwae.METRIC, missing=lambda *given: "no weights here; fetch them")
    monkeypatch.setattr(iwae, "METRIC", lacking)
    for failures_so_far, todo in ((1, 1), (2, 1), (2, 0)):
        row, left = runs()
        assert (json.loads(row["settings"])["failures"], left) == (failures_so_far, todo)
    assert failures.reason(row) == "no weights here; fetch them"
    assert len(trained) == 2


def test_many_reasons_are_told_by_the_commonest():
    lines = _lines(("no iwae", f"ValueError: reason {'x' * (at % 7)}", str(at)) for at in range(20))
    assert lines[0] == "no iwae: 3 trials: ValueError: reason "
    assert (len(lines), lines[-1]) == (6, "and 2 reasons more")


# The command line


@pytest.fixture
def lines_of(rdbench):
    """Run a command; return its exit code and its lines."""

    def run(*arguments):
        code, out, _ = rdbench(*arguments)
        return code, out.splitlines()

    return run


def test_the_last_lines_of_a_sweep_name_what_is_missing_and_its_exit_code_says_so(
    lines_of, broken, trained, sweep_file
):
    broken.errors = [ValueError("no such thing")] * 4
    command = ["sweep", sweep_file, "--set", "metrics=[{name: iwae, samples: 2, images: 5}]"]
    for trainings in (2, 2):
        code, lines = lines_of(*command)
        assert (code, len(trained)) == (3, trainings)
        assert "2 done (2 of them without all that is asked for) in results/test" in lines
        assert lines[-2] == "no iwae: 2 trials: ValueError: no such thing"
        assert "'rdbench evaluate results/test --metrics NAME'" in lines[-1]
        assert "--set keep_weights=true" in lines[-1]
    code, lines = lines_of(*command, "--allow-missing-metrics")
    assert (code, len(trained)) == (0, 2)
    assert lines[-2] == "no iwae: 2 trials: ValueError: no such thing"


def test_the_last_lines_of_a_sweep_say_why_trials_failed(lines_of, sweep_file, monkeypatch):
    def raises(*given, **more):
        raise RuntimeError("in the training")

    monkeypatch.setattr(worker, "run_pack", raises)
    code, lines = lines_of("sweep", sweep_file)
    assert code == 3
    assert lines[-1] == "failed: 2 trials: RuntimeError: in the training"


def test_a_trial_whose_metric_fails_says_so_by_its_exit_code(lines_of, broken, sweep_file):
    broken.errors = [ValueError("no such thing")] * 2
    asked = "metrics=[{name: iwae, samples: 2, images: 5}]"
    code, lines = lines_of("trial", sweep_file, "--set", asked)
    assert code == 1
    assert lines[-1].startswith("done without iwae in ")
    assert lines_of("trial", sweep_file, "--set", asked)[0] == 0
    undefined = ["--variant", "autoencoder", "--set", "metrics=[fd_classifier]"]
    assert lines_of("trial", sweep_file, *undefined)[0] == 0
