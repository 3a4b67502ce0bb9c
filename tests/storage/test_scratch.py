"""Temporary folders: where they lie, and that none outlives the processes that own it."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rdbench.errors import StorageError
from rdbench.storage import scratch
from rdbench.storage.scratch import LOCK, Scratch


@pytest.fixture
def places(monkeypatch):
    """Two short folders, the first of which TMPDIR names and the second is what there is besides."""
    with tempfile.TemporaryDirectory(prefix="rd-", dir="/tmp") as folder:
        pair = Path(folder, "1"), Path(folder, "2")
        for place in pair:
            place.mkdir()
        for name in scratch.VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TMPDIR", str(pair[0]))
        monkeypatch.setattr(scratch, "USUAL", (str(pair[1]),))
        yield pair


def test_it_lies_where_tmpdir_says_and_is_private_and_gone_afterwards(places):
    with Scratch() as folder:
        assert folder.parent == places[0]
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "socket").touch()
    assert [*places[0].iterdir(), *places[1].iterdir()] == []


def test_a_variable_of_ray_goes_before(places, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(places[1]))
    with Scratch() as folder:
        assert folder.parent == places[1]


def test_the_users_own_folder_is_a_place_where_it_is_set(places, monkeypatch):
    monkeypatch.setattr(scratch, "USUAL", ("$XDG_RUNTIME_DIR",))
    for value, found in (("/run/user/7", [places[0], Path("/run/user/7")]), ("", [places[0]])):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        assert list(scratch._places()) == found
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert list(scratch._places()) == [places[0]]


def missing(place):
    place.rmdir()


def a_file(place):
    place.rmdir()
    place.touch()


def full(place):
    (place / "is full").touch()


def too_long(place):
    long = place / "a_folder_of_a_batch_job_with_a_long_name"
    long.mkdir()
    os.environ["TMPDIR"] = str(long)  # monkeypatch has set it, and puts it back


def read_only(place):
    (place / "is read-only").touch()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (missing, "No such file or directory"),
        (a_file, "Not a directory"),
        (full, "No space left on device"),
        (too_long, "AF_UNIX path too long"),
        (read_only, "Permission denied"),
    ],
)
def test_where_that_is_of_no_use_another_place_will_do(spoil, reason, places, monkeypatch):
    need_room, mkdtemp = scratch._need_room, tempfile.mkdtemp

    def room(file):
        if (file.parent.parent / "is full").exists():
            raise OSError(28, "No space left on device")
        need_room(file)

    def make(prefix, dir):
        if Path(dir, "is read-only").exists():
            raise PermissionError(13, "Permission denied")
        return mkdtemp(prefix=prefix, dir=dir)

    monkeypatch.setattr(scratch, "_need_room", room)
    monkeypatch.setattr(tempfile, "mkdtemp", make)
    spoil(places[0])
    own = Scratch()
    assert own.path.parent == places[1]
    (passed,) = own.passed_over
    assert (passed.variable, passed.reason) == ("TMPDIR", reason)
    own.remove()
    assert not places[0].is_dir() or not list(places[0].rglob("rdbench*"))
    missing(places[1])
    with pytest.raises(StorageError, match=f"TMPDIR=.*{reason}, .*2: No such file.* at most 24 bytes"):
        Scratch()


def test_the_longest_path_that_is_said_to_do_does(places, monkeypatch):
    for length, does in ((24, True), (25, False)):
        place = places[0] / ("x" * (length - len(os.fsencode(places[0])) - 1))
        place.mkdir()
        monkeypatch.setenv("TMPDIR", str(place))
        with Scratch() as folder:
            assert (folder.parent == place) == does


HOLD = (
    "import sys; from rdbench.storage.scratch import Scratch; own = Scratch(); print(own.path, flush=True); "
)


def hold(then):
    """A process that owns a folder, and the folder."""
    command = [sys.executable, "-c", HOLD + then]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def end(*processes):
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_what_a_killed_process_leaves_is_swept_up_by_the_next(places, monkeypatch):
    alive, theirs = hold("sys.stdin.read()")
    killed, left = hold("sys.stdin.read()")
    heir = "import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'], pass_fds=[own.fileno()])"
    parent, inherited = hold(f"{heir}; sys.stdin.read()")
    time.sleep(0.5)  # until the heir has started
    killed.kill()
    parent.kill()
    killed.wait()
    parent.wait()
    monkeypatch.setenv("TMPDIR", str(places[1]))
    monkeypatch.setattr(scratch, "USUAL", tuple(map(str, places)))
    with Scratch():
        assert not left.exists()
        assert theirs.exists(), "it is in use"
        assert inherited.exists(), "it is in use by a child of its dead owner"
    end(alive, killed, parent)


def test_nothing_else_is_swept_up(places, monkeypatch):
    folders = {name: places[0] / f"rdbench-{name}" for name in ("results", "elsewhere", "dead")}
    for folder in folders.values():
        folder.mkdir()
    (folders["elsewhere"] / LOCK).write_text("another machine")
    (folders["dead"] / LOCK).write_text(platform.node())
    (places[0] / "dead").mkdir()
    (places[0] / "dead" / LOCK).write_text(platform.node())
    (places[0] / "rdbench-link").symlink_to(places[0] / "dead")
    before = set(places[0].iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: 12345)
        Scratch().remove()
        assert set(places[0].iterdir()) == before, "of another user"
    Scratch().remove()
    assert set(places[0].iterdir()) == before - {folders["dead"]}


def test_what_ends_by_an_exception_or_exit_leaves_nothing(places):
    for then in ("raise SystemExit(3)", "raise KeyboardInterrupt", "1 / 0", "pass"):
        process, folder = hold(then)
        process.wait()
        assert not folder.exists()
        end(process)


def raises(*arguments):
    raise OSError(39, "Directory not empty")


def test_what_resists_removal_is_swept_up_later(places, monkeypatch):
    own = Scratch()
    (own.path / "folder").mkdir()
    (own.path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", raises)
        own.remove()
    assert (own.path / "folder").exists()
    rmdir = Path.rmdir
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rmdir", lambda path: raises() if path == own.path else rmdir(path))
        Scratch().remove()
    assert [file.name for file in own.path.iterdir()] == [LOCK]
    Scratch().remove()
    assert not own.path.exists()
