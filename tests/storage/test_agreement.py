"""Of many workers that make a file at once, the first one's is used by all."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rdbench.storage import agreement
from rdbench.storage.agreement import agree, agreed


def race(folder, writers):
    """Offer a file by each of several writers at once; returns what each of them then reads."""
    start = threading.Barrier(writers)

    def offer(number):
        start.wait()
        return agree(folder, "name", ".bin", f"{number}".encode()).read_bytes()

    with ThreadPoolExecutor(writers) as pool:
        return list(pool.map(offer, range(writers)))


@pytest.fixture(params=["hard links", "none"])
def folder(request, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if request.param == "none":
        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(agreement, "SETTLE_SECONDS", 0.5)
    return tmp_path / "folder"


def test_all_writers_of_a_race_get_the_file_of_one_and_only_it_stays(folder):
    for _ in range(3):
        read = race(folder, 8)
        assert len(set(read)) == 1
        (file,) = folder.iterdir()
        assert file == agreed(folder, "name", ".bin")
        assert file.read_bytes() == read[0]
        file.unlink()


def test_who_comes_later_gets_what_is_there(folder):
    assert agreed(folder, "name", ".bin") is None
    first = agree(folder, "name", ".bin", b"first")
    assert agree(folder, "name", ".bin", b"second") == first
    assert first.read_bytes() == b"first"
    assert agreed(folder, "nam", ".bin") is None
    assert agreed(folder, "name", ".other") is None


def test_a_writer_that_died_before_it_deleted_its_own_changes_nothing(tmp_path):
    (tmp_path / "name.a.bin").write_bytes(b"late")
    (tmp_path / "name.b.bin").write_bytes(b"first")
    os.utime(tmp_path / "name.a.bin", (2000, 2000))
    os.utime(tmp_path / "name.b.bin", (1000, 1000))
    assert agreed(tmp_path, "name", ".bin").read_bytes() == b"first"
    assert agree(tmp_path, "name", ".bin", b"mine").read_bytes() == b"first"
