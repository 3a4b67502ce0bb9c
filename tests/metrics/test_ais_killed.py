"""ais, killed between two levels: measured again it goes on from there, to the same rows bit for bit."""

import dataclasses
import math
import shutil
from types import SimpleNamespace

import pytest
import torch

from rdbench.commands import evaluate
from rdbench.errors import StorageError
from rdbench.metrics import ais, is_measured
from rdbench.metrics.ais import AisOptions
from rdbench.metrics.iwae import IwaeOptions
from rdbench.metrics.latents import LatentsOptions
from rdbench.numerics import annealing
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.settings import Resources
from rdbench.spec.sweep import Sweep
from rdbench.storage import places
from rdbench.trial import worker
from rdbench.trial.job import Job, Outputs
from rdbench.vae import checkpoints, metric_states, models
from rdbench.vae.checkpoints import Keeping

ASKED = AisOptions(images=3, levels=20, chains=2, leapfrog=1, simulated=2)
EVERY_LEVEL = Resources(checkpoint_minutes=0)
SWEEP = Sweep.model_validate({
    "name": "t", "dataset": {"name": "digits", "train_images": 128, "test_images": 50},
    "variants": ["vamp_prior"], "beta": [1.0], "seeds": 1, "model": {"latent": 2, "channels": [4]},
    "train": {"epochs": 1, "batch_size": 64}, "keep_weights": True, "resources": EVERY_LEVEL,
})  # fmt: skip
(TRIAL,) = plan(SWEEP).trials
CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for the end of the process: nothing within catches it."""


class Work:
    """Counts transitions, and ends the process before one that is over what is allowed."""

    def __init__(self, monkeypatch):
        self.done, self.allowed = 0, math.inf
        self.moved = annealing.transition
        monkeypatch.setattr(annealing, "transition", self.transition)

    def transition(self, *arguments):
        if self.done >= self.allowed:
            raise Killed
        self.done += 1
        return self.moved(*arguments)

    def killed_after(self, root, transitions):
        self.done, self.allowed = 0, transitions
        with pytest.raises(Killed):
            evaluate.evaluate(root, [ASKED], root, "cpu")

    def finish(self, root, tell=lambda line: None):
        """Measure to the end; return how many transitions that took."""
        self.done, self.allowed = 0, math.inf
        assert evaluate.evaluate(root, [ASKED], root, "cpu", tell).failed == ()
        return self.done


@pytest.fixture
def work(monkeypatch):
    monkeypatch.setattr(ais, "STAYS", 2)
    return Work(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder of a trial with its network, not measured yet."""
    root = tmp_path_factory.mktemp("killed") / "trained"
    ResultsFolder(root).save_sweep(SWEEP)
    worker.work([TRIAL], Job(root, root, outputs=Outputs(weights=True)), "cpu")
    return root


@pytest.fixture(scope="module")
def whole(trained):
    """The same, measured without an interruption; and the transitions it took."""
    root = shutil.copytree(trained, trained.with_name("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ais, "STAYS", 2)
        return root, Work(patch).finish(root)


@pytest.fixture
def kept(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "results")


def metric_bytes(root):
    return {file.name: file.read_bytes() for file in (root / "metrics").iterdir()}


def states(root):
    return sorted((root / "resume").glob("*.safetensors")) if (root / "resume").is_dir() else []


def test_killed_again_and_again_it_ends_in_the_same_bytes_and_does_no_level_twice(kept, work, whole):
    root, needed = whole
    attempts, after = 0, 21  # so that it is killed in each of its walks
    while True:
        work.done, work.allowed = 0, after
        try:
            evaluate.evaluate(kept, [ASKED], kept, "cpu")
            break
        except Killed:
            attempts += 1
            assert states(kept)
            assert not (kept / "metrics").exists()
    assert attempts >= 5
    # What a level of several transitions had begun is done anew; nothing else is.
    assert needed <= attempts * after + work.done <= needed + attempts
    assert metric_bytes(kept) == metric_bytes(root)
    assert states(kept) == []


def test_it_says_where_it_goes_on(kept, work):
    work.killed_after(kept, 7)
    lines = []
    work.finish(kept, lines.append)
    assert lines[0] == f"ais: pilot goes on from level 7 of {annealing.SETTLING + 10}"
    assert not any("goes on" in line for line in lines[1:])


def test_the_state_of_another_network_is_not_gone_on_from(kept, work):
    work.killed_after(kept, 60)
    file = ResultsFolder(kept).weights_file(TRIAL.id)
    model = models.from_bytes(TRIAL, (1, 8, 8), 128, file.read_bytes(), CPU)
    with torch.no_grad():
        next(model.network.decoder.parameters()).mul_(1.01)
    file.write_bytes(models.to_bytes(model))
    again = shutil.copytree(kept, kept.with_name("again"))
    shutil.rmtree(again / "resume")
    assert work.finish(kept) == work.finish(again)
    assert metric_bytes(kept) == metric_bytes(again)
    assert states(kept) == []


def test_a_damaged_state_is_not_gone_on_from(kept, work, whole):
    work.killed_after(kept, 60)
    for file in states(kept):
        file.write_bytes(file.read_bytes()[:-1])
    assert work.finish(kept) == whole[1]
    assert metric_bytes(kept) == metric_bytes(whole[0])


def test_a_state_that_cannot_be_gone_on_from_is_given_up(kept, work, whole, monkeypatch):
    """It is whole, and yet it raises: the second try begins anew."""
    work.killed_after(kept, 60)
    begin = checkpoints.Stage.begin

    def refuses(stage, parts):
        if stage._keeper._restored:
            raise KeyError("part")
        return begin(stage, parts)

    monkeypatch.setattr(checkpoints.Stage, "begin", refuses)
    assert work.finish(kept) == whole[1]
    assert metric_bytes(kept) == metric_bytes(whole[0])


def test_each_set_of_options_and_each_data_has_a_state_of_its_own(kept, data):
    file = ResultsFolder(kept).weights_file(TRIAL.id)
    model = models.from_bytes(TRIAL, (1, 8, 8), 128, file.read_bytes(), CPU)

    def stage(asked=ASKED, checksum=""):
        keeping = Keeping(kept, checksum, minutes=0)
        return metric_states.checkpointer(keeping, TRIAL, model, asked, CPU).stage()

    begun = stage()
    begun.begin({})
    begun.ended(3, "state")
    assert stage().begin({}) == (3, "state")
    assert stage(ASKED.model_copy(update={"tolerance": 2.0})).begin({}) == (0, None)
    assert stage(checksum="other").begin({}) == (0, None)


def test_a_sweep_that_is_stopped_goes_on_within_its_metric(kept, work, whole, monkeypatch):
    """Ctrl-C while a finished trial is measured: the state is kept, and the row is as if it never was."""
    job = Job(kept, kept, outputs=Outputs([ASKED], weights=True), resources=EVERY_LEVEL)
    monkeypatch.setattr(worker, "stop_requested", lambda root: work.done > 29)
    monkeypatch.setattr(worker, "STOP_LOOK_SECONDS", 0.0)
    (ended,) = worker.work([TRIAL], job, "cpu")
    assert (ended["status"], work.done) == ("stopped", 30)
    assert states(kept)
    monkeypatch.setattr(worker, "stop_requested", lambda root: False)
    (ended,) = worker.work([TRIAL], job, "cpu")
    assert (ended["status"], work.done) == ("done", whole[1])
    assert metric_bytes(kept) == metric_bytes(whole[0])
    assert states(kept) == []


def test_what_is_committed_is_no_part_of_what_a_stop_leaves(kept, work, monkeypatch):
    first, last = (TRIAL.model_copy(update={"seed": seed}) for seed in (1, 2))
    job = Job(kept, kept, outputs=Outputs([ASKED], weights=True), run="11111111")
    worker.work([first, last], dataclasses.replace(job, outputs=Outputs()), "cpu")
    monkeypatch.setattr(worker, "stop_requested", lambda root: work.done > 29)
    monkeypatch.setattr(worker, "STOP_LOOK_SECONDS", 0.0)
    ended = worker.work([first, TRIAL, last], job, "cpu")
    assert [one["status"] for one in ended] == ["done", "stopped", "done"]


def test_one_that_is_measured_as_it_is_trained_goes_on_too(work, whole, tmp_path):
    """Its training ends in the same network, from its own checkpoint."""
    job = Job(tmp_path, tmp_path, outputs=Outputs([ASKED]), resources=EVERY_LEVEL)
    work.allowed = 100
    with pytest.raises(Killed):
        worker.work([TRIAL], job, "cpu")
    work.allowed = math.inf
    worker.work([TRIAL], job, "cpu")
    assert whole[1] <= work.done <= whole[1] + 1
    assert metric_bytes(tmp_path) == metric_bytes(whole[0])
    assert states(tmp_path) == []


def test_one_that_is_stopped_within_its_first_metric_does_not_train_again(work, whole, tmp_path, monkeypatch):
    seldom = Resources(checkpoint_minutes=1000)
    job, epochs = Job(tmp_path, tmp_path, outputs=Outputs([ASKED]), resources=seldom), []

    def measure():
        (ended,) = worker.work([TRIAL], job, "cpu", on_epoch=lambda trial, epoch: epochs.append(epoch.epoch))
        return ended["status"], work.done

    monkeypatch.setattr(worker, "STOP_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(worker, "stop_requested", lambda root: work.done > 29)
    assert measure() == ("stopped", 30)
    assert checkpoints.interrupted(tmp_path) == [(TRIAL.id,)]
    monkeypatch.setattr(worker, "stop_requested", lambda root: False)
    assert measure() == ("done", whole[1])
    assert epochs == [1]
    assert metric_bytes(tmp_path) == metric_bytes(whole[0])
    assert states(tmp_path) == []


@pytest.mark.parametrize("weights", [True, False])
def test_a_stop_whose_state_cannot_be_kept_is_no_failure_of_the_metric(
    kept, work, tmp_path, monkeypatch, weights
):
    root = kept if weights else tmp_path / "untrained"
    job = Job(root, root, outputs=Outputs([ASKED]), resources=Resources(checkpoint_minutes=1000))

    def full(place, content):
        if place.parent.name == "resume":
            raise StorageError(f"cannot write {place} (No space left on device)")
        places.write_atomically(place, content)

    monkeypatch.setattr(checkpoints, "places", SimpleNamespace(**{**vars(places), "write_atomically": full}))
    monkeypatch.setattr(worker, "STOP_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(worker, "stop_requested", lambda root: work.done > 29)
    with pytest.raises(StorageError, match="No space left"):
        worker.work([TRIAL], job, "cpu")
    assert "metrics" not in ResultsFolder(root).trial_tables(TRIAL.id)


def test_metrics_that_take_seconds_cost_no_checkpoint(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoints.Checkpointer, "_write", lambda *arguments: written.append(arguments))
    job = Job(tmp_path, tmp_path, resources=Resources(checkpoint_minutes=1000))
    quick = dataclasses.replace(job, outputs=Outputs([LatentsOptions(), IwaeOptions(images=3, samples=1)]))
    worker.work([TRIAL], quick, "cpu")
    assert written == []


def test_what_a_kill_after_the_commit_left_is_removed(kept, work, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(metric_states, "discard", lambda root, trials, asked: None)
        work.finish(kept)
    assert states(kept)
    assert work.finish(kept) == 0
    assert states(kept) == []


def test_another_metric_measured_in_between_costs_it_nothing(kept, work, whole):
    for other in (IwaeOptions(images=3, samples=1), ASKED.model_copy(update={"chains": 3})):
        work.killed_after(kept, 60)
        begun = states(kept)
        work.allowed = math.inf
        evaluate.evaluate(kept, [other], kept, "cpu")
        rows = ResultsFolder(kept).trial_tables(TRIAL.id)["metrics"]
        assert is_measured(other, rows, complete=True)
        assert states(kept) == begun
    assert work.finish(kept) < whole[1]
    assert states(kept) == []


@pytest.mark.parametrize("command", ["sweep", "evaluate"])
def test_a_fault_of_the_machine_costs_it_nothing(kept, work, whole, monkeypatch, command):
    """Its row says so, and measured anew it goes on; failed in the same way again it is given up."""
    moved = annealing.transition

    def fails(*arguments):
        if work.done >= 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return moved(*arguments)

    job = Job(kept, kept, outputs=Outputs([ASKED], weights=True), resources=EVERY_LEVEL)

    def measure():
        if command == "evaluate":
            return evaluate.evaluate(kept, [ASKED], kept, "cpu")
        return worker.work([TRIAL], job, "cpu")

    with monkeypatch.context() as patch:
        patch.setattr(annealing, "transition", fails)
        measure()
    assert states(kept)
    work.done = 0
    measure()
    assert work.done < whole[1]
    values = [row["value"] for row in ResultsFolder(kept).trial_tables(TRIAL.id)["metrics"]]
    assert (states(kept), None in values) == ([], False)


def test_the_state_of_a_metric_is_no_pack_that_was_interrupted(kept, work):
    """Else a sweep would take it for a training to go on with, or remove it with one."""
    work.killed_after(kept, 50)
    assert checkpoints.interrupted(kept) == []
    assert metric_states.left(kept) == {TRIAL.id}
    checkpoints.discard(kept, [TRIAL.id])
    assert states(kept)
