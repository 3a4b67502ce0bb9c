"""In a notebook a run is one output of its cell, and a chart shows without a network."""

import html
import re
import shutil
import time

import nbformat
import pytest
from nbclient import NotebookClient
from selenium import webdriver

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
        # Older Vegas name a network in their own code, so an address proves nothing: what loads one does.
        assert not re.search(r"<script[^>]* src=|<link|@import", page)


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
def test_a_browser_without_a_network_draws_it_at_its_height(cells, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{cells[1][0]['data']['text/html']}")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        driver.get(page.as_uri())
        (frame,) = driver.find_elements("css selector", "iframe")
        driver.switch_to.frame(frame)
        end = time.monotonic() + 30
        while not (
            drawn := driver.find_elements("css selector", ".vega-embed canvas, .vega-embed svg.marks")
        ):
            assert time.monotonic() < end, "nothing was drawn for 30 s"
            time.sleep(0.1)
        height = drawn[0].size["height"]
        assert height > 300
        driver.switch_to.default_content()
        while not height <= frame.size["height"] <= height + 60:
            assert time.monotonic() < end, f"the frame has {frame.size}, the chart {height}"
            time.sleep(0.1)
    finally:
        driver.quit()


@pytest.mark.filterwarnings("default")
def test_a_renderer_of_the_users_choice_is_kept(cells):
    (output,) = cells[4]
    assert "image/svg+xml" in output["data"]
    assert "iframe" not in output["data"].get("text/html", "")
