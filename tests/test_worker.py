"""A worker commits every trial of its pack, whatever happens to the others."""

import pytest
import torch

from rdbench import store, worker
from rdbench.spec import VariantSpec
from rdbench.trial import run_pack
from rdbench.worker import Job, work


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "results", tmp_path, keep_per_image=False, threads=1)


@pytest.fixture
def pack(trial):
    return [
        trial.model_copy(update={"beta": beta, "variant": VariantSpec(name=name)})
        for beta in (0.1, 1.0, 10.0)
        for name in ("beta_vae", "bs_vae")
    ]


def test_a_pack_leaves_a_committed_trial_for_each_member(pack, job):
    shares = []
    figures = work(pack, job, "cpu", shares.append)
    assert store.trial_ids(job.results) == sorted(trial.id for trial in pack)
    assert [one["status"] for one in figures] == ["done"] * 6
    assert max(shares) == 1


def test_a_pack_that_does_not_fit_is_run_in_halves_until_it_does(pack, job, monkeypatch):
    sizes = []

    def short_of_memory(members, *arguments, **options):
        sizes.append(len(members))
        if len(members) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", short_of_memory)
    figures = work(pack, job, "cpu")
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    assert [one["status"] for one in figures] == ["done"] * 6
    assert store.trial_ids(job.results) == sorted(trial.id for trial in pack)


def test_the_one_trial_that_raises_fails_alone(pack, job, monkeypatch):
    def raises(members, *arguments, **options):
        if pack[3] in members:
            raise RuntimeError("no such thing")
        return run_pack(members, *arguments, **options)

    monkeypatch.setattr(worker, "run_pack", raises)
    figures = work(pack, job, "cpu")
    assert [one["status"] for one in figures] == ["done"] * 3 + ["failed"] + ["done"] * 2
    assert "RuntimeError: no such thing" in figures[3]["error"]
    assert len(store.trial_ids(job.results)) == 6
