"""The verbs about variants: exit codes, one clear line for a mistake, and next steps that run as printed."""

import itertools
import shlex
from pathlib import Path

import pytest

from rdbench.commands import new
from rdbench.errors import UserError
from rdbench.spec.sweep import load_sweep

ROOT = Path(__file__).parents[2]


def test_a_fault_of_the_authors_is_a_line_and_exit_code_1(rdbench, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # a file below the working directory is named as seen from there
    file = tmp_path / "mine.py"
    file.write_text("import rdbench\n1 / 0\n\n@rdbench.variant('mine')\ndef mine(sse, rate, beta, n): ...\n")
    code, out, err = rdbench("check", f"{file}:mine")
    assert (code, err) == (1, "")
    assert out.splitlines()[1:] == [
        f"FAIL  imports: {file}:2: ZeroDivisionError: division by zero",
        "mine fails 1 of 2 checks",
    ]
    code, out, _ = rdbench("check", f"{file}:mine", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last)" in out


def test_a_mistake_of_the_users_is_a_line_and_exit_code_2(rdbench):
    for arguments in (["bs_va"], ["bs_vae", "--set", "gamma=1"], ["bs_vae", "--device", "tpu"]):
        code, out, err = rdbench("check", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["objective", "model", "trial"])
def test_the_next_steps_are_commands_that_run(kind, rdbench, tmp_path, monkeypatch):
    """From the folder of the file, whatever its name; the sweep is that which ships."""
    monkeypatch.chdir(tmp_path)
    for file, name in (("my_vae.py", "my_vae"), ("my [vae], 2.py", "other")):
        code, out, _ = rdbench("new", "variant", file, "--kind", kind, "--name", name)
        assert code == 0
        check, sweep, report = (shlex.split(line) for line in out.splitlines()[1:])
        assert check == ["rdbench", "check", f"./{file}:{name}"]
        assert report[:3] == ["rdbench", "report", sweep[sweep.index("--results") + 1]]
        overrides = [value for flag, value in itertools.pairwise(sweep) if flag == "--set"]
        wanted = load_sweep(sweep[2], overrides)
        assert [each.name for each in wanted.variants] == ["bs_vae", name]
        assert wanted.dataset.name == "digits"


def test_the_sweep_is_named_as_from_anywhere():
    sweep = new.next_steps(Path("my_vae.py"), "my_vae")[1]
    assert sweep.startswith("rdbench sweep quickstart --set 'variants=[bs_vae, ./my_vae.py:my_vae]'")


def test_a_file_that_is_there_is_left_alone(rdbench, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("my work")
    code, out, err = rdbench("new", "variant", file)
    assert (code, out, file.read_text()) == (2, "", "my work")
    assert err == f"error: {file} is there already and is left as it is; give another file name\n"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("my-vae.py", "--name my_vae"),
        ("class.py", "--name vae_class"),
        ("bs_vae.py", "there is a variant named bs_vae already"),
        ("math.py", "uses the name math itself"),
        ("mine.txt", "write mine.py"),
        ("nowhere/mine.py", "cannot be written"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_the_mend(file, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        new.write(Path(file), "objective")
    assert list(tmp_path.iterdir()) == []
