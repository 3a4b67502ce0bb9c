"""The console of a notebook: one output, drawn anew, with the last lines and a bar while trials run."""

import sys
from types import SimpleNamespace

import pytest
from report_builders import make_sweep

from rdbench.spec.plan import plan
from rdbench.trial import notebook
from rdbench.trial.notebook import LINES, NotebookConsole
from rdbench.trial.progress import SweepProgress


class Handle:
    """IPython's display handle, that keeps what it was given."""

    drawn = ()

    def display(self, bundle, raw):
        Handle.drawn.append(("display", bundle))

    def update(self, bundle, raw):
        Handle.drawn.append(("update", bundle))


@pytest.fixture
def drawn(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(DisplayHandle=Handle))
    monkeypatch.setattr(notebook, "LEAST_SECONDS", 0)
    monkeypatch.setattr(Handle, "drawn", [])
    return Handle.drawn


def test_a_run_is_displayed_once_and_then_updated_and_its_bar_moves_within_a_trial(drawn):
    trials = plan(make_sweep()).trials
    console = NotebookConsole()
    with SweepProgress(len(trials), console) as progress:
        progress.running(trials[0], 0.5)
        half = drawn[-1][1]
        for trial in trials:
            progress.ended(trial, "done", ", <b>fine</b>")
    console.finish()
    assert [how for how, _ in drawn[:2]] == ["display", "update"]
    assert {how for how, _ in drawn[1:]} == {"update"}
    assert f'<progress value="{0.5 / len(trials):.3f}">' in half["text/html"]
    assert f"0 of {len(trials)} trials; 1 running" in half["text/plain"]
    last = drawn[-1][1]
    assert "<progress" not in last["text/html"]
    assert "&lt;b&gt;fine" in last["text/html"]  # as text
    assert f"[{len(trials)}/{len(trials)}]" in last["text/plain"]


def test_what_is_long_is_folded_and_a_line_is_never_cut(drawn):
    console = NotebookConsole()
    lines = [f"line {number} {'x' * 300}" for number in range(3 * LINES)]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.finish()
    shown = drawn[-1][1]
    assert shown["text/plain"].splitlines() == [f"({2 * LINES} lines before)", *lines[-LINES:]]
    assert f"<summary>{2 * LINES} lines before</summary>" in shown["text/html"]
    assert all(line in shown["text/html"] for line in lines)


def test_a_run_that_says_nothing_shows_nothing(drawn):
    NotebookConsole().finish()
    assert drawn == []
