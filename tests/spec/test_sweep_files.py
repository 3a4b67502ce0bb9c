"""Where a sweep file's text may come from, and what it may leave unsaid: merges, anchors, odd bytes."""

import io
import os
import pty
import sys
from pathlib import Path

import pytest
from malformed import GOOD
from typer.testing import CliRunner

from rdbench.cli import app
from rdbench.cli.options import _names
from rdbench.errors import SpecError
from rdbench.spec import sweep_files
from rdbench.spec.plan import plan
from rdbench.spec.sweep import TrainSpec, dump_sweep, load_sweep

ANCHORS = """\
x-base: &base {epochs: 3, lr: 0.5}
x-long: &long
  epochs: 9
  batch_size: 7
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a sweep from text or bytes, as sweep.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def load_text(text, *overrides):
        Path("sweep.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_sweep(Path("sweep.yaml"), overrides)

    return load_text


def problem(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    assert str(caught.value).isprintable(), "an error is one line"
    return str(caught.value)


# Merges and anchors


@pytest.mark.parametrize(
    ("train", "meant"),
    [
        ("{<<: *base}", TrainSpec(epochs=3, lr=0.5)),
        ("{<<: *base, epochs: 4}", TrainSpec(epochs=4, lr=0.5)),
        ("{epochs: 4, <<: *base}", TrainSpec(epochs=4, lr=0.5)),
        ("{<<: [*base, *long]}", TrainSpec(epochs=3, lr=0.5, batch_size=7)),
        ("{<<: [*long, *base], lr: 1}", TrainSpec(epochs=9, lr=1.0, batch_size=7)),
        ("{<<: {lr: 2}, epochs: 4}", TrainSpec(epochs=4, lr=2.0)),
        ("*base", TrainSpec(epochs=3, lr=0.5)),
    ],
)
def test_a_key_of_its_own_goes_before_a_merged_one_and_the_first_merged_one_before_others(load, train, meant):
    assert load(f"{ANCHORS}{GOOD}train: {train}\n").train == meant


def test_a_merge_may_merge_what_merges(load):
    text = f"{ANCHORS}x-more: &more {{<<: *base, weight_decay: 0}}\n{GOOD}train: {{<<: *more, epochs: 1}}\n"
    assert load(text).train == TrainSpec(epochs=1, lr=0.5, weight_decay=0.0)


def test_an_override_may_merge_and_reaches_into_what_was_merged(load):
    text = f"{ANCHORS}{GOOD}train: {{<<: *base}}\n"
    assert load(text, "train.epochs=8").train == TrainSpec(epochs=8, lr=0.5)
    assert load(text, "train={<<: {epochs: 2}, lr: 1}").train == TrainSpec(epochs=2, lr=1.0)


def test_a_sweep_that_merges_is_that_which_writes_all_out_and_is_saved_so(load):
    merged = load(f"{ANCHORS}{GOOD}train: {{<<: *base}}\n")
    assert merged == load(f"{GOOD}train: {{epochs: 3, lr: 0.5}}\n")
    saved = dump_sweep(merged)
    assert not [word for word in ("x-", "<<", "&", "*") if word in saved]
    assert load(saved) == merged


@pytest.mark.parametrize("override", ["x-base.epochs=2", "x-new=2", " x-base={}"])
def test_an_anchor_cannot_be_overridden(load, override):
    message = problem(load, f"{ANCHORS}{GOOD}train: {{<<: *base}}\n", override)
    assert message.startswith(f"--set {override}: x-")
    assert "only holds anchors" in message
    assert "such as --set train.epochs=2" in message


@pytest.mark.parametrize(
    "bomb",
    [
        "x-0: &a0 {k: 1}\n" + "".join(f"x-{i}: &a{i} {{a: *a{i - 1}, b: *a{i - 1}}}\n" for i in range(1, 30)),
        "x-0: &a0 {"
        + "".join(f"k{i}: 1, " for i in range(1000))
        + "}\nx-1: ["
        + "{<<: *a0}, " * 1000
        + "]\n",
        "x-0: &a0 {"
        + "".join(f"k{i}: 1, " for i in range(1000))
        + "}\nx-1: {<<: ["
        + "*a0, " * 1000
        + "]}\n",
    ],
    ids=["aliases", "merges", "a list of merges"],
)
def test_aliases_and_merges_cannot_blow_a_small_file_up(load, bomb):
    assert "holds more than 50,000 values; use fewer aliases" in problem(load, bomb + GOOD)


# What editors and shells do to a file


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        f"---\n{GOOD}...\n".encode(),
        f"%YAML 1.2\n---\n{GOOD}".encode(),
        GOOD.rstrip("\n").encode(),
    ],
    ids=["byte order mark", "CRLF", "document marks", "directive", "no newline at the end"],
)
def test_what_an_editor_adds_changes_nothing(load, content):
    assert load(content) == load(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "sweep.yaml:1: is not UTF-8 text; save the file as UTF-8"),
        ((GOOD + "seeds: 0\n").replace("\n", "\r\n").encode(), "sweep.yaml:5: seeds: 0 seeds are out"),
        (b"\xef\xbb\xbf\r\n", "sweep.yaml:1: the file is empty; write name"),
        (f"---\n{GOOD}---\n".encode(), "sweep.yaml:6: a second document starts here; keep one a file"),
        (b"\0" * 10, "sweep.yaml:1: holds a character that YAML does not allow; remove it"),
    ],
)
def test_what_an_editor_breaks_is_one_line(load, content, message):
    assert problem(load, content).startswith(message)


# Standard input


@pytest.fixture
def piped(tmp_path, monkeypatch):
    """Have a text on standard input, and an empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)

    def pipe(text):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return Path("-")

    return pipe


def ids(sweep):
    return [trial.id for trial in plan(sweep).trials]


def test_a_sweep_that_is_piped_in_is_the_one_in_the_file(piped, load):
    assert ids(load_sweep(piped(GOOD), ["seeds=2"])) == ids(load(GOOD, "seeds=2"))


def test_a_mistake_in_what_is_piped_in_is_named_by_its_line(piped):
    message = problem(load_sweep, piped(GOOD + "train: {epoch: 1}\n"))
    assert message == "standard input:5: train.epoch: unknown key; did you mean 'epochs'?"


def test_no_more_is_read_from_a_pipe_than_a_sweep_may_hold(piped):
    path = piped("y\n" * 2_000_000)
    assert problem(load_sweep, path) == "standard input: is larger than 1 MB; name a sweep file"
    assert sys.stdin.buffer.read(1)


def test_a_variant_beside_a_sweep_that_is_piped_in_lies_in_the_working_directory(piped):
    objective = "import rdbench\n\n@rdbench.variant('mine')\ndef mine(sse, rate, beta, n):\n    return sse\n"
    Path("mine.py").write_text(objective)
    (variant,) = load_sweep(piped(GOOD), ["variants=[mine.py:mine]"]).variants
    assert variant.source == f"{Path('mine.py').resolve()}:mine"


@pytest.mark.parametrize("verb", [["sweep"], ["bench"], ["trial"], ["doctor"]])
def test_nothing_on_standard_input_is_one_line_for_every_verb_that_takes_a_sweep(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app.app, [*verb, "-"], input="")
    message = "standard input: is empty; pipe a sweep file in, as in 'rdbench sweep - < sweep.yaml'"
    if verb == ["doctor"]:  # a row among its others
        assert "standard input: is empty" in " ".join(done.output.split())
        assert done.exit_code == 1
    else:
        assert isinstance(done.exception, SpecError)
        assert str(done.exception) == message
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_or_a_closed_standard_input_is_not_waited_for(piped, monkeypatch):
    controller, terminal = pty.openpty()
    with os.fdopen(terminal) as keyboard, os.fdopen(controller):
        monkeypatch.setattr(sys, "stdin", keyboard)
        assert "standard input: is a terminal; pipe a sweep file in" in problem(load_sweep, Path("-"))
    assert "standard input: is closed; pipe" in problem(load_sweep, Path("-"))
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it where there was none from the start
    assert "standard input: is closed; pipe" in problem(load_sweep, Path("-"))


# Sweeps that ship


SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_sweep_that_ships_is_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_sweep(Path(name)).name == name
    assert list(sweep_files.shipped()) == SHIPPED


def test_an_installed_package_has_them_in_its_own_folder(tmp_path, monkeypatch):
    package = tmp_path / "rdbench"
    (package / "sweeps").mkdir(parents=True)
    (package / "sweeps" / "tiny.yaml").write_text(GOOD)
    monkeypatch.setattr(sweep_files, "__file__", str(package / "spec" / "sweep_files.py"))
    monkeypatch.chdir(tmp_path)
    assert load_sweep(Path("tiny")).name == "try"


def test_a_file_here_goes_before_a_sweep_that_ships_and_a_folder_does_not(load):
    Path("quickstart").mkdir()
    assert load_sweep(Path("quickstart")).name == "quickstart"
    Path("quickstart.yaml").write_text(GOOD)
    assert load_sweep(Path("quickstart")).name == "try"
    Path("quickstart").rmdir()
    Path("quickstart").write_text(GOOD.replace("try", "nearer"))
    assert load_sweep(Path("quickstart")).name == "nearer"


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("quikstart", "and no sweep of that name ships with rdbench; did you mean 'quickstart'?"),
        (
            "sweep",
            "ships with rdbench; check the path, or choose from celeba_rd, celeba_table1, digits_ais",
        ),
        (
            "sweeps/quickstart.yaml",
            "there is no such file; did you mean 'quickstart', which ships with rdbench?",
        ),
        ("celeba_rd.yaml", "there is no such file; did you mean 'celeba_rd', which ships with rdbench?"),
        ("mien", "ships with rdbench; did you mean 'mine'?"),
        ("other.yaml", "other.yaml: there is no such file; check the path"),
        ("x" * 300, "cannot be read: File name too long; check the path and its permissions"),
    ],
)
def test_a_name_that_is_no_sweep_is_one_line_with_those_there_are(given, fix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(GOOD)
    message = problem(load_sweep, Path(given))
    assert message.startswith(given)
    assert fix in message
    assert message.count(";") == 1


def test_a_shell_completes_the_names_beside_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quick.yaml").touch()
    assert _names("qui") == ["quick.yaml", "quickstart"]
    assert _names("") == _names("x") == []  # where it has nothing to add, the shell offers its files


@pytest.mark.parametrize("verb", ["sweep", "trial", "bench", "doctor"])
def test_an_address_keeps_both_slashes(verb):
    done = CliRunner().invoke(app.app, [verb, "s3:/bucket/x.yaml"])
    assert "write both slashes" in f"{done.exception}{done.output}"
    for address in ("ftp://host/x.yaml", "s3://user:secret@bucket/x.yaml"):
        done = CliRunner().invoke(app.app, [verb, address])
        said = f"{done.exception}{done.output}"
        assert "write both slashes" not in said
        assert "no kind of storage" in said or "must not hold credentials" in said
