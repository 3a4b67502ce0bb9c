"""Places: addresses are told from paths, and a file is there whole or as it was."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rdbench.errors import ResultsError, StorageError
from rdbench.storage import places
from rdbench.storage.places import Remote, place


def test_a_path_is_a_path_and_an_address_is_a_remote_place():
    assert place("results/x") == Path("results/x")
    assert place("file:///tmp/my%20x") == Path("/tmp/my x")
    found = place("s3://bucket/a/./b%20c?region=eu-west-1")
    assert found == Remote("s3", "bucket/a/b c", "region=eu-west-1")
    assert str(found) == "s3://bucket/a/b%20c?region=eu-west-1"
    assert place(found) is found
    assert place("gs://bucket") == Remote("gs", "bucket")
    assert place("gs://bucket").parent == place("gs://bucket")


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("ftp://host/x", "give a local path or one of s3://"),
        ("s3:///x", "write s3://bucket/prefix"),
        ("s3://bucket/../x", "write s3://bucket/prefix"),
        ("s3:/bucket/x", "write both slashes"),
        (Path("s3://bucket/x"), "write both slashes"),
        ("s3://bucket/x?regoin=eu", "unknown option 'regoin'; choose from region"),
        ("s3://bucket/what?/x", "in a key write %3F for '?'"),
        ("gs://bucket/what?x", "in a key write %3F for '?'"),
        ("s3://bucket/x?region=eu#2", "and a '#' before the options"),
        ("s3://bucket/caf%E9", "is not UTF-8, which keys of buckets are"),
        (os.fsdecode(b"s3://bucket/caf\xe9"), "is not UTF-8, which keys of buckets are"),
    ],
)
def test_a_wrong_address_is_told_with_its_mend(address, fix):
    with pytest.raises(ResultsError) as caught:
        place(address)
    assert fix in str(caught.value)


def test_what_follows_a_hash_is_part_of_the_key():
    """Two runs that were one folder."""
    first, second = place("s3://bucket/run#1"), place("s3://bucket/run#2/x?region=eu")
    assert (first.key, second.key, second.query) == ("bucket/run#1", "bucket/run#2/x", "region=eu")
    assert str(first) == "s3://bucket/run%231"
    for each in (first, second, place("s3://bucket/what%3F/100%25")):
        assert place(str(each)) == each
    assert place("S3://bucket/[x") == Remote("s3", "bucket/[x")  # no host of IPv6


def test_a_local_place_is_a_path_as_options_are(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for written in ("~/x", Path("~/x"), "file://~/x", tmp_path.as_uri() + "/x"):
        assert place(written) == tmp_path / "x"
    found = place("s3://bucket/x?tls_ca_file_path=~/my%20ca.pem")
    assert found.query == f"tls_ca_file_path={tmp_path}/my%20ca.pem"  # workers have another home


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(ResultsError, match="AWS_SECRET_ACCESS_KEY") as caught:
        place("s3://name:pa55word@bucket/x")
    assert "pa55word" not in str(caught.value)


def test_places_need_no_pyarrow_until_one_is_remote():
    code = "import sys, rdbench.storage.places as p; p.place('s3://b/x'); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("number", "fix"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "can be written"), (errno.EIO, "check the folder")],
)
def test_a_write_that_fails_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, number, fix):
    def fail(_):
        raise OSError(number, "reason")

    monkeypatch.setattr(places.os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"a/file: cannot be written \(reason\); .*{fix}"):
        places.write_atomically(tmp_path / "a" / "file", b"x")
    assert places.entries(tmp_path / "a") == {}


def test_entries_are_the_files_and_none_where_there_is_no_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"abc")
    ((name, (size, _)),) = places.entries(tmp_path).items()
    assert (name, size) == ("file", 3)
    assert places.entries(tmp_path / "nothing") == places.entries(tmp_path / "file") == {}
