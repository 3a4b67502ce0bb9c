"""The cores that this process may use: by its affinity, and by the time that control groups grant it."""

import math
import os

from rdbench import cgroups


def usable_cores() -> int:
    """Return how many there are, at least 1: fewer than the machine has where an affinity or a quota is set.

    A quota that is no whole number is rounded to the nearest one, a half downwards.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return there if quota is None else min(there, max(1, math.ceil(quota - 0.5)))


def cpu_quota() -> float | None:
    """Return the cores' worth of time that control groups grant; None where they set no limit."""
    found = cgroups.limits("cpu", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    return min((each for words in found if (each := _share(words))), default=None)


def _share(words: list[str]) -> float | None:
    try:
        quota, period = map(float, words)
    except ValueError:  # "max 100000"
        return None
    return quota / period if quota > 0 and period > 0 else None  # version 1 says -1 for no limit


def limit_threads() -> None:
    """Have torch compute in no more threads than there are cores to use: by itself it knows of no quota."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
