"""The notebooks of the documentation run, from the first cell to the last, and show their charts."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.filterwarnings("default")  # of Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_charts_and_tables(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # a clone holds no stale ones
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    charts = [text for data in shown if "vega" in (text := json.dumps(data)).lower()]
    assert len(charts) == (1 if path.stem == "is_my_vae_better" else 3)
    tables = [text for data in shown if "<table" in (text := data.get("text/html", ""))]
    assert len(tables) >= 2
    if path.stem == "is_my_vae_better":
        assert any("my_vae (trained=elsewhere)" in table for table in tables)
        assert "my_vae (trained=elsewhere)" in charts[0]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == {"is_my_vae_better", "fig3"}
