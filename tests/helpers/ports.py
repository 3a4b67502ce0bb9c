"""Ports for servers of tests."""

import random
import socket

RANGE = range(20_000, 32_768)
"""Above the ports of Ray's workers and below those that Linux gives connections by itself (from 32,768, with
Ray's own 52,365 among them): nobody takes such a port between its choice and its use."""


def free_port():
    """Return a port of this machine that nobody listens on."""
    while True:
        port = random.SystemRandom().choice(RANGE)  # not of a seed that other processes of the tests have too
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
