"""The documentation site: it builds strictly, without a network, and holds all there is."""

import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import rdbench
from rdbench.cli import app
from rdbench.report.glossary import terms
from rdbench.results.parquet import TABLES
from rdbench.spec.settings import SweepSettings, TrainSpec

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None,
    reason="needs the documentation's tools: uv run --group docs pytest",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages, by path."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {
        f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "HTTP", "HTTPS", "ALL")
    }
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return {str(path.parent.relative_to(folder)): path.read_text() for path in folder.rglob("index.html")}


def headings(page):
    return [re.sub(r"<[^>]+>|&para;", "", text).strip() for text in re.findall(r"<h[23][^>]*>(.*?)</h", page)]


def verbs(command, name=""):
    below = getattr(command, "commands", {})
    return [each for key in below for each in verbs(below[key], f"{name} {key}".strip())] or [name]


def test_no_page_loads_anything_from_elsewhere(site):
    assert len(site) > 20
    loaded = {
        link
        for page in site.values()
        for tag in re.findall(r"<(?:script|link|img|iframe)[^>]*>", page)
        for link in re.findall(r'(?:src|href)="(https?://[^"]+)"', tag)
        if 'rel="canonical"' not in tag
    }
    assert loaded == set()


def test_every_verb_key_column_and_public_name_is_there(site):
    assert {f"rdbench {verb}" for verb in verbs(typer.main.get_command(app.app))} <= {
        *headings(site["reference/command-line"])
    }
    keys = site["reference/sweep-file"]
    assert [
        key
        for key in (*SweepSettings.model_fields, *TrainSpec.model_fields)
        if f"<code>{key}</code>" not in keys
    ] == []
    columns = {column.partition(":")[0] for text in TABLES.values() for column in text.split()}
    assert [name for name in columns if f"<code>{name}</code>" not in site["reference/tables"]] == []
    assert [term for term in terms() if f"<td>{html.escape(term.meaning, quote=False)}</td>"
            not in site["reference/glossary"]] == []  # fmt: skip
    names = {f"rdbench.{name}" for name in rdbench.__all__ if name != "__version__"}
    assert names <= {*headings(site["reference/python"])}


def test_docstrings_are_read_as_they_are_meant(site):
    page = site["reference/python"]
    assert ":func:" not in page
    assert ":class:" not in page
    assert "the results folder or its address" in page  # of run's arguments
