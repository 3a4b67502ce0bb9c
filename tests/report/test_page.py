"""The report page: nothing mixed, nothing hidden, nothing loaded, nothing executed."""

import html.parser
import json
import re
import subprocess
import sys

import pytest
import report_builders
from report_builders import HOSTILE, make_sweep, report, visible, write

from rdbench.errors import ResultsError
from rdbench.report import make_report, sections


class Loads(html.parser.HTMLParser):
    """Collects what a browser would load, and the elements and handlers there are."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags, self.handlers = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href", "data", "action", "poster"):
                self.loads.append(value)
            if name.startswith("on"):
                self.handlers.append(value)


def parse(text):
    parser = Loads()
    parser.feed(text)
    return parser


def test_the_page_loads_nothing(tmp_path):
    text = report(tmp_path, write(tmp_path / "a", make_sweep(), images=True))
    parser = parse(text)
    assert [load for load in parser.loads if not load.startswith(("data:image/png;base64,", "#"))] == []
    assert "link" not in parser.tags
    assert "default-src 'none'" in text
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_hostile_text_is_only_ever_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "variant_name", lambda variant: f"{variant.name} {HOSTILE}")

    def lost(trial):
        return ("failed", f"Traceback:\n{HOSTILE}") if trial.beta == 10 else None

    sweep = make_sweep(seeds=[0, 1], variants=["bs_vae"])
    written = dict.fromkeys(("host", "device", "versions", "commit"), HOSTILE)
    root = write(tmp_path / HOSTILE.replace("/", "|"), sweep, lost=lost, images=True, **written)
    text = report(tmp_path, root)
    parser = parse(text)
    assert parser.tags.count("script") == 3  # the specs, Vega, and the page's own
    assert parser.handlers == []
    assert "x" not in parser.loads
    assert "alert(1)" in visible(text)  # it is shown
    assert "{{ 7*7 }}" in visible(text)  # and not evaluated
    specs = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)[1]
    assert not re.search(r"[<>&]", specs)
    chart = json.loads(specs)["s0"]["rate_distortion"]
    assert chart["data"]["means"][0]["variant"] == f"bs_vae {HOSTILE}"
    assert all(HOSTILE in view["description"] for view in chart["views"].values())


def test_charts_carry_their_finding_as_text_for_screen_readers(tmp_path):
    text = report(tmp_path, write(tmp_path / "a", make_sweep()))
    found = re.findall(r'<div class="chart"[^>]* aria-label="([^"]+)"', text)
    assert len(found) == 5
    assert all(re.search(r"\d", label) for label in found)  # a finding has its figures


@pytest.mark.parametrize("case", ["empty", "all diverged", "one point"])
def test_a_page_with_little_in_it_says_what_it_can(tmp_path, case):
    sweep = make_sweep(beta=[1], variants=["bs_vae"]) if case == "one point" else make_sweep()
    root = write(
        tmp_path / "a",
        sweep,
        skip=lambda trial: case == "empty",
        lost=lambda trial: ("diverged", "loss is NaN") if case == "all diverged" else None,
    )
    text = report(tmp_path, root)
    assert ('id="charts"' in text) == (case == "one point")
    expected = {
        "empty": ["0 of 4 trainings done, 4 not trained yet", "No chart: no training", "no difference"],
        "all diverged": ["0 of 4 trainings done, 4 diverged", "4 trials without a result", "No chart"],
        "one point": ["1 of 1 training done", "One point, bs_vae at β = 1, rate 20.00 nats", "n = 1"],
    }  # fmt: skip
    for sentence in expected[case]:
        assert sentence in visible(text)


def test_curves_that_share_no_rates_are_shown_and_not_compared(tmp_path, monkeypatch):
    ordinary = report_builders.point_rows

    def apart(trial):
        """bs_vae's rates are a hundred times as high, and its errors a hundredth."""
        far = 100 if trial.variant.name == "bs_vae" else 1
        return [
            row | {"rate": far * row["rate"], "mse": row["mse"] * trial.beta / (10 * far)}
            for row in ordinary(trial)
        ]

    monkeypatch.setattr(report_builders, "point_rows", apart)
    text = visible(report(tmp_path, write(tmp_path / "a", make_sweep())))
    assert "No two curves span the same rates" in text
    assert "the curves reach no quality in common" in text


@pytest.mark.parametrize("name", ["x" * 300, "\u202egnitset\u202c", "a|b\nc", "%s{0}$x", "β" * 50])
def test_odd_names_are_shown_as_they_are(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sections, "variant_name", lambda variant: f"{variant.name} {name}")
    text = report(tmp_path, write(tmp_path / "a", make_sweep(seeds=2), images=True))
    assert " ".join(f"bs_vae {name}".split()) in visible(text)


def test_the_page_says_where_the_numbers_come_from(tmp_path):
    text = visible(report(tmp_path, write(tmp_path / "a", make_sweep())))
    facts = ["c0ffee" * 8, "torch 9.9", "a CPU", "2025-01-02 03:04 UTC", "not run from a git checkout"]
    facts += ["clean: train and test images as they are", "train.batch_size 512"]
    facts += ["half: σ² = 1/2", "beta_half: σ² = β/2", "optimal: σ² optimal for each image, fitted to it"]
    for fact in [*facts, f"rdbench report {tmp_path / 'a'} --out out.html with rdbench"]:
        assert fact in text


def test_a_title_of_ones_own_is_the_heading_and_is_in_the_command(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    text = make_report([root], tmp_path / "out.html", "Scaled <down>: 2 epochs").read_text()
    assert "<h1>Scaled &lt;down&gt;: 2 epochs</h1>" in text
    assert "<title>Scaled &lt;down&gt;: 2 epochs</title>" in text
    assert "--title &#39;Scaled &lt;down&gt;: 2 epochs&#39;" in text


def test_a_floor_of_ones_own_is_told_and_is_in_the_command(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    page = visible(make_report([root], tmp_path / "out.html", floor=0.5).read_text())
    assert "a floor of 0.5 nats" in page
    assert "Rates count from 0.5 nats on" in page
    assert "--rate-floor 0.5" in page
    assert "--rate-floor" not in visible(report(tmp_path, root))
    for floor in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ResultsError, match=r"the floor of the rate is .* nats; give 0 or more"):
            make_report([root], tmp_path / "out.html", floor=floor)


def test_the_same_results_give_the_same_page_under_3_mb(tmp_path):
    root = write(tmp_path / "a", make_sweep(beta=list(range(1, 11))), images=True)
    first = make_report([root], tmp_path / "out.html").read_bytes()
    assert make_report([root], tmp_path / "out.html").read_bytes() == first
    assert len(first) < 3_000_000


def test_a_report_of_nothing_or_to_nowhere_is_one_clear_line(tmp_path):
    with pytest.raises(ResultsError, match="no results folder is given"):
        make_report([], tmp_path / "out.html")
    root = write(tmp_path / "a", make_sweep(), skip=lambda trial: True)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ResultsError, match="cannot be written"):
        make_report([root], tmp_path / "folder")


def test_drawing_a_report_imports_neither_torch_nor_ray():
    code = "import sys, rdbench.report.page; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
