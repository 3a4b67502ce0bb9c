"""rdbench doctor says what is wrong with a machine and how to fix it, and breaks on nothing."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections import namedtuple
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from rdbench.cli.machine import doctor as verb
from rdbench.commands import doctor
from rdbench.commands.doctor import folders, machine, settings, software, wanted
from rdbench.commands.doctor.finding import Finding
from rdbench.errors import DatasetError
from rdbench.metrics.features import weights as inception
from rdbench.storage import places

app = typer.Typer()
app.command()(verb)

Usage = namedtuple("Usage", "total used free")
GIGABYTE = 2**30


def states(found):
    return [each.state for each in found]


def only(found):
    (row,) = found
    return row


def raises(error):
    def function(*arguments, **options):
        raise error

    return function


@pytest.fixture
def room(monkeypatch):
    """Disks with as much room as the test says, whatever this machine has."""

    def set_to(free, total=100 * GIGABYTE):
        monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(total, total - free, free))

    set_to(50 * GIGABYTE)
    return set_to


# The table.


@pytest.mark.parametrize("error", [RuntimeError("no driver"), SystemExit("left"), KeyError("x")])
def test_a_check_that_breaks_is_a_problem_and_costs_no_other(error, monkeypatch):
    monkeypatch.setattr(machine, "memory", raises(error))
    monkeypatch.setattr(software, "packages", lambda: [])
    found = list(doctor.examine())
    broken = only([each for each in found if each.what == "memory"])
    assert broken.state == "problem"
    assert broken.found.startswith(f"{type(error).__name__}: ")
    assert any(each.what == "open files" for each in found)


def test_a_mistake_of_the_users_is_told_with_its_mend(monkeypatch):
    monkeypatch.setattr(folders, "data", raises(DatasetError("no folder x; make it")))
    monkeypatch.setattr(software, "packages", lambda: [])
    row = only([each for each in doctor.examine() if each.what == "data"])
    assert row == Finding("data", "no folder x", "problem", "make it")


HOSTILE = [
    "x" * 100_000,
    "\x1b[2Jescape\rreturn\nline\x00null",
    "[bold]markup[/bold] [/nonsense]",
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{FULLWIDTH LATIN CAPITAL LETTER A}\U0001f600" * 50,
    os.fsdecode(b"\xff\xfe"),
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_value_breaks_its_line(text):
    shown = doctor.line(Finding(text, text, "problem", text))
    assert shown.isprintable()
    assert shown.startswith("problem: ")
    assert len(shown) < 2_000
    assert doctor.summary([Finding(text, text, "problem", text), Finding("last", "one")])[0] == shown
    shown.encode()


def test_markup_in_a_value_is_shown_as_it_is():
    found = doctor.line(Finding("what", "[bold]x[/bold] :smile:", "note", "leave it"))
    assert found == "note:    what: [bold]x[/bold] :smile:; leave it"


def test_the_end_names_each_problem_and_counts():
    rows = [Finding("a", "is gone", "problem", "put it back"), Finding("b", "odd", "note"), Finding("c", "")]
    assert doctor.summary(rows) == [
        "problem: a: is gone; put it back",
        "1 problem, 1 note, 3 checks",
    ]


@pytest.fixture
def two_rows(monkeypatch):
    """A machine with one problem, unless told otherwise; what is asked of ``examine`` is kept."""
    asked = {}

    def examine(spec, data, results, overrides):
        asked.update(spec=spec, data=data, results=results, overrides=overrides)
        yield from asked.get("rows", [Finding("a", "x" * 1000, "problem", "m"), Finding("b", "2")])

    monkeypatch.setattr(doctor, "examine", examine)
    return asked


def test_the_verb_ends_with_1_where_something_is_a_problem_and_with_0_else(two_rows):
    assert CliRunner().invoke(app, []).exit_code == 1
    two_rows["rows"] = [Finding("a", "1"), Finding("b", "2", "note", "look")]
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "0 problems, 1 note, 2 checks"


def test_the_verb_passes_on_what_it_is_asked(two_rows):
    CliRunner().invoke(app, ["--set", "seeds=1", "--results", "s3://b/p"])
    assert two_rows["results"] == "s3://b/p"
    assert two_rows["overrides"] == ["seeds=1"]


def test_it_starts_without_torch_or_ray():
    heavy = "{'torch', 'ray', 'rich'} & set(sys.modules)"
    code = f"import sys, rdbench.cli.machine, rdbench.commands.doctor; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_this_machine_is_looked_at_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = list(doctor.examine(data=tmp_path / "no data", results="results"))
    failed = [each for each in found if "this check itself failed" in each.fix]
    assert failed == []
    assert {"Python", "torch", "processor", "memory", "cache", "data root", "results"} <= {
        each.what for each in found
    }
    assert list(tmp_path.iterdir()) == []


# Software.


def test_a_package_that_is_missing_broken_or_too_old_is_a_problem(monkeypatch):
    def version(name):
        if name == "ray":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"pyarrow": "3.0"}.get(name, "99")

    def load(name):
        if name == "torchvision":
            raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(software.importlib, "import_module", load)
    monkeypatch.setattr(software, "_requirements", lambda package: {"pyarrow": ">=17", "torch": ">=2.9"})
    found = {each.what: each for each in software.packages()}
    assert found["torch"].state == "ok"
    assert found["ray"].found == "not installed"
    assert found["torchvision"].found.startswith("99, but OSError: libcudart.so")
    assert found["pyarrow"] == Finding(
        "pyarrow", "3.0, and rdbench needs >=17", "problem", "uv sync, or pip install 'pyarrow>=17'"
    )


def test_a_torchvision_of_another_release_of_torch_is_a_problem(monkeypatch):
    assert states(software.torch_and_torchvision()) == ["ok"]
    monkeypatch.setattr(software, "_requirements", lambda package: {"torch": "==1.0"})
    row = only(software.torch_and_torchvision())
    assert (row.state, "torch ==1.0" in row.found) == ("problem", True)


# The machine.


def test_a_containers_limit_on_cores_is_told(control_groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    control_groups({"two/cpu.max": "350000 100000"})
    row = only(machine.processor())
    assert row.state == "ok"
    assert "; 3 of " in row.found
    assert row.found.endswith("cores may be used, as a container's limit leaves the time of 3.5")


def memory_of(monkeypatch, available):
    import psutil

    memory = types.SimpleNamespace(available=available, total=64 * GIGABYTE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    return only(machine.memory())


def test_memory_is_the_least_of_what_the_machine_and_the_container_leave(control_groups, monkeypatch):
    control_groups({})
    assert memory_of(monkeypatch, 60 * GIGABYTE).state == "ok"
    assert "--concurrency 4" in memory_of(monkeypatch, int(4.5 * GIGABYTE)).fix
    assert memory_of(monkeypatch, GIGABYTE // 2).state == "problem"
    control_groups({"two/job/memory.max": "max\n", "one/memory.limit_in_bytes": f"{2**63 - 4096}\n"})
    assert memory_of(monkeypatch, 60 * GIGABYTE).state == "ok"
    control_groups({"two/job/memory.max": f"{GIGABYTE // 2}\n"})
    row = memory_of(monkeypatch, 60 * GIGABYTE)
    assert (row.state, "limit is 512 MB" in row.found) == ("problem", True)


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory is a folder on Linux alone")
def test_the_64_megabytes_of_a_container_are_too_little_shared_memory(room):
    for free, state in ((64 * 2**20, "problem"), (200 * 2**20, "note"), (2 * GIGABYTE, "ok")):
        room(free)
        row = only(machine.shared_memory())
        assert row.state == state
        assert ("--shm-size" in row.fix) == (state != "ok")


def test_few_open_files_are_a_problem_by_the_limit_that_ray_can_raise_to(monkeypatch):
    resource = pytest.importorskip("resource")
    for limits, state in (((256, 512), "problem"), ((1024, 2048), "note"), ((512, 65536), "ok")):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limits=limits: limits)
        assert only(machine.open_files()).state == state
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, resource.RLIM_INFINITY))
    assert only(machine.open_files()).found == "1,024 at a time, may be raised to any number"


DRIVER = [["570.1", "NVIDIA H200", "Disabled"]]


def gpus_of(monkeypatch, *, driver=DRIVER, cuda="13.0", count=0, **properties):
    import torch

    about = types.SimpleNamespace(**({"name": "NVIDIA H200", "major": 9, "minor": 0} | properties))
    monkeypatch.setattr(machine, "_nvidia_smi", lambda: driver)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (100 * GIGABYTE, 139 * GIGABYTE))
    made = torch.full((64, 64), 1.0)
    monkeypatch.setattr(torch, "ones", lambda *size, device: made)
    return list(machine.gpus())


def test_without_a_gpu_trials_train_on_the_cpu(monkeypatch):
    assert only(gpus_of(monkeypatch, driver=[])).state == "ok"


def test_a_gpu_that_torch_cannot_use_is_a_problem_with_the_reason(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "built for the CPU" in only(gpus_of(monkeypatch, cuda=None)).found
    row = only(gpus_of(monkeypatch))
    assert (row.state, "driver for CUDA 13.0" in row.fix) == ("problem", True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert only(gpus_of(monkeypatch)).state == "note"


def test_each_gpu_is_computed_on_and_described(monkeypatch):
    first, second = gpus_of(monkeypatch, count=2)
    assert (first.what, second.what) == ("GPU 0", "GPU 1")
    assert first.state == "ok"
    for part in ("100.0 GB of 139.0 GB free", "capability 9.0", "CUDA 13.0, driver 570.1", "tf32: yes"):
        assert part in first.found
    assert "MIG" not in first.found
    assert "MIG" in only(gpus_of(monkeypatch, count=1, name="NVIDIA H200 MIG 1g.18gb")).found
    assert "tf32: no" in only(gpus_of(monkeypatch, count=1, major=7, minor=5)).found


def test_a_gpu_that_cannot_compute_is_a_problem(monkeypatch):
    import torch

    gpus_of(monkeypatch, count=1)
    monkeypatch.setattr(torch, "ones", raises(RuntimeError("CUDA error: no kernel image\nmore")))
    row = only(machine.gpus())
    assert (row.state, row.found) == ("problem", "NVIDIA H200: CUDA error: no kernel image")


# Folders.


def test_a_folder_is_tried_and_left_as_it_was(tmp_path, room):
    place = tmp_path / "a" / "b"
    row = folders.folder("cache", place, "mend")
    assert row == Finding("cache", f"{place} (to be made), 50.0 GB free")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_a_problem(tmp_path, room, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "is a file" in folders.folder("x", tmp_path / "file" / "deeper", "").found
    frozen = tmp_path / "frozen"
    frozen.mkdir(mode=0o555)
    assert "it is read-only" in folders.folder("x", frozen, "").found
    for free, state in ((GIGABYTE // 2, "problem"), (5 * GIGABYTE, "note"), (20 * GIGABYTE, "ok")):
        room(free)
        assert folders.folder("x", tmp_path, "mend").state == state
    monkeypatch.setattr(folders, "_try_to_write", raises(OSError(28, "No space left on device")))
    assert folders.folder("x", tmp_path, "mend").found.endswith("cannot be written: No space left on device")


@pytest.fixture
def short():
    """A folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="rd-", dir="/tmp") as folder:
        yield Path(folder)


def test_a_nearly_full_disk_for_temporary_files_is_told_since_ray_takes_it_for_full(short, room, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    row = only(folders.temporary_files())
    assert (row.state, row.found.startswith(f"{short}, ")) == ("ok", True)
    room(40 * GIGABYTE, total=1000 * GIGABYTE)
    row = only(folders.temporary_files())
    assert (row.state, "set TMPDIR" in row.fix) == ("note", True)


def test_a_folder_for_temporary_files_that_is_of_no_use_is_told_with_the_one_instead(
    short, tmp_path, monkeypatch
):
    long = tmp_path / "a path that is too long for a socket of Ray's"
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    monkeypatch.setenv("TMPDIR", str(short))
    used, note = folders.temporary_files()
    assert used.found.startswith(f"{short}, ")
    assert (note.state, note.found) == ("note", f"RAY_TMPDIR={long}: AF_UNIX path too long")
    assert note.fix.startswith(f"{short} is used instead; set RAY_TMPDIR to")


def test_weights_are_told_where_missing_and_are_a_problem_where_they_are_others(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    assert states(folders.weights()) == ["note", "note"]
    file = inception.target("clean")
    file.parent.mkdir()
    file.write_bytes(b"other")
    monkeypatch.setattr(software, "packages", lambda: [])
    row = only([each for each in doctor.examine() if each.what == "Inception weights"])
    assert (row.state, "run `rdbench weights`" in row.fix) == ("problem", True)


HOLDER = {"command": "rdbench sweep", "pid": 10**9, "host": "elsewhere", "since": "2026-11-23 05:30 UTC"}


def test_a_bucket_is_written_to_and_left_as_it_was(monkeypatch):
    kept = {}

    class Object:
        def __init__(self, name):
            self.name = name

        def __truediv__(self, name):
            return Object(f"{self.name}/{name}")

        def unlink(self, missing_ok):
            del kept[self.name]

        def read_text(self):
            raise FileNotFoundError(self.name)

    wrote = []
    monkeypatch.setattr(places, "place", Object)
    monkeypatch.setattr(
        places, "write_atomically", lambda at, text: wrote.append(at) or kept.update({at.name: 1})
    )
    assert only(folders.results("s3://bucket/prefix")).state == "ok"
    assert (wrote[0].name, kept) == ("s3://bucket/prefix/.rdbench-doctor", {})


@pytest.mark.parametrize("where", ["ftp://host/folder", "s3://"])
def test_an_address_that_is_none_is_a_line(where, monkeypatch):
    monkeypatch.setattr(software, "packages", lambda: [])
    row = only([each for each in doctor.examine(results=where) if each.what == "results"])
    assert row.state == "problem"
    assert "this check itself failed" not in row.fix


# The environment, and Ray.


@pytest.fixture
def bare(monkeypatch):
    """An environment with nothing in it that matters."""
    for name in list(os.environ):
        if settings.NAMES.fullmatch(name):
            monkeypatch.delenv(name)
    return monkeypatch


def test_variables_that_change_things_are_listed_and_secrets_are_not_shown(bare):
    assert only(settings.environment()).found == "no variable changes anything"
    bare.setenv("RDBENCH_DATA", "/data")
    bare.setenv("HTTPS_PROXY", "http://me:hunter2@proxy:3128")
    bare.setenv("RAY_AUTH_TOKEN", "hunter2")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    bare.setenv("AWS_ACCESS_KEY_ID", "hunter2")
    bare.setenv("NVIDIA_TF32_OVERRIDE", "1")
    bare.setenv("CUDA_VISIBLE_DEVICES", "")
    bare.setenv("EDITOR", "vi")
    found = {each.what: each for each in settings.environment()}
    assert "hunter2" not in str(found)
    assert found["RDBENCH_DATA"].found == "/data"
    assert found["HTTPS_PROXY"].found == "http://...@proxy:3128"
    assert found["RAY_AUTH_TOKEN"].found == "set"
    assert found["NVIDIA_TF32_OVERRIDE"].state == "note"
    assert found["CUDA_VISIBLE_DEVICES"].state == "ok"
    assert "EDITOR" not in found


def test_a_cluster_that_is_named_is_told(bare):
    bare.setenv("RAY_ADDRESS", "head:6379")
    (named,) = settings.environment()
    assert (named.found, named.state) == ("head:6379", "note")
    assert "--address auto" in named.fix


# What a sweep needs.


def examine_sweep(sweep_file, tmp_path, *overrides):
    found = list(wanted.sweep(sweep_file, overrides, tmp_path / "data", str(tmp_path / "results")))
    return {each.what: each for each in found}


def test_a_sweep_that_can_run_here_has_no_problem(sweep_file, tmp_path, room, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    found = examine_sweep(sweep_file, tmp_path, "metrics=[fd_classifier]")
    assert "problem" not in states(found.values())
    assert found["sweep"].found == "test: 2 trainings, 0 done"
    assert found["sweep: digits"].found == "raw data there, prepared when the sweep starts"
    assert found["sweep: metrics"].state == "note"
    assert not (tmp_path / "cache").exists()  # nothing is prepared by looking


def test_metrics_are_looked_at_once_the_data_are_prepared(sweep_file, tmp_path, room, data):
    found = examine_sweep(sweep_file, tmp_path, "metrics=[fid, fd_classifier]")
    assert found["sweep: digits"].found == "ready: 256 training and 100 test images"
    assert found["sweep: fd_classifier"].state == "ok"
    assert found["sweep: fid"].state == "problem"
    assert "rdbench weights" in found["sweep: fid"].fix


def test_data_that_are_missing_are_a_problem_unless_they_can_be_downloaded(
    sweep_file, tmp_path, room, monkeypatch
):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    assert examine_sweep(sweep_file, tmp_path, "dataset=celeba")["sweep: celeba"].state == "problem"
    row = examine_sweep(sweep_file, tmp_path, "dataset=mnist")["sweep: mnist"]
    assert (row.state, row.fix.startswith("a sweep tries to download them, or put")) == ("note", True)


def test_what_the_machine_has_not_got_is_a_problem(sweep_file, tmp_path, room, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = examine_sweep(
        sweep_file, tmp_path, "train.precision=tf32", "resources.gpus=2", "resources.cpus=9999"
    )
    assert found["sweep: precision"].state == "problem"
    assert found["sweep: resources"].state == "problem"
    found = examine_sweep(sweep_file, tmp_path, "train.precision=bf16", "resources.cpus=9999")
    assert found["sweep: precision"].state == "note"
    assert found["sweep: resources"].state == "note"


def test_a_mistake_in_the_sweep_file_or_a_folder_of_another_is_one_line(sweep_file, tmp_path, monkeypatch):
    monkeypatch.setattr(software, "packages", lambda: [])
    row = only([each for each in doctor.examine(sweep_file, overrides=["beta=[-1]"]) if each.what == "sweep"])
    assert (row.state, "beta" in row.found, row.found.count("\n")) == ("problem", True, 0)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    found = list(doctor.examine(sweep_file, results=str(other)))
    row = only([each for each in found if each.what == "sweep"])
    assert (row.state, row.fix) == ("problem", "give another --results folder")
