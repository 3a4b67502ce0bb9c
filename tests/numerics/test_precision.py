"""A trial's arithmetic on a GPU: one order of sums, and nothing of it left behind."""

import os

import pytest
import torch

from rdbench.numerics.precision import exact_float32


def settings():
    return (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.conv.fp32_precision,
    )


@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_sums_in_one_order_and_a_cpu_is_left_alone(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = settings()
    with exact_float32():
        assert settings() == ((1, False, True, "ieee") if gpu else (0, True, True, "ieee"))
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if gpu else None)
    assert settings() == before


def test_what_the_user_set_for_cublas_stays(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with exact_float32():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
