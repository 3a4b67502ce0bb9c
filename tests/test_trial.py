"""One trial from its settings to its tables."""

import json

import pytest
import torch
from torch import backends

from rdbench.plan import Trial
from rdbench.precision import exact_float32, training_arithmetic
from rdbench.trial import run_trial

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
    tables = run_trial(trial, data, CPU, keep_per_image=True)
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
