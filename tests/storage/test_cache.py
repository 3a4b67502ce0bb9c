"""The cache: what saves time is kept where it can be, and costs nothing but time where it cannot."""

import json

import pytest

from rdbench.errors import DatasetError
from rdbench.storage import cache
from rdbench.storage.cache import CacheError


def test_a_text_is_made_once_and_again_where_it_is_damaged(tmp_path):
    made = []

    def make():
        made.append("once more")
        return json.dumps(made)

    file = tmp_path / "folder" / "text.json"
    assert cache.cached(file, make, json.loads) == cache.cached(file, make, json.loads) == ["once more"]
    file.write_bytes(b'["cut sh')
    assert cache.cached(file, make, json.loads) == ["once more"] * 2


def test_where_nothing_can_be_written_a_text_is_made_each_time(tmp_path):
    (tmp_path / "folder").touch()
    assert cache.cached(tmp_path / "folder" / "text", lambda: "text", str) == "text"
    assert "cannot be written" in str(cache.save(tmp_path / "folder" / "text", b"text"))


def test_what_cannot_be_locked_is_one_line_of_the_kind_that_is_asked_for(tmp_path):
    (tmp_path / "folder").touch()
    for kind in (CacheError, DatasetError):
        with (
            pytest.raises(kind, match=r"cannot write .*folder/x \(.*\); set RDBENCH_CACHE to a folder"),
            cache.locked(tmp_path / "folder" / "x", kind),
        ):
            pass
