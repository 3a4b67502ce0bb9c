"""The cores that this process may run on."""

import os


def usable_cores() -> int:
    """Return how many there are: fewer than the machine has where an affinity is set."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
