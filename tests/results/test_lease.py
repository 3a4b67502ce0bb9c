"""One driver at a time in a results folder, whatever became of the one before."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from rdbench.errors import ResultsError, StorageError
from rdbench.results import lease
from rdbench.results.lease import FILE, Lease, stop_requested

HOLDER = """
import pathlib, sys, time
from rdbench.results.lease import Lease
with Lease(pathlib.Path(sys.argv[1]), 'rdbench sweep'): {}
"""
WAITS = "print('held', flush=True); time.sleep(600)"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def quick(monkeypatch):
    """Beats, and the time after which a holder elsewhere counts as gone, in tenths of a second."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(lease, "GONE_SECONDS", 0.5)


def hold(root):
    """Start a process that holds the folder; return when it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(WAITS), str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    process.wait()
    process.stdout.close()


def write(root, **changes):
    """Put a holder into the folder: by default this process, with another's token."""
    state = lease.Lease(root, "rdbench compact")._state | {"token": "another's"} | changes
    root.mkdir(exist_ok=True)
    (root / FILE).write_text(json.dumps(state))
    return state


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_the_folder_is_marked_while_held_and_left_as_it_was(root):
    with Lease(root, "rdbench sweep") as held:
        found = json.loads((root / FILE).read_text())
        assert (found["command"], found["pid"]) == ("rdbench sweep", os.getpid())
        assert held.lost is None
    assert not root.exists()  # nothing was written to it
    with Lease(root, "rdbench sweep"):
        (root / "sweep.yaml").write_text("")
    assert [path.name for path in root.iterdir()] == ["sweep.yaml"]
    with Lease(root, "rdbench sweep"):
        (root / "sweep.yaml").unlink()
    assert list(root.iterdir()) == []  # it was there before


def test_the_second_driver_is_told_who_holds_the_folder_and_since_when(root):
    with (
        Lease(root, "rdbench sweep"),
        pytest.raises(ResultsError) as refused,
        Lease(root, "rdbench compact"),
    ):
        pass
    said = str(refused.value)
    assert "\n" not in said
    assert f"{root} is in use by 'rdbench sweep' (process {os.getpid()} on " in said
    assert "since 20" in said
    assert "UTC); wait for it" in said
    assert not (root / FILE).exists()


def test_a_holder_that_lives_in_another_process_is_respected_and_a_killed_one_is_not(root):
    holder = hold(root)
    with pytest.raises(ResultsError, match=f"process {holder.pid} on"), Lease(root, "rdbench sweep"):
        pass
    end(holder)
    assert (root / FILE).exists()
    start = time.monotonic()
    with Lease(root, "rdbench sweep"):
        assert json.loads((root / FILE).read_text())["pid"] == os.getpid()
    assert time.monotonic() - start < lease.GONE_SECONDS / 2, "it was not taken over at once"


def test_a_dead_holder_that_nobody_has_reaped_is_dead(root):
    holder = hold(root)
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with Lease(root, "rdbench sweep") as held:
        assert held.lost is None
    end(holder)


def test_a_process_number_that_was_given_to_another_is_not_the_holder(root):
    write(root, started="long ago")
    with Lease(root, "rdbench sweep") as held:
        assert held.lost is None


def test_a_holder_on_another_machine_is_gone_when_its_beat_stands_still(root, quick):
    said = []
    write(root, machine="elsewhere", host="node7", pid=1)
    with Lease(root, "rdbench sweep", said.append) as held:
        assert held.lost is None
    assert "on node7" in said[0]


def test_a_holder_on_another_machine_whose_beat_goes_on_is_respected_whatever_its_clock_says(root, quick):
    state = write(root, machine="elsewhere", host="node7", since="1970-01-01 00:00 UTC")
    beats = threading.Thread(target=lambda: (time.sleep(0.1), write(root, **(state | {"beat": 1}))))
    beats.start()
    with pytest.raises(ResultsError, match="on node7, since 1970"), Lease(root, "rdbench sweep"):
        pass
    beats.join()
    assert json.loads((root / FILE).read_text())["token"] == "another's"


def test_of_many_that_start_at_once_one_gets_the_folder(root, monkeypatch):
    gate, inside, refused = threading.Barrier(8), [], []
    read = lease._read

    def look(file):
        found = read(file)
        if found is None:
            time.sleep(0.3)  # so that all have seen a free folder before the first takes it
        return found

    monkeypatch.setattr(lease, "_read", look)

    def enter():
        gate.wait()
        try:
            with Lease(root, "rdbench sweep"):
                inside.append(1)
                until(lambda: len(inside) + len(refused) == 8)
        except ResultsError:
            refused.append(1)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\x00\xff"])
def test_a_file_that_is_not_a_lease_does_not_lock_the_folder_for_ever(root, quick, content):
    root.mkdir()
    (root / FILE).write_text(content)
    assert not stop_requested(root)
    with Lease(root, "rdbench sweep") as held:
        assert held.lost is None


def test_the_beat_goes_on_and_other_machines_see_it(root, quick):
    with Lease(root, "rdbench sweep") as held:
        assert until(lambda: json.loads((root / FILE).read_text())["beat"] >= 3)
        assert held.lost is None


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda root: shutil.rmtree(root), "the results folder is gone"),
        (lambda root: (root / FILE).unlink(), "driver.json is gone"),
        (lambda root: write(root, host="node7"), "was taken over by 'rdbench compact' .* on node7"),
    ],
    ids=["folder", "file", "another's"],
)
def test_a_folder_that_is_lost_is_noticed_and_left_alone(root, quick, harm, says):
    with Lease(root, "rdbench sweep") as held:
        harm(root)
        left = sorted(path.name for path in root.iterdir()) if root.exists() else None
        assert until(lambda: held.lost is not None)
        assert re.search(says, held.lost)
        assert "\n" not in held.lost
    assert (sorted(path.name for path in root.iterdir()) if root.exists() else None) == left


def test_a_beat_that_cannot_be_written_harms_nobody(root, quick, monkeypatch):
    failures = []

    def full(path, content):
        failures.append(path)
        raise StorageError("no space left")

    with Lease(root, "rdbench sweep") as held:
        with monkeypatch.context() as patched:
            patched.setattr(lease, "write_atomically", full)
            assert until(lambda: len(failures) >= 3)
        before = json.loads((root / FILE).read_text())["beat"]
        assert until(lambda: json.loads((root / FILE).read_text())["beat"] > before)
        assert held.lost is None


def test_workers_learn_at_once_that_the_user_asked_to_stop(root):
    with Lease(root, "rdbench sweep") as held:  # whose next beat is seconds away
        held.request_stop()
        assert until(lambda: stop_requested(root), lease.BEAT_SECONDS / 2)


def test_a_beat_does_not_forget_that_the_user_asked_to_stop(root, quick):
    assert not stop_requested(root)
    with Lease(root, "rdbench sweep") as held:
        assert not stop_requested(root)
        held.request_stop()
        assert until(lambda: stop_requested(root))
        beat = json.loads((root / FILE).read_text())["beat"]
        assert until(lambda: json.loads((root / FILE).read_text())["beat"] > beat)
        assert stop_requested(root), "the next beat forgot it"
    assert not stop_requested(root)


def test_a_stop_that_was_asked_of_a_killed_driver_does_not_stop_the_next(root):
    write(root, started="long ago", stopping=True)
    with Lease(root, "rdbench sweep"):
        assert not stop_requested(root)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as refused, Lease(tmp_path / "file", "rdbench sweep"):
        pass
    assert "\n" not in str(refused.value)
    assert "another --results folder" in str(refused.value)
