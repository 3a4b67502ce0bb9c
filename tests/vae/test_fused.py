"""BatchNorm, activation and bias as one layer train as torch's layers do, to rounding."""

import copy
import functools
import itertools

import pytest
import torch
from torch import nn

from rdbench.spec.sweep import ModelSpec
from rdbench.vae import fused
from rdbench.vae.fused import Layers
from rdbench.vae.models import About
from rdbench.vae.networks import ConvNetwork
from rdbench.variants.multi_rate import MultiRate

TOLERANCE = {torch.float64: (1e-10, 1e-10), torch.float32: (2e-4, 5e-4)}
KINDS = {
    "convolution, activated": lambda: [
        nn.Conv2d(3, 5, 3, 2, 1),
        nn.BatchNorm2d(5),
        nn.LeakyReLU(inplace=True),
    ],
    "convolution": lambda: [nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5)],
    "convolution without bias": lambda: [nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5, momentum=0.3)],
    "transposed": lambda: [nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2)],
    "linear": lambda: [nn.Flatten(), nn.Linear(75, 6), nn.BatchNorm1d(6), nn.LeakyReLU(inplace=True)],
    "two": lambda: [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, eps=1e-3), nn.Conv2d(5, 2, 1), nn.BatchNorm2d(2)],
    "none": lambda: [nn.Conv2d(3, 5, 3), nn.LeakyReLU()],
}


def twins(kind, dtype=torch.float64):
    """The same layers twice, with other parameters than the initial ones, and images."""
    torch.manual_seed(0)
    layers = Layers(*KINDS[kind]()).to(dtype)
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    images = torch.randn(3, 7, 3, 5, 5, dtype=dtype) + 2
    return layers, copy.deepcopy(layers), images


@pytest.fixture
def on(monkeypatch):
    """Turn the one implementation on and off."""

    def switch(value):
        monkeypatch.setattr(fused, "FUSED_ON", frozenset({"cpu"}) if value else frozenset())

    return switch


def steps(layers, images, upstream):
    """Results and gradients of a step on each batch."""
    found = []
    for x in images:
        x = x.to(memory_format=torch.channels_last).clone().requires_grad_()
        layers.zero_grad()
        y = layers(x)
        (y * upstream(y)).sum().backward()
        found += [y.detach(), x.grad, *(value.grad for value in layers.parameters())]
    return found


def upstream(y):
    return torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape).sin()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_the_statistics_they_leave_are_torchs(on, kind, dtype):
    plain, ours, images = twins(kind, dtype)
    rtol, atol = TOLERANCE[dtype]
    on(False)
    expected = steps(plain, images, upstream)
    on(True)
    found = steps(ours, images, upstream)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol * other.abs().max().clamp(min=1))
    state, expected = ours.state_dict(), plain.state_dict()
    assert list(state) == list(expected)  # also the running mean of what has a bias
    for name in state:
        torch.testing.assert_close(state[name], expected[name], rtol=rtol, atol=atol, msg=name)
    on(False)
    torch.testing.assert_close(ours.eval()(images[0]), plain.eval()(images[0]), rtol=rtol, atol=10 * atol)
    on(True)
    assert torch.equal(ours(images[0]), ours.eval()(images[0]))


def test_the_bias_before_a_batch_norm_has_a_gradient_of_zero_and_no_other_use(on):
    _, ours, images = twins("convolution, activated")
    on(True)
    expected = steps(copy.deepcopy(ours), images, upstream)[0]
    with torch.no_grad():
        ours[0].bias.add_(100)
    assert torch.equal(steps(ours, images, upstream)[0], expected)
    assert torch.equal(ours[0].bias.grad, torch.zeros(5, dtype=torch.float64))


def test_gradients_are_the_slopes_of_the_result(on):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).double()
    given = [torch.randn(4, 3, 2, 2), torch.randn(3), torch.randn(3)]
    given = [value.double().requires_grad_() for value in given]
    assert torch.autograd.gradcheck(lambda *x: fused._Fused.apply(*x, None, (norm, 0.2)), given)


@pytest.mark.parametrize("kind", ["convolution, activated", "transposed", "linear"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_as_far_as_with_torch(on, kind, value):
    plain, ours, images = twins(kind)
    images[0, 0, 0, 0, 0] = value
    found = []
    for layers, switch in ((plain, False), (ours, True)):
        on(switch)
        results = [*steps(layers, images[:1], upstream), *layers.state_dict().values()]
        found.append([one.isfinite() for place, one in enumerate(results) if place != BIAS[kind]])
    assert not all(one.all() for one in found[0])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


BIAS = {"convolution, activated": 3, "transposed": 3, "linear": None}  # whose gradient is zero here


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_only_a_batch_norm_under_training_that_weighs_by_momentum_is_fused(on, monkeypatch, momentum):
    calls, apply = [], fused._Fused.apply
    monkeypatch.setattr(fused._Fused, "apply", lambda *given: calls.append(given) or apply(*given))
    _, ours, images = twins("convolution, activated")
    ours[1].momentum = momentum
    on(True)
    ours(images[0])
    assert len(calls) == (momentum is not None)
    ours[1].eval()
    ours(images[0])
    assert len(calls) == (momentum is not None)
    on(False)
    ours.train()(images[0])
    assert len(calls) == (momentum is not None)


def test_no_device_is_fused_until_a_gpu_was_measured():
    assert not fused.FUSED_ON


def test_bf16_is_rounded_once_at_the_end(on):
    plain, ours, images = twins("convolution, activated", torch.float32)
    on(True)
    with torch.autocast("cpu", torch.bfloat16):
        result = ours(images[0])
        x = fused._without_bias(ours[0], images[0])
    assert x.dtype == result.dtype == torch.bfloat16
    plain[1].weight.requires_grad_(False)
    exact = nn.functional.batch_norm(
        x.double(), None, None, *map(torch.Tensor.double, ours[1].parameters()), True
    )
    exact = nn.functional.leaky_relu(exact)
    assert ((result - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()
    assert ours[1].running_mean.dtype == torch.float32


def test_a_network_learns_the_same(on):
    """All parameters but biases that have no use: torch's are moved by the rounding of their gradients."""
    shape, results = (2, 9, 9), []
    for switch in (False, True):
        on(switch)
        torch.manual_seed(0)
        network = ConvNetwork(shape, 3, (4, 6)).double()
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
        for x in torch.rand(3, 8, *shape, dtype=torch.float64):
            result, mean, log_var = network(x, torch.zeros(8, 3, dtype=torch.float64))
            ((result - x) ** 2 + mean.sum() ** 2 + log_var.exp().sum()).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append((network, optimizer.state_dict()))
    (plain, state), (ours, our_state) = results
    idle = {
        f"{name}.{place}.bias"
        for name, layers in plain.named_modules() if isinstance(layers, nn.Sequential)
        for place, (one, other) in enumerate(itertools.pairwise(layers))
        if isinstance(one, nn.Conv2d | nn.ConvTranspose2d) and isinstance(other, nn.BatchNorm2d)
    }  # fmt: skip
    assert len(idle) == 14
    torch.manual_seed(0)
    initial = ConvNetwork(shape, 3, (4, 6)).double().state_dict()
    for name, value in ours.state_dict().items():
        if name in idle:  # it decays, and that is all
            torch.testing.assert_close(value, initial[name] * (1 - 1e-4) ** 3, rtol=1e-12, atol=0, msg=name)
        elif "running_mean" not in name:  # which biases shift
            torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-6, atol=1e-8, msg=name)
    assert {key: set(one) for key, one in state["state"].items()} == {
        key: set(one) for key, one in our_state["state"].items()
    }


def test_a_network_evaluates_what_its_running_mean_was_taken_of(on):
    torch.manual_seed(0)
    network = ConvNetwork((1, 8, 8), 2, (4,)).double()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.add_(torch.randn_like(value))
    plain, images = copy.deepcopy(network), torch.rand(16, 1, 8, 8, dtype=torch.float64)
    noise = torch.zeros(16, 2, dtype=torch.float64)
    for one, switch in ((plain, False), (network, True)):
        on(switch)
        for _ in range(400):  # until the running statistics are the batch's
            one(images, noise)
    on(False)
    trained = [one.eval()(images, noise)[0] for one in (plain, network)]
    torch.testing.assert_close(*trained, rtol=1e-9, atol=1e-9)


def test_gated_parameters_are_those_that_are_used(on):
    about, found = About((1, 8, 8), 2, 1.0, 16, ModelSpec(latent=2, channels=(4,)), 0), []
    images = torch.rand(16, 1, 8, 8, dtype=torch.float64)
    for switch in (False, True):
        on(switch)
        torch.manual_seed(0)
        model = MultiRate(about, (0.1, 1.0), torch.Generator(), root=False).double()
        model.set_beta(-1.0)
        terms = model(images, torch.zeros(16, 2, dtype=torch.float64))
        model.loss(images, terms, 1.0).mean().backward()
        found.append({name: value.grad for name, value in model.named_parameters()})
    plain, ours = found
    assert all(gradient.abs().max() > 0 for name, gradient in ours.items() if name.startswith("gates"))
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", ["convolution, activated", "linear", "convolution without bias"])
def test_the_compiler_takes_both_functions_whole(on, monkeypatch, kind):
    """As on a GPU, but for the kernels."""
    plain, ours, images = twins(kind)

    @functools.cache
    def compiled(function):
        return torch.compile(function, backend="aot_eager", dynamic=False, fullgraph=True)

    on(True)
    expected = steps(plain, images, upstream)
    monkeypatch.setattr(fused, "_run", lambda function, *given: compiled(function)(*given))
    for one, other in zip(steps(ours, images, upstream), expected, strict=True):
        torch.testing.assert_close(one, other)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name])
