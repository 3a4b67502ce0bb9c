"""Every metric of every variant, on a GPU that is the CPU under another name: all lies where it has to."""

import dataclasses
import json

import pytest
import torch

from rdbench import metrics
from rdbench.metrics.features.classifier import classifier
from rdbench.registry.source import shipped
from rdbench.spec.sweep import VariantSpec
from rdbench.trial.job import Kept
from rdbench.trial.run import _trained_model
from rdbench.vae import models
from rdbench.vae.batches import Images
from rdbench.vae.evaluation import measure, picture_rows
from rdbench.vae.models import Standard
from rdbench.variants.two_stage import TwoStage
from tests.helpers.pretended_gpu import GPU, Generator, PretendedGpu

CPU = torch.device("cpu")
SMALL = {
    "ais": {"images": 2, "levels": 10, "chains": 2, "leapfrog": 1, "simulated": 2, "slopes": (1.0,)},
    "bits_back": {"images": 1},
    "coded": {"images": 8},
    "fd": {"features": "classifier", "samples": 200},
    "fd_classifier": {"samples": 200},
    "fd_infinity": {"features": "classifier", "samples": 400},
    "iwae": {"images": 8, "samples": 6},
    "kid": {"features": "classifier", "samples": 200, "subset_size": 20, "subsets": 3},
    "latents": {},
    "prdc": {"samples": 100, "k": 3},
    "reconstruction": {"features": "classifier", "images": 64},
}
WITH_INCEPTION_ONLY = {"fid"}  # which is kid's way with other features, and has weights to be fetched
VARIANTS = sorted(shipped().keys() - {"codec"})


def built(variant, trial, data):
    """A model of a variant on the host, untrained but for the statistics of its layers."""
    trial = trial.model_copy(update={"variant": VariantSpec(name=variant)})
    about = models.about(trial, data.shape, len(data.train.images))
    if variant == "two_stage":
        model = TwoStage(about, 8)
    elif variant == "multi_rate":
        model = Standard(about, about.network())
    else:
        model = models.build(trial, data.shape, len(data.train.images))
    with torch.no_grad():
        images = Images(data.train, CPU).batch(torch.arange(128))
        model.train()(images, torch.zeros(128, trial.model.latent))
    return trial, model.eval()


def measured(variant, trial, data, device):
    """Return the rows of all metrics, and what evaluation says of the test split."""
    trial, model = built(variant, trial, data)
    model.to(device)
    test = measure(model, trial, data, "test", device, 0.05)
    kept = Kept({model.about.beta: 3.0})
    looked_at = _trained_model(model, trial, data, test, device, kept)
    asked = [metrics.get(name).options(**options) for name, options in SMALL.items()]
    with models.seeded(trial, CPU):
        return metrics.rows(asked, looked_at), test, picture_rows(model, trial, data, device)


@pytest.fixture
def gpu(monkeypatch):
    mode = PretendedGpu()

    def moved(module, device=None, memory_format=None):
        for value in (*module.parameters(), *module.buffers()):
            value.pretended = device == GPU
        return module

    monkeypatch.setattr("rdbench.metrics.ais.MOST_LONGER", 0)  # the same again, several times as long
    monkeypatch.setattr("rdbench.metrics.bits_back.MEASURED_ON", 16)  # images, one by one
    monkeypatch.setattr("torch.Generator", Generator)
    monkeypatch.setattr("torch.nn.Module.to", moved)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (2**40, 2**40))
    Images._on_device.clear()
    yield mode
    Images._on_device.clear()


def test_all_metrics_are_tried():
    assert SMALL.keys() | WITH_INCEPTION_ONLY == set(metrics.names())


@pytest.mark.parametrize("variant", VARIANTS)
def test_metrics_on_a_gpu_are_those_on_the_host(trial, data, gpu, variant):
    classifier(data, CPU)  # trained on the host, once
    expected, test, _ = measured(variant, trial, data, CPU)
    with gpu:
        found, on_device, pictures = measured(variant, trial, data, GPU)
    assert gpu.kernels > 1000
    assert len(pictures) > 0
    for one, other in zip(found, expected, strict=True):
        ours, theirs = json.loads(one["settings"]), json.loads(other["settings"])
        error = ours.get("error")
        assert error == theirs.get("error"), error
        assert (one["name"], ours.get("quantity")) == (other["name"], theirs.get("quantity"))
        assert "undefined" in ours or one["value"] == pytest.approx(other["value"], rel=0.05, abs=0.05), ours
    for values, others in zip(*map(dataclasses.astuple, (on_device, test)), strict=True):
        assert (values is None) == (others is None)
        assert values is None or values == pytest.approx(others, rel=1e-4)
