"""coded and bits_back: on a Gaussian source the cost over Shannon's rate is known, and so is the ELBO."""

import math

import numpy as np
import pytest
import torch

from rdbench import datasets
from rdbench.metrics import bits_back, coded, stored
from rdbench.metrics.bits_back import BitsBackOptions
from rdbench.metrics.coded import CodedOptions
from rdbench.numerics import coding, theory
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.job import Outputs
from rdbench.trial.run import run_trial

SPECTRUM = (2.0, 1.0, 0.7, 0.4)


def run(tmp_path, metric, **settings):
    """Train one trial and return its values of a metric: (quantity, step) -> value; and its test points."""
    sweep = Sweep.model_validate({"name": "t", "seeds": 1, "metrics": [metric], **settings})
    (trial,) = plan(sweep).trials
    data = datasets.load(trial.dataset, tmp_path)
    tables = run_trial(trial, data, torch.device("cpu"), outputs=Outputs(metrics=sweep.metrics))

    values = {}
    for row in tables["metrics"]:
        settings = stored.settings(row)
        if "error" in settings:
            raise RuntimeError(settings["error"])
        values[settings["quantity"], settings.get("step")] = row["value"]
    return values, next(row for row in tables["points"] if row["split"] == "test")


def test_at_fine_steps_a_gaussian_source_costs_a_quarter_of_a_bit_a_latent_over_shannon(tmp_path):
    dataset = {"name": "gaussian", "eigenvalues": SPECTRUM, "train_images": 20_000, "test_images": 20_000}
    values, _ = run(
        tmp_path, {"name": "coded", "steps": [0.5, 1.0], "fit": 20_000}, dataset=dataset, beta=[1e-4],
        variants=["linear_coder"], model={"name": "linear", "latent": 4},
    )  # fmt: skip
    for step in (0.5, 1.0):
        shannon = float(theory.rate_at(SPECTRUM, values["sse", step])) / math.log(2)
        over = (values["bits", step] - shannon) / len(SPECTRUM)
        assert over == pytest.approx(0.5 * math.log2(2 * math.pi * math.e / 12), abs=0.02)
        assert values["prior_bits", step] == pytest.approx(values["bits", step], rel=0.01)
        assert ("psnr", step) not in values  # values of this source are no pixels


def test_coarser_steps_take_fewer_bits_and_decode_to_larger_errors(tmp_path):
    values, point = run(
        tmp_path, {"name": "coded", "steps": [4, 0.5, 1, 2]}, dataset="digits", beta=[0.1],
        variants=["linear_coder"], model={"latent": 8, "channels": [8]},
    )  # fmt: skip
    steps = [0.5, 1.0, 2.0, 4.0]
    assert np.all(np.diff([values["bits", step] for step in steps]) < 0)
    assert np.all(np.diff([values["sse", step] for step in steps]) > 0)
    kl = point["rate"] / math.log(2)
    for step in steps:
        assert values["bits_over_kl", step] == pytest.approx(values["bits", step] - kl, abs=1e-3)
        assert values["psnr", step] == pytest.approx(-10 * math.log10(values["sse", step] / 64))


def test_of_fewer_bits_alone_none_are_the_best():
    """As of the rate: a model that says nothing takes the fewest."""
    better = {quantity.name: quantity.better for quantity in coded.METRIC.quantities}
    assert better == {
        "bits": None,
        "prior_bits": None,
        "bits_over_kl": "lower",
        "sse": "lower",
        "psnr": "higher",
    }


def test_bits_back_is_within_one_per_cent_of_the_negative_elbo(tmp_path):
    values, point = run(
        tmp_path, {"name": "bits_back", "images": 1000}, dataset="digits", beta=[0.1],
        variants=["linear_coder"], model={"latent": 8, "channels": [8]},
    )  # fmt: skip
    net = values["bits_per_dim", None]
    assert net == pytest.approx(values["elbo_bits_per_dim", None], rel=0.01)
    assert net == pytest.approx(point["binned_bits_per_dim"], rel=0.01)
    assert values["start_up_bits", None] > 0


@pytest.mark.parametrize("metric", ["coded", "bits_back"])
def test_what_decodes_wrongly_is_an_error_and_no_number(metric, tmp_path, monkeypatch):
    if metric == "coded":
        monkeypatch.setattr(coding, "decode_latents", lambda words, images, models: [np.zeros(images)] * 8)
    else:
        monkeypatch.setattr(coding.BitsBack, "pop", lambda self, stack: np.zeros(64, np.int32))
    with pytest.raises(RuntimeError, match="decodes to other"):
        run(tmp_path, metric, dataset="digits", beta=[0.1], variants=["linear_coder"],
            model={"latent": 8, "channels": [8]})  # fmt: skip


def test_images_that_are_no_bytes_are_refused_before_anything_is_trained(tmp_path):
    asked = {"name": "t", "dataset": "gaussian", "variants": ["beta_vae"], "beta": [1]}
    dataset = Sweep.model_validate(asked | {"model": {"name": "linear"}}).dataset
    data = datasets.load(dataset, tmp_path)
    assert "8-bit images" in bits_back.METRIC.missing(BitsBackOptions(), data, "clean")
    assert coded.METRIC.missing(CodedOptions(), data, "clean") is None


def test_options_say_what_is_wrong_with_them():
    with pytest.raises(ValueError, match="greater than 0"):
        CodedOptions(steps=(0,))
    assert CodedOptions(steps=(2, 1, 2)).steps == (1, 2)
