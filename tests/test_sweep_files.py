"""Where a sweep file's text may come from, and what it may leave unsaid: merges, anchors, odd bytes."""

from pathlib import Path

import pytest
from malformed import GOOD

from rdbench.errors import SpecError
from rdbench.spec import TrainSpec, dump_sweep, load_sweep

ANCHORS = """\
x-base: &base {epochs: 3, lr: 0.5}
x-long: &long
  epochs: 9
  batch_size: 7
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a sweep from text or bytes, as sweep.yaml in the working directory."""
    monkeypatch.chdir(tmp_path)

    def load_text(text, *overrides):
        Path("sweep.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_sweep(Path("sweep.yaml"), overrides)

    return load_text


def problem(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    assert str(caught.value).isprintable(), "an error is one line"
    return str(caught.value)


# Merges and anchors


@pytest.mark.parametrize(
    ("train", "meant"),
    [
        ("{<<: *base}", TrainSpec(epochs=3, lr=0.5)),
        ("{<<: *base, epochs: 4}", TrainSpec(epochs=4, lr=0.5)),
        ("{epochs: 4, <<: *base}", TrainSpec(epochs=4, lr=0.5)),
        ("{<<: [*base, *long]}", TrainSpec(epochs=3, lr=0.5, batch_size=7)),
        ("{<<: [*long, *base], lr: 1}", TrainSpec(epochs=9, lr=1.0, batch_size=7)),
        ("{<<: {lr: 2}, epochs: 4}", TrainSpec(epochs=4, lr=2.0)),
        ("*base", TrainSpec(epochs=3, lr=0.5)),
    ],
)
def test_a_key_of_its_own_goes_before_a_merged_one_and_the_first_merged_one_before_others(load, train, meant):
    assert load(f"{ANCHORS}{GOOD}train: {train}\n").train == meant


def test_a_merge_may_merge_what_merges(load):
    text = f"{ANCHORS}x-more: &more {{<<: *base, weight_decay: 0}}\n{GOOD}train: {{<<: *more, epochs: 1}}\n"
    assert load(text).train == TrainSpec(epochs=1, lr=0.5, weight_decay=0.0)


def test_an_override_may_merge_and_reaches_into_what_was_merged(load):
    text = f"{ANCHORS}{GOOD}train: {{<<: *base}}\n"
    assert load(text, "train.epochs=8").train == TrainSpec(epochs=8, lr=0.5)
    assert load(text, "train={<<: {epochs: 2}, lr: 1}").train == TrainSpec(epochs=2, lr=1.0)


def test_a_sweep_that_merges_is_that_which_writes_all_out_and_is_saved_so(load):
    merged = load(f"{ANCHORS}{GOOD}train: {{<<: *base}}\n")
    assert merged == load(f"{GOOD}train: {{epochs: 3, lr: 0.5}}\n")
    saved = dump_sweep(merged)
    assert not [word for word in ("x-", "<<", "&", "*") if word in saved]
    assert load(saved) == merged


@pytest.mark.parametrize("override", ["x-base.epochs=2", "x-new=2", " x-base={}"])
def test_an_anchor_cannot_be_overridden(load, override):
    message = problem(load, f"{ANCHORS}{GOOD}train: {{<<: *base}}\n", override)
    assert message.startswith(f"--set {override}: x-")
    assert "only holds anchors" in message
    assert "such as --set train.epochs=2" in message


@pytest.mark.parametrize(
    "bomb",
    [
        "x-0: &a0 {k: 1}\n" + "".join(f"x-{i}: &a{i} {{a: *a{i - 1}, b: *a{i - 1}}}\n" for i in range(1, 30)),
        "x-0: &a0 {"
        + "".join(f"k{i}: 1, " for i in range(1000))
        + "}\nx-1: ["
        + "{<<: *a0}, " * 1000
        + "]\n",
        "x-0: &a0 {"
        + "".join(f"k{i}: 1, " for i in range(1000))
        + "}\nx-1: {<<: ["
        + "*a0, " * 1000
        + "]}\n",
    ],
    ids=["aliases", "merges", "a list of merges"],
)
def test_aliases_and_merges_cannot_blow_a_small_file_up(load, bomb):
    assert "holds more than 50,000 values; use fewer aliases" in problem(load, bomb + GOOD)


# What editors and shells do to a file


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        f"---\n{GOOD}...\n".encode(),
        f"%YAML 1.2\n---\n{GOOD}".encode(),
        GOOD.rstrip("\n").encode(),
    ],
    ids=["byte order mark", "CRLF", "document marks", "directive", "no newline at the end"],
)
def test_what_an_editor_adds_changes_nothing(load, content):
    assert load(content) == load(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), "sweep.yaml:1: is not UTF-8 text; save the file as UTF-8"),
        ((GOOD + "seeds: 0\n").replace("\n", "\r\n").encode(), "sweep.yaml:5: seeds: 0 seeds are out"),
        (b"\xef\xbb\xbf\r\n", "sweep.yaml:1: the file is empty; write name"),
        (f"---\n{GOOD}---\n".encode(), "sweep.yaml:6: a second document starts here; keep one a file"),
        (b"\0" * 10, "sweep.yaml:1: holds a character that YAML does not allow; remove it"),
    ],
)
def test_what_an_editor_breaks_is_one_line(load, content, message):
    assert problem(load, content).startswith(message)
