"""One trial from its settings to its tables."""

import json
import math

import numpy as np
import pytest
import torch
from torch import backends

from rdbench import metrics
from rdbench.errors import DatasetError
from rdbench.metrics.latents import LatentsOptions
from rdbench.numerics.precision import exact_float32, training_arithmetic
from rdbench.spec.plan import Trial
from rdbench.trial.job import Kept, Outputs
from rdbench.trial.run import metric_rows, run_trial
from rdbench.vae import evaluation
from rdbench.vae.evaluation import Measurement

CPU = torch.device("cpu")


def test_tf32_and_autotuning_stay_out_of_a_trial_and_come_back_after_it(trial, data):
    seen = set()

    def look(epoch):
        precisions = backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision
        seen.add((*precisions, backends.cudnn.deterministic, backends.cudnn.benchmark))

    backends.cudnn.benchmark = True
    before = backends.cudnn.conv.fp32_precision
    try:
        run_trial(trial, data, CPU, look)
        assert seen == {("ieee", "ieee", True, False)}
        assert backends.cudnn.benchmark
        assert backends.cudnn.conv.fp32_precision == before
    finally:
        backends.cudnn.benchmark = False


def test_tf32_is_of_convolutions_and_products_while_a_network_trains_and_no_longer():
    """The settings of a GPU can be looked at without one."""

    def precisions():
        return backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision

    with exact_float32():
        with training_arithmetic("tf32", torch.device("cuda")):
            assert precisions() == ("tf32", "tf32")
        assert precisions() == ("ieee", "ieee")
        with training_arithmetic("float32", torch.device("cuda")):
            assert precisions() == ("ieee", "ieee")


def test_per_image_values_are_kept_when_asked_for(trial, data):
    assert "per_image" not in run_trial(trial, data, CPU)
    tables = run_trial(trial, data, CPU, outputs=Outputs(per_image=True))
    rows = tables["per_image"]
    assert [row["index"] for row in rows] == list(range(100))
    point = next(row for row in tables["points"] if row["split"] == "test" and row["reading"] == "half")
    assert sum(row["sse"] for row in rows) / 100 == pytest.approx(point["sse"])
    assert sum(row["rate"] for row in rows) / 100 == pytest.approx(point["rate"])


def test_a_trial_row_accounts_for_settings_and_provenance(trial, data):
    (row,) = run_trial(trial, data, CPU)["trials"]
    assert row["status"] == "done"
    assert Trial.from_json(row["spec"]).id == trial.id
    assert row["dataset_checksum"] == data.checksum
    assert json.loads(row["versions"])["torch"] == torch.__version__.split("+")[0]
    assert row["device"].endswith("1 thread")
    assert row["peak_memory_bytes"] > 50e6


@pytest.mark.parametrize("what", ["sse", "rate", "distortion"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_measurement_that_is_not_finite_is_no_result(trial, data, monkeypatch, what, split):
    def measure(model, trial, data, name, device, variance=None):
        values = {each: np.ones(5) for each in ("sse", "rate", "distortion")}
        if name == split:
            values[what][3] = math.inf
        return Measurement(**values)

    monkeypatch.setattr(evaluation, "measure", measure)
    tables = run_trial(trial, data, CPU)
    assert tables["trials"][0]["status"] == "diverged"
    assert f"on the {split} split is not finite" in tables["trials"][0]["error"]
    assert "points" not in tables


def test_protocol_paper_refuses_a_test_split_that_is_not_one_whole_batch(trial, data):
    settings = trial.train.model_copy(update={"batch_size": 101})
    small = trial.model_copy(update={"train": settings, "protocol": "paper"})
    with pytest.raises(DatasetError, match="100 test images do not fill one batch of 101"):
        run_trial(small, data, CPU)
    clean = run_trial(small.model_copy(update={"protocol": "clean"}), data, CPU)
    assert {row["n_images"] for row in clean["points"] if row["split"] == "test"} == {100}


def test_metrics_see_the_trial_and_its_test_images_in_exact_float32(trial, data, monkeypatch):
    seen = []

    def rows(asked, model):
        precisions = backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision
        seen.append((model, precisions))
        return []

    monkeypatch.setattr(metrics, "rows", rows)
    trial, kept = trial.model_copy(update={"seed": 3, "beta": 2.0, "protocol": "paper"}), []
    asked = [LatentsOptions()]
    tables = run_trial(
        trial,
        data,
        CPU,
        outputs=Outputs(asked, per_image=True),
        on_network=lambda trial, model: kept.append(model),
    )
    (train,) = {row["sse"] for row in tables["points"] if row["split"] == "train"}
    metric_rows(kept[0], trial, data, CPU, asked, Kept({2.0: train}))
    assert len(seen) == 2
    for model, precisions in seen:
        assert precisions == ("ieee", "ieee")
        assert (model.seed, model.beta, model.protocol, model.n_test) == (3, 2.0, "paper", 100)
        index = torch.tensor([5, 2])
        assert torch.equal(model.test_images(index) * 255, torch.tensor(data.test.images[index]).float())
        assert list(model.test_sse) == [row["sse"] for row in tables["per_image"]]
        assert model.train_sse == train
        assert model.own is model.test_rates is None
