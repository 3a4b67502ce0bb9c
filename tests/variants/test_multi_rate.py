"""multi_rate: its gates, what they leave at one beta, and one training against one for each beta."""

import json
import math

import pytest
import torch

from rdbench import datasets
from rdbench.errors import SpecError
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.api import Run
from rdbench.trial.by_kind import train_and_measure
from rdbench.vae import models
from rdbench.vae.models import seeded
from rdbench.variants.multi_rate import Gate, MultiRate, multi_rate

CPU = torch.device("cpu")
BETAS = (0.03, 0.1, 0.3, 1.0)
EPOCHS = 10


def _trial(variant: str, beta: float = BETAS[0], epochs: int = 1, model=None) -> Trial:
    sweep = Sweep.model_validate(
        {
            "name": "test",
            "dataset": {"name": "digits"},
            "variants": [variant],
            "beta": [beta],
            "train": {"epochs": epochs, "batch_size": 64, "lr": 0.01},
            "model": model or {"latent": 8, "channels": [16]},
        }
    )
    trial = plan(sweep).trials[0]
    if variant != "multi_rate":
        return trial
    settings = json.loads(trial.to_json())
    settings["variant"]["options"]["betas"] = BETAS
    return Trial.from_json(json.dumps(settings))


def _model(root: bool = False) -> MultiRate:
    trial = _trial("multi_rate")
    with seeded(trial, CPU):  # in colour, so that the last layer has more than one factor
        return MultiRate(models.about(trial, (3, 8, 8), 100), BETAS, torch.Generator().manual_seed(0), root)


@pytest.fixture
def digits(tmp_path):
    return datasets.load(_trial("beta_vae").dataset, tmp_path)


@pytest.mark.parametrize("root", [False, True])
def test_a_gate_is_the_papers_function_of_an_affine_map_of_ln_beta(root):
    gate = Gate(3, root)
    with torch.no_grad():
        gate.affine.weight.copy_(torch.tensor([[0.5], [1.0], [2.0]]))
        gate.affine.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    x = [0.5 * math.log(0.5) - 1, math.log(0.5), 2 * math.log(0.5) + 1]  # below 0: 1 - exp(x) is positive
    truth = [math.sqrt(1 - math.exp(v)) if root else 1 / (1 + math.exp(-v)) for v in x]
    assert gate(torch.tensor(math.log(0.5))).tolist() == pytest.approx(truth, rel=1e-5)
    switched_off = gate(torch.tensor(5.0))
    switched_off.sum().backward()
    assert torch.isfinite(gate.affine.weight.grad).all()


def _times(factor: torch.Tensor):
    return lambda layer, inputs, output: output * factor


def test_every_pre_activation_is_scaled_by_its_gate():
    model = _model().eval()
    images, noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(4, 8)
    model.set_beta(math.log(0.3))
    outputs: dict[str, torch.Tensor] = {}
    for name, layer in model.network.named_modules():
        if name.replace(".", "/") in model.gates:
            factor = model.gates[name.replace(".", "/")](torch.tensor(math.log(0.3)))
            shape = (1, -1) if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.Linear) else (1, -1, 1, 1)
            layer.register_forward_hook(_times(factor.view(shape)))
            outputs[name] = factor
    norms = [m for m in model.network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(outputs) == len(norms) + 2
    reconstruction, mean, log_var = model.network(images, noise)  # each output times its factor, by hooks
    for layer in model.network.modules():
        layer._forward_hooks.clear()
    terms = model(images, noise)
    torch.testing.assert_close(terms.reconstruction, reconstruction)
    torch.testing.assert_close(terms.posterior, (mean, log_var))


def test_ln_beta_and_its_gates_are_float32_where_a_training_is_in_bf16():
    model = _model()
    model.set_beta(math.log(0.3))
    exact = model.weights()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.weights()
    assert all(torch.equal(exact[name], rounded[name]) for name in exact)


def test_at_one_beta_it_is_a_reference_network():
    model = _model().eval()
    images, noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(4, 8)
    model.set_beta(math.log(0.3))
    terms = model(images, noise)
    reconstruction, mean, log_var = model.at(0.3).eval()(images, noise)
    torch.testing.assert_close(reconstruction, terms.reconstruction)
    torch.testing.assert_close((mean, log_var), terms.posterior)
    assert not torch.allclose(model.at(1.0).eval()(images, noise)[0], reconstruction)


def test_training_draws_ln_beta_uniformly_over_the_sweeps_range_and_weighs_the_rate_by_it():
    model = _model()
    images, noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(4, 8)
    drawn = []
    for _ in range(200):
        model.before_step()
        terms = model(images, noise)
        drawn.append(model.log_beta.item())
    loss = model.loss(images, terms, 77.0)
    torch.testing.assert_close(loss, terms.sse + math.exp(drawn[-1]) * terms.rate)
    low, high = math.log(BETAS[0]), math.log(BETAS[-1])
    place = (torch.tensor(drawn) - low) / (high - low)
    assert place.min() >= 0
    assert place.max() <= 1
    sorted_place = place.sort().values
    largest = (sorted_place - torch.linspace(0, 1, 200)).abs().max()
    assert largest < 1.63 / math.sqrt(200)  # Kolmogorov-Smirnov at 1%


def test_batch_norm_is_measured_anew_for_each_beta(digits):
    trial = _trial("multi_rate")
    with seeded(trial, CPU):
        result = multi_rate(Run(trial, CPU, BETAS), digits)
    assert list(result.model) == list(BETAS)
    for beta, model in result.model.items():
        assert model.about.beta == beta
        batches = [images for images, _ in next(Run(trial, CPU, BETAS).epochs(digits))]
        convolution, norm = model.network.encoder[0].residual[:2]
        with torch.no_grad():
            means = [convolution(images).mean((0, 2, 3)) for images in batches]
        torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)
        assert not model.training
    first, last = (result.model[beta].network.encoder[-2].running_var for beta in (BETAS[0], BETAS[-1]))
    assert not torch.allclose(first, last, rtol=0.01)


def test_a_network_without_layers_to_gate_is_refused(digits):
    trial = _trial("multi_rate", model={"name": "linear", "latent": 4})
    with pytest.raises(SpecError, match="model conv"):
        multi_rate(Run(trial, CPU, BETAS), digits)


def test_one_training_gives_the_curve_of_digits_that_one_for_each_beta_gives(digits):
    (curve,) = train_and_measure(
        [_trial("multi_rate", epochs=EPOCHS)], digits, CPU, lambda member, epoch: None
    )
    sse = [curve.measured[beta]["test"].sse.mean() for beta in BETAS]
    rate = [curve.measured[beta]["test"].rate.mean() for beta in BETAS]
    assert sse == sorted(sse)
    assert rate == sorted(rate, reverse=True)
    for beta, d, r in zip(BETAS, sse, rate, strict=True):
        (alone,) = train_and_measure(
            [_trial("beta_vae", beta, EPOCHS)], digits, CPU, lambda member, epoch: None
        )
        test = alone.measured[beta]["test"]
        # 0.980, 0.921, 0.878 and 1.012 times as large: below 1 where the one alone, after so few epochs, has
        # further to go. At beta 1 it lags behind in rate, 0.76 nats against 0.03.
        assert d + beta * r < 1.15 * (test.sse.mean() + beta * test.rate.mean())
