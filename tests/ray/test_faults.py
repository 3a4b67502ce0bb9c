"""Faults of workers and of Ray, and users who stop: what is said, and that nothing is lost or left."""

import pickle
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
from google.protobuf.json_format import ParseDict
from ray.core.generated.common_pb2 import ActorDeathCause
from ray.exceptions import OutOfMemoryError, RayActorError
from ray_sweeps import in_a_process, trials_of, until
from trials_that import (
    FAULTS,
    HUNG,
    SLOW,
    attempts,
    faults_have_ended,
    meet_faults_then_train_for_ever,
    read,
    take_two_seconds_then_ten_minutes,
    train_for_ever,
)

from rdbench.results.store import ResultsFolder
from rdbench.spec.sweep import Resources, VariantSpec
from rdbench.trial.signals import STOP
from rdbench.tune import driver, pack_size
from rdbench.tune.driver import _Narrator
from rdbench.tune.pack_queue import PackQueue
from rdbench.tune.ray_internals import as_actor_error
from rdbench.tune.worker_deaths import KILLED, MEMORY, NODE, Loss, cause_of_death, loss, why_given_up

# A sweep whose first trials meet with faults; the others train until Ctrl-C.


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    with in_a_process(folder, meet_faults_then_train_for_ever) as sweep:
        root = sweep.root
        assert until(lambda: faults_have_ended(root) and len(list(root.glob("[0-9]*.attempts"))) == 5)
        for child in sweep.process.children(recursive=True):
            for number in set(STOP) - {signal.SIGTERM}:
                child.send_signal(number)  # as Slurm does, which signals every process of a job's step
        sweep.process.send_signal(signal.SIGINT)
    return sweep


@pytest.fixture(scope="module")
def of_faults(interrupted):
    """What the console said of each trial that met with faults, the processes that tried it, and its row."""
    return [
        (
            [line for line in interrupted.said.splitlines() if f"seed {trial.seed}:" in line],
            attempts(interrupted.root, trial.seed),
            ResultsFolder(interrupted.root).trial_tables(trial.id).get("trials", [None])[0],
        )
        for trial in trials_of(interrupted.root.parent, len(FAULTS))
    ]


def test_a_fault_of_the_machine_is_tried_again_in_another_process(of_faults):
    lines, processes, row = of_faults[0]
    assert len(set(processes)) == 3
    assert "its worker met a fault (OSError: [Errno 5] the disk is ill); starting it again" in lines[0]
    assert "its worker was killed or crashed; starting it again" in lines[1]
    assert "/300] bs_vae beta 1 seed 0: done" in lines[2]
    assert len(lines) == 3
    assert row is None, "the scheduler wrote a row for a trial that was done"


def test_after_three_attempts_the_causes_are_recorded(of_faults):
    lines, processes, row = of_faults[1]
    assert len(set(processes)) == 3
    assert "its worker was killed or crashed; starting it again" in lines[0]
    assert "its worker failed (ValueError: rdbench itself is at fault); starting it again" in lines[1]
    assert ": failed (" in lines[2]
    assert len(lines) == 3
    assert row["status"] == "failed"
    first, *rest = row["error"].splitlines()
    assert first.startswith(
        "the worker was killed or crashed, failed (ValueError: rdbench itself is at fault),"
    )
    assert rest[0] == "Traceback (most recent call last):"


def test_a_trial_that_hangs_fails_once_and_its_worker_is_not_called_dead(of_faults):
    lines, processes, row = of_faults[2]
    assert len(set(processes)) == 2, "the process that hung was used again"
    assert row["error"] == HUNG
    assert len(lines) == 1
    assert "failed (trial_timeout: no epoch ended within 1 s)" in lines[0]


def test_ctrl_c_once_lets_what_runs_write_its_checkpoint_and_begins_nothing_new(interrupted):
    assert interrupted.process.returncode == 0
    assert "Ray died" not in interrupted.said
    assert "stopping: what runs ends its epoch" in interrupted.said
    assert interrupted.said.endswith(" finished, error None\n")
    running = {int(file.stem) for file in interrupted.root.glob("*.attempts")} - set(range(len(FAULTS)))
    assert len(running) == 2
    assert {int(file.stem) for file in interrupted.root.glob("*.checkpoint")} == running
    assert not (interrupted.root / "driver.json").exists()


# A sweep whose Ray loses a daemon; asked to stop while trials run that do not listen, and asked once more.


@pytest.fixture(scope="module")
def outlived(tmp_path_factory):
    """The sweep, and the addresses that its processes listened at."""
    folder = tmp_path_factory.mktemp("outlived")
    with in_a_process(folder, take_two_seconds_then_ten_minutes) as sweep:
        assert until(lambda: attempts(sweep.root, 0) and attempts(sweep.root, 1))
        listening = list(listening_at(sweep.process))
        daemon(sweep.process, "gcs_server").kill()
        assert until(lambda: attempts(sweep.root, SLOW))
        sweep.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert sweep.process.poll() is None, "it did not wait for what runs"
        sweep.process.send_signal(signal.SIGUSR1)
        start = time.monotonic()
    assert time.monotonic() - start < 60
    return sweep, listening


def listening_at(driver):
    for process in driver.children(recursive=True):
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue
        yield from (each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN)


def daemon(driver, name):
    return next(process for process in driver.children(recursive=True) if process.name() == name)


def test_a_sweep_outlives_a_daemon_of_ray(outlived):
    sweep, _ = outlived
    assert sweep.said.count("Ray died (its gcs_server was ended); starting it again") == 1
    assert sweep.said.endswith(f"{SLOW} finished, error None\n")


def test_ray_listens_to_this_machine_alone(outlived):
    sweep, listening = outlived
    assert len(listening) >= 4
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert read(sweep.root, "0.authentication") == "token"


def test_a_second_signal_ends_at_once(outlived):
    sweep, _ = outlived
    assert sweep.process.returncode == 0
    assert "stopping: what runs ends its epoch" in sweep.said


# A sweep that is stopped before it has begun.


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory):
    with in_a_process(tmp_path_factory.mktemp("early"), train_for_ever) as sweep:
        assert until(lambda: (sweep.root / "driver.json").exists())
        time.sleep(1)
        sweep.process.send_signal(signal.SIGUSR2)
    return sweep


def test_a_signal_while_ray_starts_ends_it(stopped_early):
    assert stopped_early.process.returncode == 0
    assert stopped_early.said.endswith("0 finished, error None\n")
    assert list(stopped_early.root.glob("*.attempts")) == []


@pytest.mark.parametrize("ended", ["interrupted", "outlived", "stopped_early"])
def test_nothing_is_left_of_a_sweep_and_nothing_is_said_but_by_itself(ended, request):
    sweep = request.getfixturevalue(ended)
    sweep = sweep[0] if isinstance(sweep, tuple) else sweep
    assert sweep.left == []
    assert sweep.printed == ""
    assert "Traceback" not in sweep.said


# Why a worker was lost.


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ({"oom_context": {"error_message": "..."}}, MEMORY),
        ({"actor_died_error_context": {"reason": "NODE_DIED"}}, NODE),
        ({"actor_died_error_context": {"reason": "WORKER_DIED"}}, KILLED),
        ({"runtime_env_failed_context": {}}, KILLED),
        ({}, KILLED),
    ],
)
def test_the_cause_of_a_death_is_read_from_the_record_of_ray(record, cause):
    assert cause_of_death(ParseDict(record, ActorDeathCause())) == cause


def test_a_worker_that_ray_killed_for_want_of_memory_is_a_dead_worker_to_tune():
    error = as_actor_error(OutOfMemoryError("the node is out of memory"))
    assert isinstance(error, RayActorError)
    assert loss(pickle.loads(pickle.dumps(error))) == Loss(MEMORY)
    other = ValueError("of the trial")
    assert as_actor_error(other) is other


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([Loss(MEMORY)] * 3, "the worker was killed for want of memory 3 times; run fewer trials at a time"),
        ([Loss(NODE), Loss(NODE), Loss(KILLED)], "the worker was lost with its node 2 times, was killed or"),
        ([Loss("met a fault (x)", "Traceback\nx")] * 3, "the worker met a fault (x) 3 times\nTraceback\nx"),
    ],
)
def test_the_cause_comes_first_and_the_mend_after_it(losses, says):
    assert why_given_up(losses).startswith(says)


@pytest.mark.parametrize("counts", [True, False])
def test_a_pack_is_not_given_up_for_faults_of_which_each_comes_once(counts):
    narrator = _Narrator(lambda event: None, PackQueue(lambda settings, peers: [], list))
    trial = SimpleNamespace(trial_id="t", config={"job": {"pack": [0]}}, num_failures=0, max_failures=2)
    for _ in range(6):  # as many variants that cannot be recorded
        narrator.on_trial_result(0, [], trial, {"retry": "CaptureFailed: why", "counts": counts})
        trial.num_failures += 1
        if trial.num_failures <= trial.max_failures:
            narrator.on_trial_recover(0, [], trial)
    assert (trial.num_failures <= trial.max_failures) is not counts


@pytest.mark.parametrize(("sizes", "chosen"), [((None, 4, 8), 4), ((None, None, None), 1), ((2, 4, 8), 2)])
def test_the_size_of_packs_is_measured_by_the_first_variant_that_can_be(trial, monkeypatch, sizes, chosen):
    names = ("bs_vae", "beta_vae", "sigma_vae")
    trials = [
        trial.model_copy(update={"variant": VariantSpec(name=name), "seed": seed})
        for name in names
        for seed in (0, 1)
    ]
    asked = []

    def choose(one):
        asked.append(one.variant.name)
        return dict(zip(names, sizes, strict=True))[one.variant.name]

    here = SimpleNamespace(remote=lambda **options: lambda function: SimpleNamespace(remote=function))
    here.get = lambda answer: answer
    monkeypatch.setattr(driver, "ray", here)
    monkeypatch.setattr(driver.cluster, "take_niceness", lambda niceness: None)
    monkeypatch.setattr(pack_size, "choose", choose)
    request = SimpleNamespace(resources=Resources(), niceness=0)
    assert driver._pack_size(request, 1.0, trials) == chosen
    assert asked == list(names[: len(asked)])
    assert len(asked) == next((place for place, size in enumerate(sizes, 1) if size), 3)
