"""A path as a user means it; where data and caches lie: flag, then variable, then the user's own folder."""

import os
from pathlib import Path

import pytest

from rdbench.errors import UserError
from rdbench.storage import paths


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    monkeypatch.delenv("RDBENCH_DATA", raising=False)
    monkeypatch.delenv("RDBENCH_CACHE", raising=False)


def test_the_flag_wins_over_the_variable_and_the_variable_over_the_default(monkeypatch):
    default = paths.data_root()
    assert default.name == "rdbench"
    monkeypatch.setenv("RDBENCH_DATA", "/from/variable")
    assert paths.data_root() == Path("/from/variable")
    assert paths.data_root(Path("/from/flag")) == Path("/from/flag")


def test_a_variable_that_is_set_but_empty_counts_as_not_set(monkeypatch):
    defaults = paths.data_root(), paths.cache_root()
    monkeypatch.setenv("RDBENCH_DATA", "")
    monkeypatch.setenv("RDBENCH_CACHE", "")
    assert (paths.data_root(), paths.cache_root()) == defaults


def test_paths_mean_the_same_from_any_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RDBENCH_CACHE", "cache")
    assert paths.cache_root() == tmp_path / "cache"
    assert paths.data_root(Path("sub/../data")) == tmp_path / "data"
    assert paths.data_root(Path("~/data")) == Path.home() / "data"


def test_a_user_without_a_home_has_a_cache_that_cannot_be_written(monkeypatch):
    def getpwuid(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert paths.cache_root() == paths.data_root() == Path("/nonexistent/rdbench")
    monkeypatch.setenv("RDBENCH_CACHE", "/from/variable")
    assert paths.cache_root() == Path("/from/variable")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("results/x", "results/x"),
        ("/results/../x", "/results/../x"),
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("x/~/y", "x/~/y"),
        ("file:///x/y", "/x/y"),
        ("file:/x/y", "/x/y"),
        ("FILE://localhost/x", "/x"),
        ("file://~/x", "/home/me/x"),
        ("file:///x/run#1", "/x/run#1"),
        ("file:///x/what?is=it", "/x/what?is=it"),
        ("file:///my%20x/100%25", "/my x/100%"),
        ("file:///caf%E9", os.fsdecode(b"/caf\xe9")),
        ("./~x", "{here}/~x"),
        ("./file:/x", "{here}/file:/x"),
    ],
)
def test_a_path_is_read_as_its_user_means_it_and_only_once(written, meant, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    found = paths.local(written)
    assert found == Path(meant.format(here=tmp_path))
    assert paths.local(found) == paths.local(str(found)) == found


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "a path is empty"),
        (
            "~nobody-of-this-name/x",
            "no home folder is known for ~nobody-of-this-name; write the whole path, or",
        ),
        ("file://elsewhere/x", "names the machine 'elsewhere'; a path on this one is written file:///path"),
        ("file://./x", "names the machine '.'"),
        ("s3://bucket/x", "is an address, where only a local path will do"),
    ],
)
def test_what_is_no_path_is_one_line(written, says):
    with pytest.raises(UserError) as caught:
        paths.local(written)
    assert says in str(caught.value)


@pytest.mark.parametrize("written", ["~/x", "file://~/x", "/home/me/x"])
def test_variables_are_read_as_options_are(written, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("RDBENCH_CACHE", written)
    monkeypatch.setenv("RDBENCH_DATA", written)
    assert paths.cache_root() == paths.data_root() == paths.data_root(written) == Path("/home/me/x")


def test_a_variable_that_is_no_path_is_named(monkeypatch):
    monkeypatch.setenv("RDBENCH_DATA", "s3://bucket/x")
    with pytest.raises(UserError, match=r"^RDBENCH_DATA: s3://bucket/x: is an address, where only a local"):
        paths.data_root()


def test_a_path_that_is_no_text_is_written_as_an_address_that_leads_back():
    path = Path(os.fsdecode(b"/caf\xe9/mine.py"))
    assert paths.as_text(path) == "file:///caf%E9/mine.py"
    assert paths.local(paths.as_text(path)) == path
    assert (
        paths.as_text(Path("/caf\N{LATIN SMALL LETTER E WITH ACUTE}"))
        == "/caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    )
