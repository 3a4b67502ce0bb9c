"""Verbs in surroundings that other people's machines have: ``tools/surroundings.py`` in short."""

import functools
import os
import shutil
import subprocess
import sys

import pytest
import surroundings
import torch

from rdbench import datasets
from rdbench.cli import streams
from rdbench.commands.new import write
from rdbench.report import make_report
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.spec.sweep import load_sweep
from rdbench.storage.paths import cache_root
from rdbench.trial.run import run_trial


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What a verb is run in a copy of, a cache, and a folder for the copies."""
    base = tmp_path_factory.mktemp("surroundings")
    for folder in (base, *base.parents[:3]):  # for a user of another name
        folder.chmod(folder.stat().st_mode | 0o055)
    template = base / "template"
    template.mkdir()
    (template / "tiny.yaml").write_text(surroundings.SPEC.replace("keep_weights: true", ""), "utf-8")
    write(template / "mine.py", "objective", None)
    sweep = load_sweep(template / "tiny.yaml")
    data = datasets.load(sweep.dataset, base)
    for trial in plan(sweep).trials:
        tables = run_trial(trial, data, torch.device("cpu"))
        for name in ("a", "b"):
            ResultsFolder(template / name).commit(trial.id, tables)
    for name in ("a", "b"):
        ResultsFolder(template / name).save_sweep(sweep)
    # Charts are compiled where nothing is cached, for seconds: in the surroundings that have no cache.
    make_report([template / "a"], base / "report.html")
    shutil.copytree(cache_root() / "report", base / "cache" / "report")
    return template, base / "cache", base


interpreter = functools.cache(surroundings.interpreter)  # it tries whether the user can start one
VERBS = {
    **surroundings.VERBS,
    "sweep, done": surroundings.Verb("sweep tiny.yaml --results a", output=False),
    "compare as JSON": surroundings.Verb("compare a b --format json"),
}


@pytest.mark.parametrize(
    ("verb", "around"),
    [
        ("status", "no home"),
        ("compare", "no home"),
        ("report", "no home"),
        ("sweep --dry-run", "no home"),
        ("data prepare", "no home"),
        ("status", "locked home"),
        ("sweep --dry-run", "another's home"),
        ("data prepare", "another's home"),
        ("data list", "another's home"),
        ("weights", "another's home"),
        ("compare", "latin-1"),
        ("sweep, done", "latin-1"),
        ("compare", "ascii"),
        ("status", "closed stdout"),
        ("sweep, done", "closed stdout"),
        ("new", "all closed"),
        ("compare", "full stdout"),
        ("compare --out", "full stdout"),
        ("sweep, done", "full stdout"),
        ("new", "all full"),
        ("new, printed", "full stdout"),
        ("new, printed", "reader gone"),
        ("compare, a device", "full stdout"),
        ("variants", "reader gone"),
        ("sweep, done", "reader gone"),
        ("compact", "reader gone"),
        ("status", "folder not UTF-8"),
        ("report", "folder not UTF-8"),
        ("sweep, done", "folder not UTF-8"),
        ("status", "locked results"),
        ("sweep --dry-run", "locked results"),
    ],
)
def test_a_verb_ends_as_it_should(prepared, verb, around):
    template, cache, base = prepared
    there = surroundings.surroundings(base, [])[around]
    python = interpreter(there.nobody)
    ended = surroundings.run(VERBS[verb], there, base, template, cache, python)
    assert ended.problems == [], ended.err
    if due := {"data prepare": "set RDBENCH_CACHE", "compare": surroundings.SHORT}.get(verb):
        assert (due in ended.err) == (ended.code != 0)
    assert len(ended.err.splitlines()) <= 1


def test_a_user_without_a_home_may_start_ray():
    """Part of Ray's Tune looks for it when it is imported."""
    code = f"{surroundings.NO_ACCOUNT}import os, rdbench.tune.driver; print(os.environ['HOME'])"
    environment = {name: value for name, value in os.environ.items() if name not in surroundings.NO_NAME}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "/nonexistent\n"), done.stderr


LOSE = """
import logging, os, sys, warnings
from rdbench.cli import streams
streams.prepare()
{first}
import typer
from rich.console import Console
for line in range(3):
    typer.echo("echo")
    typer.echo("echo", err=True)
    Console().print("rich \\u03c3")
    warnings.warn(f"warning {{line}}")
    logging.getLogger("any").warning("logging \\u03c3")
print("print" * 10_000)
with open(sys.argv[1], "w") as file:  # noqa
    file.write("went on" if file.fileno() > 2 else "took the place of a standard stream")
"""


@pytest.mark.parametrize("redirect", [">&- 2>&- <&-", ">/dev/full 2>/dev/full", "| true"])
def test_work_goes_on_in_silence_whatever_prints(tmp_path, redirect):
    code = LOSE.format(first="streams.go_on_without_output()")
    command = f'{{ "$0" -c "$1" "$2"; echo $? >"$3"; }} {redirect}'
    told, code_file = tmp_path / "told", tmp_path / "code"
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, code, str(told), str(code_file)], capture_output=True, text=True
    )
    assert told.read_text() == "went on"
    assert code_file.read_text() == "0\n"
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_letters_that_an_encoding_lacks_are_escaped(tmp_path):
    code = "from rdbench.cli import streams; streams.prepare(); import rich; rich.print('\\u03c3 caf\\udce9')"
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout == rb"\u03c3 caf\udce9" + b"\n"


def test_streams_that_somebody_else_put_there_are_left_alone(capsys):
    before = sys.stdout, sys.stderr
    streams.prepare()
    assert (sys.stdout, sys.stderr) == before


def test_a_reader_that_does_not_keep_up_is_waited_for(tmp_path):
    """A pipe that does not block, as those of some terminals and of node.js."""
    code = (
        "import os; os.set_blocking(1, False); from rdbench.cli import streams; streams.prepare(); "
        "import typer; typer.echo('x' * 1_000_000)"
    )
    command = '"$0" -c "$1" | { sleep 1; wc -c; }'
    done = subprocess.run(["sh", "-c", command, sys.executable, code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("1000001", "")
