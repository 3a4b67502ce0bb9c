"""The cores that a process may use: affinity, and quotas of control groups of both versions."""

import os

import pytest

from rdbench.machine import cpu_quota, limit_threads, usable_cores


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """A machine of eight cores, all of them open to this process."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("files", "quota", "count"),
    [
        ({}, None, 8),
        ({"two/job/step/cpu.max": "100000 100000\n"}, 1, 1),
        ({"two/job/step/cpu.max": "max 100000\n", "two/job/cpu.max": "300000 100000\n"}, 3, 3),
        ({"two/job/step/cpu.max": "400000 100000\n", "two/job/cpu.max": "150000 100000\n"}, 1.5, 1),
        ({"two/cpu.max": "25000 50000\n"}, 0.5, 1),
        ({"two/job/step/cpu.max": "junk"}, None, 8),
        ({"two/job/step/cpu.max": ""}, None, 8),
        ({"two/other/cpu.max": "100000 100000\n"}, None, 8),
        ({"one/box/cpu.cfs_quota_us": "190000\n", "one/box/cpu.cfs_period_us": "100000\n"}, 1.9, 2),
        ({"one/box/cpu.cfs_quota_us": "-1\n", "one/box/cpu.cfs_period_us": "100000\n"}, None, 8),
        ({"one/cpu.cfs_quota_us": "40000\n", "one/cpu.cfs_period_us": "20000\n"}, 2, 2),
        ({"one/box/cpu.cfs_quota_us": "9900000\n", "one/box/cpu.cfs_period_us": "100000\n"}, 99, 8),
    ],
)
def test_a_quota_of_this_group_or_one_above_it_is_kept(files, quota, count, control_groups):
    control_groups(files)
    assert cpu_quota() == quota
    assert usable_cores() == count


def test_a_container_that_sees_its_own_group_at_the_top_and_its_path_on_the_host(control_groups):
    control_groups({"one/cpu.cfs_quota_us": "200000", "one/cpu.cfs_period_us": "100000"}, root="/docker/box")
    assert usable_cores() == 2


def test_an_affinity_narrower_than_the_quota_counts(control_groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    control_groups({"two/cpu.max": "400000 100000"})
    assert usable_cores() == 2


def test_torch_gets_no_more_threads_than_the_quota_has_cores(control_groups, monkeypatch):
    import torch

    said = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", said.append)
    control_groups({"two/cpu.max": "300000 100000"})
    limit_threads()
    assert said == [3]
