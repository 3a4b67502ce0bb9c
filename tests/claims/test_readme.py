"""What README and documentation say is so: commands that parse, sweeps that load, names that are there.

``tools/readme.py`` runs all of it, which takes a while.
"""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer
from readme import PAGES, README, of_page

from rdbench import datasets, metrics
from rdbench.cli import app
from rdbench.registry.source import shipped
from rdbench.spec.sweep import load_sweep

ROOT = README.parent
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = [block for page in PAGES for block in of_page(page)]
COMMANDS = [
    command
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
    for command in line.split(" && ")
    if "rdbench" in command
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    words = shlex.split(command)
    words = words[words.index("rdbench") + 1 :]
    verb = typer.main.get_command(app.app)
    while hasattr(verb, "commands"):
        verb, words = verb.commands[words[0]], words[1:]
    verb.make_context(verb.name, words)


def verbs(command, name=""):
    below = getattr(command, "commands", {})
    return [each for key in below for each in verbs(below[key], f"{name} {key}".strip())] or [(name, command)]


@pytest.mark.parametrize(("name", "verb"), verbs(typer.main.get_command(app.app)))
def test_every_verb_says_what_it_does_and_shows_an_example(name, verb):
    assert "Example" in verb.help
    assert f"rdbench {name}" in verb.help or name in ("variants", "metrics")


def test_no_summary_of_a_verb_is_cut_off_in_the_list_of_commands():
    main = typer.main.get_command(app.app)
    for group in (main, *(verb for verb in main.commands.values() if hasattr(verb, "commands"))):
        with typer.Context(group, info_name="rdbench", terminal_width=80) as context:
            listed = group.get_help(context)
        assert [line for line in listed.splitlines()[1:] if line.endswith("...")] == []


def test_every_page_is_run_and_the_readme_is_short():
    pages = set((ROOT / "docs").rglob("*.md"))
    assert set(PAGES) == {README, *pages}
    assert len(README.read_text().splitlines()) < 150


def test_there_are_commands_of_every_kind():
    assert len(COMMANDS) > 12
    assert {"sweep", "report", "compare", "trial", "sample", "doctor"} <= {
        shlex.split(command)[shlex.split(command).index("rdbench") + 1] for command in COMMANDS
    }


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_a_sweep_file_loads(block, tmp_path, monkeypatch):
    """A fragment, with what every sweep needs around it."""
    monkeypatch.chdir(tmp_path)
    whole = {"name": "a", "dataset": "digits", "variants": "[bs_vae]", "beta": "[0.01, 1, 100]"}
    given = {line.partition(":")[0] for line in block.text.splitlines()}
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "".join(f"{key}: {value}\n" for key, value in whole.items() if key not in given) + block.text
    )
    assert load_sweep(file).name


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "python"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_python_code_compiles(block):
    assert ast.parse(block.text).body


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_are_there(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
    named = re.findall(r"(?<![\w/.])(?:sweeps|reports|docker|tests|docs|rdbench)/[\w./-]*\w", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_page_of_the_documentation_is_reached_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)\)", README.read_text()))
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} - {"docs/index.md"}
    assert pages - linked == set()


@pytest.mark.parametrize(
    "names", [shipped(), datasets.names(), metrics.names()], ids=["variants", "datasets", "metrics"]
)
def test_the_tables_name_all_there_is(names):
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_the_house_of_the_contributors_guide_is_there():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:sweeps|reports|tests|rdbench|\.ci)/[\w./-]*\w)`", guide)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    files = re.findall(r"`(\w+\.py)`", guide)
    there = {path.name for path in Path(ROOT).glob("rdbench/**/*.py")}
    assert [file for file in files if file not in there] == []


def test_every_sweep_that_ships_is_in_the_table():
    missing = [path.name for path in sorted((ROOT / "sweeps").iterdir()) if f"`{path.name}`" not in TEXT]
    assert missing == []


def test_every_study_and_measurement_is_linked():
    """A folder of ``reports/`` that has a text to read."""
    written = {file.parent.name for file in (ROOT / "reports").glob("*/*.md")}
    assert written
    assert written - set(re.findall(r"\]\((?:\.\./)*reports/(\w+)/", TEXT)) == set()
