"""What a process does with the signals that ask it to stop."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rdbench.trial import signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def as_by_default():
    """Have no signal ignored, as they are where the tests run under nohup."""
    ignored = [number for number in ALL if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", ALL, ids=lambda number: number.name)
def test_each_is_counted_and_then_does_what_it_did_before(number):
    assert number in signals.STOP
    before = signal.getsignal(number)
    with signals.counted() as requests:
        assert requests.count == 0
        os.kill(os.getpid(), number)
        assert requests.count == 1
        os.kill(os.getpid(), next(other for other in ALL if other != number))
        assert requests.count == 2
    assert signal.getsignal(number) == before


def test_a_signal_that_timeout_or_a_terminal_sends_twice_is_one_request(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    requests = signals.StopRequests()
    requests(signal.SIGHUP, None)
    now += 0.01
    requests(signal.SIGHUP, None)
    assert requests.count == 1
    now += 2
    requests(signal.SIGHUP, None)
    assert requests.count == 2
    requests(signal.SIGINT, None)
    requests(signal.SIGINT, None)
    assert requests.count == 4


def test_a_handler_of_the_program_that_runs_a_sweep_stays():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *arguments: heard.append(arguments))
    try:
        with signals.counted() as requests:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (requests.count, len(heard)) == (0, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)


# The command line, asleep in a verb, until whatever it holds is let go.
VERB = """
import atexit, sys, time
from rdbench.cli import app as cli
def asleep():
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("let go", flush=True)
cli.app.command("asleep")(asleep)
sys.argv = ["rdbench", "asleep"]
cli.main()
"""


def send(number, *prefix):
    """Start the verb, send it a signal, and return the exit code and what it printed; None if it went on."""
    command = [*prefix, sys.executable, "-c", VERB]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)  # until its writer, too, knows that the line is written
        process.send_signal(number)
        try:
            printed, complained = process.communicate(timeout=2 if prefix else 60)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
        assert complained == ""
        return process.returncode, printed


@pytest.mark.parametrize("number", ALL, ids=lambda number: number.name)
def test_a_verb_lets_go_what_it_holds_and_ends_as_after_ctrl_c(number):
    assert send(number) == (130, "let go\n")


def test_a_command_that_was_started_by_nohup_outlives_its_terminal():
    assert send(signal.SIGHUP, "nohup") is None
    assert send(signal.SIGTERM, "nohup") == (130, "let go\n")
