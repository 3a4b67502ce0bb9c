"""The page is read once: no sentence of it has more than 25 words, outside of tables."""

import ast
import re
from pathlib import Path

import pytest
from report_builders import add_metric, make_sweep, report, shifted, write
from report_prose import END, sentences, words

import rdbench.report
from rdbench.report import make_report
from rdbench.report.compare.compare import compare
from rdbench.report.compare.page import as_html

MOST = 25
TRAIN = {"epochs": 3, "batch_size": 10}


def seeds(tmp_path):
    sweep = make_sweep(seeds=3, beta=[0.1, 1, 10], train=TRAIN)
    root = shifted(tmp_path / "a", sweep, lambda trial: 3.0 * (trial.variant.name == "bs_vae"), images=True)
    add_metric(root, sweep, "fid", lambda trial: 10 * trial.beta + trial.seed, samples=1000)
    return [root]


def single(tmp_path):
    return [write(tmp_path / "a", make_sweep(beta=[1, 10, 100]))]


def lost(tmp_path):
    ends = {1: ("diverged", "the loss is nan"), 10: ("failed", "out of memory")}
    return [write(tmp_path / "a", make_sweep(seeds=2, beta=[0.1, 1, 10]),
                  lost=lambda trial: ends.get(trial.beta), skip=lambda trial: trial.seed == 1)]  # fmt: skip


def mnist(tmp_path):
    return [write(tmp_path / "a", make_sweep(dataset="mnist", seeds=2, beta=[0.1, 1, 10]))]


def grid(tmp_path):
    return [write(tmp_path / "a", make_sweep(seeds=2, grid={"train.epochs": [20, 60]}))]


def two(tmp_path):
    return [write(tmp_path / "a", make_sweep()), write(tmp_path / "b", make_sweep(protocol="paper", seeds=2))]


def nothing(tmp_path):
    return [write(tmp_path / "a", make_sweep(), skip=lambda trial: True)]


@pytest.mark.parametrize("build", [seeds, single, lost, mnist, grid, two, nothing])
def test_no_sentence_of_a_page_is_longer_than_25_words(tmp_path, build):
    found = sentences(report(tmp_path, *build(tmp_path)))
    assert len(found) > 10
    assert {sentence: words(sentence) for sentence in found if words(sentence) > MOST} == {}


def test_no_sentence_with_references_is_longer(tmp_path):
    curve = tmp_path / "jpeg.csv"
    curve.write_text(
        "rate,unit,distortion,unit,name\n10,nats per image,12,dB,jpeg\n20,nats per image,14,dB,jpeg\n"
    )
    page = make_report(single(tmp_path), tmp_path / "out.html", references=[curve]).read_text()
    assert [sentence for sentence in sentences(page) if words(sentence) > MOST] == []


def test_no_sentence_of_a_comparison_is_longer(tmp_path):
    (one,) = seeds(tmp_path)
    other = write(tmp_path / "other", make_sweep(seeds=3, beta=[0.1, 1, 10], train=TRAIN | {"lr": 0.1}))
    found = sentences(as_html(compare([one], [other]), "before", "after"))
    assert len(found) > 10
    assert [sentence for sentence in found if words(sentence) > MOST] == []


def literals():
    """Yield every text in the code of the report, docstrings aside; what is filled in counts as a word."""
    for file in sorted(Path(rdbench.report.__file__).parent.rglob("*.py")):
        tree = ast.parse(file.read_text())
        within = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        within |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in within:
                continue
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_no_sentence_that_the_reports_code_holds_is_longer():
    found = [sentence for text in literals() for sentence in END.split(text)]
    assert len(found) > 500
    assert [sentence for sentence in found if words(sentence) > MOST] == []


def test_sentences_are_told_apart_and_counted_without_tables_and_menus():
    page = "<h1>Title</h1><p>As in Fig. 3 of x. β is <b>two</b>!</p><table><td>No.</td></table>"
    page += "<select>no</select>"
    assert sentences(page) == ["Title", "As in Fig. 3 of x.", "β is two!"]
    assert words("The σ² is ± 0.3 = good, β·rate") == 6
    assert re.search(END, "one · two")
