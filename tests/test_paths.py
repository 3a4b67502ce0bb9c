"""Where data, caches and results lie: flag, then variable, then the user's own folder."""

from pathlib import Path

import pytest

from rdbench import paths


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
