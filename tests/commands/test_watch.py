"""The report of a running sweep is served on loopback, grows with its rows, and ends with the sweep."""

import threading
import urllib.request

import pytest
from report_builders import make_sweep, write

from rdbench.commands.watch import Watched, serve
from rdbench.errors import ResultsError


def test_the_page_grows_as_rows_land_and_the_time_left_is_told(tmp_path):
    sweep, now = make_sweep(seeds=2), [0.0]
    root = write(tmp_path / "study", sweep, skip=lambda trial: trial.seed == 1 or trial.beta == 10)
    watched = Watched(root, lambda: now[0])
    assert watched.look() == "2 done, 6 left to do"
    first, now[0] = watched.page("6 <left>"), 40.0
    assert b'<p role="status">6 &lt;left&gt;</p>' in first
    write(root, sweep, skip=lambda trial: trial.seed == 1)
    assert watched.look() == "4 done, 4 left to do, about 1 min 20 s left"  # two took 40 s
    assert watched.page("") != first
    assert not watched.ended
    write(root, sweep)
    watched.look()
    assert watched.ended


def test_it_is_served_on_loopback_until_the_sweep_is_done(tmp_path):
    sweep, lines, began = make_sweep(), [], threading.Event()
    root = write(tmp_path / "study", sweep, skip=lambda trial: trial.beta == 10)

    def say(line):
        lines.append(line)
        began.set()

    server = threading.Thread(target=serve, args=(root, say), kwargs={"every": 0.2}, daemon=True)
    server.start()
    assert began.wait(30)
    address = lines[0].split(" at ")[1].split()[0]
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Refresh"] == "1"
        assert b"2 done, 2 left to do" in answer.read()
    write(root, sweep)
    server.join(30)
    assert not server.is_alive()
    assert lines[1] == "4 done; the sweep is done"


def test_a_folder_that_is_none_is_refused_in_a_line(tmp_path):
    with pytest.raises(ResultsError) as error:
        serve(tmp_path / "none", print)
    assert "\n" not in str(error.value)
