"""What ``rdbench metrics`` and ``rdbench variants`` print can be pasted into a sweep, and is explained."""

import re

import pytest
from typer.testing import CliRunner

from rdbench import metrics
from rdbench.cli.app import app
from rdbench.cli.listing import listed
from rdbench.registry import variants
from rdbench.registry.declaration import meanings
from rdbench.spec.sweep import load_sweep

KINDS = {"metrics": metrics.names(), "variants": variants.names()}


@pytest.fixture(scope="module", params=KINDS)
def listing(request):
    """The key of a sweep file, and what the command of that name prints."""
    return request.param, CliRunner().invoke(app, [request.param]).output


def test_every_default_can_be_pasted_into_a_sweep(listing, sweep_file):
    key, text = listing
    entries = re.findall(r"^  (\{.*?\})(?:  \[.*\])?$", text, re.MULTILINE)
    assert len(entries) == len(KINDS[key])
    for entry, name in zip(entries, KINDS[key], strict=True):
        assert load_sweep(sweep_file, [f"{key}=[{entry}]"]) == load_sweep(sweep_file, [f"{key}=[{name}]"])


def test_every_option_is_listed_with_its_meaning(listing):
    key, text = listing
    told = set(re.findall(r"^    (\w+): \w+", text, re.MULTILINE))
    if key == "metrics":
        options = {name for each in KINDS[key] for name in metrics.get(each).options.model_fields} - {"name"}
    else:
        options = {name for each in KINDS[key] for name in variants.declared(each).options}
    assert told == options


def test_a_meaning_is_one_line_of_the_docstring_whatever_stands_around_it():
    """Summary.

    before: no option.

    Args:
        one: of
            two lines, ``so``.
        two: another: with a colon.

    Raises:
        ValueError: none.
    """
    docstring = test_a_meaning_is_one_line_of_the_docstring_whatever_stands_around_it.__doc__
    assert meanings(docstring) == {"one": "of two lines, 'so'.", "two": "another: with a colon."}
    assert meanings(None) == {}
    assert listed("a", "What.", {"one": None, "three": 3}, meanings(docstring), ["x", ""]) == [
        "a: What.",
        "  {name: a, one: null, three: 3}  [x]",
        "    one: of two lines, 'so'.",
    ]
