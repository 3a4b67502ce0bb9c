"""A file that a user names as output stays what it is: a link, a device, a pipe, a mounted file."""

import errno
import os
import stat
import threading

import pytest
from report_builders import make_sweep, write
from typer.testing import CliRunner

from rdbench.cli.app import app
from rdbench.errors import ResultsError, StorageError, UserError
from rdbench.report import make_report
from rdbench.report.export import export
from rdbench.storage import outputs
from rdbench.storage.outputs import STANDARD_OUTPUT, output, output_folder, write_output


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return write(tmp_path_factory.mktemp("results") / "a", make_sweep())


@pytest.fixture
def rdbench(results):
    """Run a verb that writes what a user names, as ``--out``."""
    verbs = {
        "report": ["report", results],
        "compare": ["compare", results, results, "--format", "json"],
        "compare text": ["compare", results, results, "--format", "text"],
    }

    def run(verb, out):
        return CliRunner().invoke(app, [*map(str, verbs[verb]), f"--out={out}"])

    return run


VERBS = pytest.mark.parametrize("verb", ["report", "compare", "compare text"])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def device(path, number):
    """Make a character device that is nobody else's: 3 takes everything, 7 is always full."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, number))
        path.open("wb").close()
    except OSError:
        pytest.skip("no device can be made here")
    return path


def pipe(path):
    """Make a named pipe; what is read from it."""
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    return reader, read


@VERBS
def test_a_device_is_written_to_and_stays_one(rdbench, verb, tmp_path):
    out = device(tmp_path / "null", 3)
    assert rdbench(verb, out).exit_code == 0
    assert stat.S_ISCHR(out.stat().st_mode)
    assert names(tmp_path) == ["null"]  # nothing was made beside it


def test_a_full_device_is_one_line(rdbench, tmp_path):
    out = device(tmp_path / "full", 7)
    found = rdbench("compare", out)
    assert isinstance(found.exception, StorageError)
    assert f"{out}: cannot be written (No space left on device)" in str(found.exception)
    assert stat.S_ISCHR(out.stat().st_mode)


@VERBS
def test_a_named_pipe_is_written_to_and_stays_one(rdbench, verb, tmp_path):
    reader, read = pipe(tmp_path / "pipe")
    assert rdbench(verb, tmp_path / "pipe").exit_code == 0
    reader.join(10)
    assert len(read[0]) > 500
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@VERBS
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(rdbench, verb, there, tmp_path):
    (tmp_path / "far").mkdir()
    target, link, second = tmp_path / "far" / "target", tmp_path / "link", tmp_path / "second"
    if there:
        target.write_text("old")
    link.symlink_to("far/target")
    second.symlink_to("link")
    assert rdbench(verb, second).exit_code == 0
    assert link.is_symlink()
    assert second.is_symlink()
    assert target.stat().st_size > 500


def test_the_page_of_a_results_folder_and_files_for_a_paper_may_be_links_too(results, tmp_path):
    """Whoever serves a page links to it once."""
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "report.html").symlink_to("old.html")
    make_report([results], tmp_path / "report.html")
    assert (tmp_path / "report.html").is_symlink()
    assert "<html" in (tmp_path / "old.html").read_text()

    (tmp_path / "paper").mkdir()
    (tmp_path / "figures").symlink_to("paper")
    (tmp_path / "paper" / "report.json").symlink_to("../data.json")
    export([results], tmp_path / "figures", ["json"])
    assert (tmp_path / "figures").is_symlink()
    assert (tmp_path / "paper" / "report.json").is_symlink()
    assert (tmp_path / "data.json").stat().st_size > 500


def test_a_dash_is_standard_output_and_everything_else_goes_to_standard_error(rdbench, results, tmp_path):
    page = rdbench("report", "-")
    assert page.stdout.startswith("<!doctype html>")
    assert page.stdout.rstrip().endswith("</html>")
    assert page.stderr == "report written to /dev/stdout\n"
    assert "--out -<" in page.stdout
    bare = CliRunner().invoke(app, ["compare", str(results), str(results), "--format", "json"])
    assert rdbench("compare", "-").stdout == bare.stdout
    assert rdbench("compare", "/dev/stdout").stdout == bare.stdout
    assert "written to" in rdbench("compare", "-").stderr

    started = CliRunner().invoke(app, ["new", "variant", "-", "--name", "mine"])
    compile(started.stdout, "mine.py", "exec")
    assert '@rdbench.variant("mine"' in started.stdout
    assert "mine.py:mine" in started.stdout


def test_several_files_do_not_fit_on_standard_output(results):
    found = CliRunner().invoke(app, ["report", str(results), "--format", "svg", "--out", "-"])
    assert "name a folder" in str(found.exception)
    assert found.exception.exit_code == 2


def test_standard_output_that_is_a_file_is_not_replaced_under_the_shell(tmp_path, capfd):
    """``--out /dev/stdout > file``: the file that the shell has opened gets the content, once."""
    assert outputs.is_standard_output(tmp_path / "nothing") is False
    handle = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    kept = os.dup(1)
    try:
        os.dup2(handle, 1)
        assert outputs.is_standard_output(tmp_path / "file")
        assert outputs.is_standard_output(STANDARD_OUTPUT)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(handle)


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("folder", "cannot be written (it is a folder); name a file in it"),
        ("to_folder", "cannot be written (it is a folder); name a file in it"),
        ("new/", "cannot be written (it is a folder); name a file in it"),
        ("typo/page.html", "typo); make it, or fix the path"),
        ("dangling", "nowhere); make it, or fix the path"),
        ("", "a path is empty"),
        ("s3://bucket", "cannot be written (it is a folder); name a file in it"),
        ("s3://bucket/prefix/", "cannot be written (it is a folder); name a file in it"),
        ("file://elsewhere/x", "names the machine 'elsewhere'"),
    ],
)
@VERBS
def test_what_cannot_be_written_is_one_line_before_anything_is_read(
    rdbench, verb, out, says, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "to_folder").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere/x")
    there = sorted(tmp_path.rglob("*"))
    found = rdbench(verb, out)
    assert isinstance(found.exception, UserError), found.output
    assert says in str(found.exception)
    assert "\n" not in str(found.exception)
    assert found.exception.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == there


def test_a_folder_for_files_is_made_but_not_the_one_it_lies_in(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert output_folder(tmp_path / "new") == tmp_path / "new"
    for name, says in (("typo/new", "typo"), ("file", "it is no folder"), ("dangling", "it is no folder")):
        with pytest.raises(ResultsError, match=says):
            output_folder(tmp_path / name)


def test_a_disk_is_no_file(tmp_path):
    try:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(250, 250))
    except OSError:
        pytest.skip("no device can be made here")
    with pytest.raises(ResultsError, match="it is a disk"):
        output(tmp_path / "disk")


def test_a_file_keeps_its_rights(tmp_path):
    (tmp_path / "page").write_text("old")
    (tmp_path / "page").chmod(0o640)
    write_output(tmp_path / "page", "new")
    assert (tmp_path / "page").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o640


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES])
def test_a_file_that_cannot_be_replaced_is_written_in_place(number, tmp_path, monkeypatch):
    """One that a container has mounted, or that lies in a folder of somebody else."""
    out = tmp_path / "page"
    out.write_text("old and longer")
    before = out.stat().st_ino

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    write_output(out, "new")
    assert (out.read_text(), out.stat().st_ino) == ("new", before)
    with pytest.raises(StorageError, match="cannot be written"):
        write_output(tmp_path / "other", "new")
    assert names(tmp_path) == ["page"]


def test_a_new_variant_is_written_through_no_link_and_over_no_pipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.py")
    (tmp_path / "link.py").symlink_to("nothing.py")
    for name in ("pipe.py", "link.py"):
        found = CliRunner().invoke(app, ["new", "variant", name])
        assert f"{name} is there already and is left as it is" in str(found.exception)
    found = CliRunner().invoke(app, ["new", "variant", "typo/mine.py"])
    assert "there is no folder" in str(found.exception)
    assert names(tmp_path) == ["link.py", "pipe.py"]


def test_text_with_the_name_of_a_file_that_is_none_is_written(tmp_path):
    write_output(tmp_path / "x", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "x").read_bytes() == rb"caf\udce9"


def test_another_link_to_a_file_and_its_owner_stay(tmp_path):
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    page.write_text("old")
    os.link(page, other)
    write_output(page, "new")
    assert other.read_text() == "new"
    if os.geteuid() == 0:
        other.unlink()
        os.chown(page, 12345, 12345)
        write_output(page, "newer")
        assert (page.read_text(), page.stat().st_uid) == ("newer", 12345)
