"""In a notebook a run is one output of its cell, and a chart shows without a network."""

import html
import re

import nbformat
import pytest
from nbclient import NotebookClient

RUN = """
import rdbench
results = rdbench.run({settings}, results="results", seeds={seeds})
"""
SETTINGS = (
    'rdbench.Sweep(name="mine", dataset={"name": "digits", "train_images": 64, "test_images": 32},'
    ' variants=["bs_vae"], beta=[0.1, 1, 10], train={"epochs": 2, "batch_size": 32},'
    ' model={"latent": 2, "channels": [2]})'
)
CHARTS = [
    'chart = rdbench.plot.rate_distortion(results, y="psnr"); chart',
    "import altair as alt\nchart + alt.Chart(alt.Data(values=[])).mark_point()",
    "chart.properties(width=100)",
    'alt.renderers.enable("svg"); chart',
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of cells: a run of nine trials, charts, and one by a renderer of the user's choice."""
    run = RUN.format(settings=SETTINGS, seeds=3)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (run, *CHARTS)])
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()
    return [cell["outputs"] for cell in notebook.cells]


@pytest.mark.filterwarnings("default")  # of Jupyter's own
def test_a_run_is_one_output_that_ends_without_a_bar(cells):
    (output,) = cells[0]
    text, page = output["data"]["text/plain"], output["data"]["text/html"]
    assert len(text.splitlines()) <= 7
    assert "[9/9] bs_vae beta 10 seed 2: done" in text
    assert "lines before" in text
    assert "<progress" not in page
    assert all(f"[{number}/9]" in page for number in range(1, 10))  # those before the last are folded


def frame_of(output):
    return html.unescape(re.search(r'srcdoc="([^"]*)"', output["data"]["text/html"])[1])


@pytest.mark.filterwarnings("default")
def test_a_chart_holds_vega_and_fetches_nothing(cells):
    for (output,) in cells[1:4]:
        page = frame_of(output)
        assert "vegaEmbed=" in page
        assert "psnr" in page
        assert not re.search(r"<script[^>]* src=|<link|@import|jsdelivr|unpkg|cdn", page)


@pytest.mark.filterwarnings("default")
def test_a_renderer_of_the_users_choice_is_kept(cells):
    (output,) = cells[4]
    assert "image/svg+xml" in output["data"]
    assert "iframe" not in output["data"].get("text/html", "")
