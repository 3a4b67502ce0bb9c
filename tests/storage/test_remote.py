"""Results in a bucket: the same as on disk, through every fault that passes; else one line says which."""

import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from report_builders import make_sweep, write
from rich.console import Console
from s3_server import Proxy, moto

from rdbench.commands.plan import open_plan
from rdbench.commands.status import status_lines
from rdbench.commands.sweep import run_sweep
from rdbench.errors import ResultsError, StorageError, UserError
from rdbench.numerics.likelihood import READINGS
from rdbench.report import make_report
from rdbench.report.compare.compare import compare
from rdbench.results import compact, store
from rdbench.results.lease import Lease, stop_requested
from rdbench.results.load import load_results
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from rdbench.storage import agreement, places, remote
from rdbench.trial.serial import SerialScheduler

BUCKET = "results-of-tests"


@pytest.fixture(scope="module")
def server():
    with moto() as port:
        if port is None:
            pytest.skip("moto's S3 server is not to be had here: uvx cannot get it")
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ACCESS_KEY_ID", "tests")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            _make_bucket(port)
            yield port


def _make_bucket(port):
    from pyarrow import fs

    made = fs.S3FileSystem(
        region="us-east-1", endpoint_override=f"http://127.0.0.1:{port}", allow_bucket_creation=True
    )
    made.create_dir(BUCKET)


def address(port, prefix, bucket=BUCKET, more=""):
    return places.place(f"s3://{bucket}/{prefix}?endpoint_override=http://127.0.0.1:{port}{more}")


@pytest.fixture
def proxy(server):
    return Proxy(server)


@pytest.fixture
def there(proxy, tmp_path):
    """A place below which nothing is, behind the proxy."""
    return address(proxy.port, tmp_path.name)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv(remote.PATIENCE_VARIABLE, "0.5")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))


def same(one, other):
    for table in store.TABLES:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))
    return True


def test_keys_that_differ_behind_a_hash_or_a_question_mark_are_two(server):
    for number, prefix in enumerate(("run#1", "run#2", "what%3F", "what%3F1")):
        places.write_atomically(address(server, prefix) / "x", str(number).encode())
    found = [
        (address(server, prefix) / "x").read_text() for prefix in ("run#1", "run#2", "what%3F", "what%3F1")
    ]
    assert found == ["0", "1", "2", "3"]
    assert {"run#1", "run#2", "what?", "what?1"} <= {each.name for each in address(server, "").iterdir()}


def test_a_place_in_a_bucket_behaves_as_a_path(there):
    file = there / "a" / "b.parquet"
    assert (file.name, file.stem, file.suffix) == ("b.parquet", "b", ".parquet")
    assert file.parent == there / "a"
    assert pickle.loads(pickle.dumps(file)) == places.place(str(file)) == file
    assert not file.exists()
    assert not there.is_dir()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    with pytest.raises(FileNotFoundError):
        file.unlink()
    file.unlink(missing_ok=True)
    places.write_atomically(file, b"one")
    places.write_atomically(file, b"second")
    assert file.read_text() == "second"
    assert file.is_file()
    assert there.is_dir()
    assert not there.is_file()
    assert [place.name for place in there.iterdir()] == ["a"]
    assert list((there / "a").iterdir()) == [file]
    ((name, (size, changed)),) = places.entries(there / "a").items()
    assert (name, size) == ("b.parquet", 6)
    assert abs(changed / 1e9 - time.time()) < 600
    assert places.entries(there / "nothing") == {}
    places.move(file, there / "c" / "b.parquet")
    assert not file.exists()
    assert (there / "c" / "b.parquet").read_bytes() == b"second"


def test_an_object_larger_than_a_part_is_whole(there):
    content = os.urandom(2**20) * 12
    places.write_atomically(there / "large", content)
    assert (there / "large").read_bytes() == content


def test_results_in_a_bucket_are_those_on_disk(there, tmp_path):
    wanted = make_sweep(metrics=[])
    here = write(tmp_path / "here", wanted)
    write(there, wanted)
    ids = {trial.id for trial in plan(wanted).trials}
    assert same(load_results(here), load_results(str(there)))
    assert ResultsFolder(there).finished(make_sweep()) == ids
    assert open_plan(there, wanted).todo == []
    told = [line.replace(str(there), str(here)) for line in status_lines(there)]
    assert told == status_lines(here)
    page = make_report([there], there / "report.html")
    assert "study" in page.read_text()
    assert not compare([here], [there]).problems
    trial = plan(wanted).trials[0].id
    ResultsFolder(there).add_metrics(trial, [], [{"name": "kid", "value": 1.0, "settings": "{}"}])
    assert ResultsFolder(there).trial_tables(trial)["metrics"][0]["value"] == 1.0


def test_compacted_and_set_aside_in_a_bucket(there):
    wanted = make_sweep()
    write(there, wanted)
    before = load_results(there)
    trial = plan(wanted).trials[0].id
    places.write_atomically(there / "points" / "copy of x.parquet", b"junk")
    (line,) = set_aside(there)
    assert line.startswith(f"set aside: {there / 'points' / 'copy of x.parquet'} is now ")
    assert (there / "set_aside" / "points" / "copy of x.parquet").read_bytes() == b"junk"
    was, now = compact.compact(there)
    assert (was.files, now.files) == (12, 3)
    assert same(before, load_results(there))
    assert ResultsFolder(there).is_done(trial)


def test_one_driver_at_a_time_in_a_bucket(there):
    ResultsFolder(there).save_sweep(make_sweep())
    with Lease(there, "rdbench sweep") as lease:
        with pytest.raises(ResultsError, match="is in use by 'rdbench sweep'"), Lease(there, "another"):
            pass
        with pytest.raises(ResultsError, match="is in use by 'rdbench sweep'"):
            compact.compact(there)
        assert not stop_requested(there)
        lease.request_stop()
        while not stop_requested(there):  # a thread writes it
            time.sleep(0.05)
    assert not stop_requested(there)


@pytest.mark.parametrize("fault", ["503", "cut", "drop", "silent"])
def test_a_fault_that_passes_is_not_noticed(proxy, there, fault, monkeypatch):
    monkeypatch.setattr(remote, "_SILENCE", 1.0)
    remote._filesystem.cache_clear()
    content = os.urandom(3000)
    proxy.fail(fault, times=1)
    places.write_atomically(there / "file", content)
    proxy.fail(fault, times=2)
    assert (there / "file").read_bytes() == content
    proxy.fail(fault, times=1)
    assert list(places.entries(there)) == ["file"]


def test_a_server_that_comes_back_is_waited_for(proxy, there):
    proxy.refuse()
    threading.Timer(1.0, proxy.recover).start()
    places.write_atomically(there / "file", b"content")
    assert (there / "file").read_bytes() == b"content"


def test_pyarrow_does_not_try_again_by_itself(proxy, there, impatient, monkeypatch):
    monkeypatch.setenv(remote.PATIENCE_VARIABLE, "0")
    proxy.fail("503")
    with pytest.raises(StorageError):
        (there / "file").read_bytes()
    assert sum(proxy.requests.values()) == 1


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
def test_a_patience_that_is_no_number_of_seconds_is_one_line(there, monkeypatch, given):
    monkeypatch.setenv(remote.PATIENCE_VARIABLE, given)
    with pytest.raises(UserError, match=f"^RDBENCH_STORAGE_PATIENCE={given} is no number of seconds"):
        (there / "file").read_bytes()


@pytest.mark.parametrize("fault", ["503", "drop"])
def test_a_fault_that_lasts_is_one_line(proxy, there, impatient, fault):
    proxy.fail(fault)
    for operation in (
        lambda: places.write_atomically(there / "file", b"content"),
        lambda: (there / "file").read_bytes(),
        lambda: (there / "file").exists(),
        lambda: (there / "file").unlink(missing_ok=True),
        lambda: places.entries(there),
        lambda: load_results(there),
        lambda: ResultsFolder(there).finished(make_sweep()),
    ):
        with pytest.raises(StorageError) as caught:
            operation()
        line = str(caught.value)
        assert line.startswith(str(there).split("?")[0])
        assert "tried for 0.5 s: AWS Error" in line
        assert "run the same command again" in line
        assert "\n" not in line


def test_a_fault_among_many_reads_is_told_and_not_a_missing_trial(proxy, there, impatient):
    wanted = make_sweep()
    write(there, wanted)
    proxy.fail("503", times=0)
    read = remote.Remote.read_bytes
    with pytest.MonkeyPatch.context() as patch:

        def failing(file):
            if file.stem == plan(wanted).trials[1].id:
                proxy.fail("503")
            return read(file)

        patch.setattr(remote.Remote, "read_bytes", failing)
        with pytest.raises(StorageError, match="tried for"):
            ResultsFolder(there).finished(make_sweep())


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_credentials_are_told_at_once(proxy, there, code):
    proxy.fail(code)
    started = time.monotonic()
    for operation in (
        lambda: places.write_atomically(there / "file", b"content"),
        lambda: places.entries(there),
        lambda: load_results(there),
    ):
        with pytest.raises(StorageError, match="check the credentials") as caught:
            operation()
        assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 30  # of a patience of 60 s an operation


def test_a_missing_bucket_is_told(server):
    nowhere = address(server, "x", bucket="no-such-bucket")
    for operation in (
        lambda: places.entries(nowhere),
        lambda: load_results(nowhere),
        lambda: ResultsFolder(nowhere).finished(make_sweep()),
        lambda: places.write_atomically(nowhere / "file", b""),
    ):
        with pytest.raises(StorageError, match=r"make (it|the bucket), or fix the address"):
            operation()


def test_a_bucket_without_results_is_no_results_folder(there):
    with pytest.raises(ResultsError, match=r"not a results folder \(no sweep.yaml"):
        load_results(there)
    assert ResultsFolder(there).finished(make_sweep()) == set()


def test_the_file_of_a_variant_is_found_with_results_in_a_bucket(there, tmp_path, sweep_file):
    from rdbench.spec.sweep import load_sweep

    (tmp_path / "mine.py").write_text(
        "import rdbench\n\n\n@rdbench.variant('mine')\ndef mine(sse, rate, beta, n):\n    '''Mine.'''\n"
        "    return sse + beta * rate\n"
    )
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "layers.py").write_text("FACTOR = 2\n")
    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "two.py").write_text("from nets.layers import FACTOR\n" + text.replace("mine", "two"))
    wanted = load_sweep(sweep_file, ["variants=[mine.py:mine, two.py:two]"])
    ResultsFolder(there).save_sweep(wanted)
    for file in ("mine.py", "two.py", "nets/layers.py"):
        (tmp_path / file).unlink()
    stored = ResultsFolder(there).sweep()
    assert [trial.id for trial in plan(stored).trials] == [trial.id for trial in plan(wanted).trials]
    sources = ResultsFolder(there).variant_sources()
    assert {code: [file.name for file in files][1:] for code, files in sources.items()} == {
        wanted.variants[0].code: [],
        wanted.variants[1].code: ["nets/layers.py"],
    }


def test_a_sweep_trains_into_a_bucket_and_once_only(there, sweep):
    account = run_sweep(open_plan(there, sweep), there, Console(quiet=True), scheduler=SerialScheduler())
    assert (account.done, account.left) == (2, 0)
    assert open_plan(there, sweep).todo == []
    assert places.entries(there).keys() == {"sweep.yaml"}
    assert len(load_results(there).points) == 2 * 2 * len(READINGS)


def test_of_two_that_offer_a_file_at_once_all_take_the_first_and_the_other_is_deleted(there, monkeypatch):
    monkeypatch.setattr(agreement, "SETTLE_SECONDS", 2.0)
    with ThreadPoolExecutor(3) as pool:
        files = list(pool.map(lambda number: agreement.agree(there, "x", ".bin", b"%d" % number), range(3)))
    assert len(set(files)) == 1
    assert places.below(there) == [files[0].name]
    assert agreement.agree(there, "x", ".bin", b"late") == agreement.agreed(there, "x", ".bin") == files[0]
