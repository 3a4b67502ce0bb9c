"""The reference networks are the paper's, and their initial weights come from one generator."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rdbench.numerics.seeding import generator
from rdbench.spec.sweep import ModelSpec
from rdbench.vae import networks
from rdbench.vae.batches import channels_last

MNIST = ModelSpec(latent=32, channels=(32, 64, 128))
CELEBA = ModelSpec(latent=64, channels=(32, 64, 128, 256))


def build(model: ModelSpec, shape: tuple[int, int, int], seed: int = 0) -> networks.GaussianNetwork:
    return networks.build(model, shape, generator(seed, "init"))


@pytest.mark.parametrize(
    ("model", "shape", "encoder", "decoder", "total"),
    [
        (MNIST, (1, 28, 28), 822_112, 469_409, 1_291_521),
        (CELEBA, (3, 64, 64), 3_329_504, 1_853_539, 5_183_043),
    ],
)
def test_parameter_counts_are_those_of_the_released_model(model, shape, encoder, decoder, total):
    network = build(model, shape)
    halves = (network.encoder, network.posterior), (network.decoder, network.output)
    assert [sum(map(networks.count_parameters, half)) for half in halves] == [encoder, decoder]
    assert networks.count_parameters(network) == total


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 17, 23), (3, 32, 32), (3, 64, 64), (2, 5, 9)])
def test_the_decoder_mirrors_the_encoders_sizes(shape):
    network = build(ModelSpec(latent=5, channels=(4, 6, 8)), shape)
    images = torch.rand(3, *shape)
    reconstruction, mean, log_var = network(images, torch.randn(3, 5))
    assert reconstruction.shape == images.shape
    assert mean.shape == log_var.shape == (3, 5)


# torch's own, when its forward mode is used for the first time
FORWARD = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)


@FORWARD
def test_a_whole_network_has_a_jacobian_forward_and_backward_and_image_by_image():
    network = build(ModelSpec(latent=3, channels=(4, 6)), (1, 8, 8)).double().eval()
    network.to(memory_format=torch.channels_last)
    images = channels_last(torch.rand(2, 1, 8, 8, dtype=torch.float64))
    latents = network.encode(images)[0].detach()

    def decoded(latent):
        return network.decode(latent[None])[0]

    forward = torch.stack([torch.func.jacfwd(decoded)(latent) for latent in latents])
    backward = torch.stack([torch.autograd.functional.jacobian(decoded, latent) for latent in latents])
    torch.testing.assert_close(forward, backward)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(decoded))(latents), backward)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(decoded))(latents), backward)

    def encoded(image):
        return network.encode(image[None])[0][0]

    encoder = torch.stack([torch.autograd.functional.jacobian(encoded, image) for image in images])
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(encoded))(images), encoder)


def test_the_shortcut_is_a_strided_1x1_convolution():
    block = networks.ResidualBlock(3, 8, 2)
    every, convolution, norm = block.shortcut
    strided = torch.nn.Conv2d(3, 8, 1, 2)
    strided.load_state_dict(convolution.state_dict())
    images = torch.rand(2, 3, 7, 10)
    torch.testing.assert_close(norm(convolution(every(images))), norm(strided(images)))


class Orders(TorchDispatchMode):
    """Notes the memory order of what BatchNorm works on, forward and backward."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "native_batch_norm" in str(function) and args[0].ndim == 4:
            values = [each for each in args[:2] if each.ndim == 4]  # forward: images; backward: gradient too
            self.noted.append(all(each.is_contiguous(memory_format=torch.channels_last) for each in values))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_training_step_keeps_to_one_memory_order(channels):
    """Where a gradient comes in the other order, a CPU takes ten times as long for it."""
    network = build(ModelSpec(latent=4, channels=(8, 16)), (channels, 28, 28)).train()
    network.to(memory_format=torch.channels_last)
    images = channels_last(torch.rand(50, channels, 28, 28))
    with Orders() as orders:
        reconstruction, _, _ = network(images, torch.randn(50, 4))
        (reconstruction - images).square().sum().backward()
    blocks, upsamplings = 2 * 2 + 1, 2
    assert len(orders.noted) == 2 * (2 * blocks + 2 + upsamplings)  # two of each block, two of shortcuts
    assert all(orders.noted)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_training_steps_on_channels_last_images_leave_memory_intact(channels):
    """A kernel that writes past its buffer ends the process here, if it does anywhere."""
    network = build(ModelSpec(latent=4, channels=(16, 32)), (channels, 32, 32)).train()
    network.to(memory_format=torch.channels_last)
    images = torch.rand(50, channels, 32, 32).contiguous(memory_format=torch.channels_last)
    for _ in range(4):
        reconstruction, _, _ = network(images, torch.randn(50, 4))
        (reconstruction - images).square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_initial_weights_depend_on_the_generator_alone():
    torch.manual_seed(1)
    first = build(MNIST, (1, 28, 28)).state_dict()
    torch.manual_seed(2)
    again = build(MNIST, (1, 28, 28)).state_dict()
    other = build(MNIST, (1, 28, 28), seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.0.residual.0.weight"], other["encoder.0.residual.0.weight"])


def test_initial_weights_have_torchs_default_distribution():
    network = build(MNIST, (1, 28, 28))
    torch.manual_seed(0)
    compared = 0
    for module in network.modules():
        if getattr(module, "weight", torch.empty(0)).numel() < 1000:  # too few to estimate a spread from
            continue
        for name in ("weight", "bias"):
            ours = getattr(module, name).detach().clone()
            module.reset_parameters()
            theirs = getattr(module, name).detach()
            if isinstance(module, torch.nn.BatchNorm1d):
                assert torch.equal(ours, theirs)
            elif name == "weight":
                assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)
                assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.02)
            else:
                assert ours.abs().max().item() <= theirs.abs().max().item() * 1.3
        compared += 1
    assert compared > 15


def test_noise_is_scaled_by_the_posteriors_standard_deviation():
    network = build(ModelSpec(name="linear", latent=2, channels=()), (1, 1, 4))
    with torch.no_grad():
        network.log_var.copy_(torch.tensor([0.0, math.log(9.0)]))
    images, noise = torch.rand(5, 1, 1, 4), torch.randn(5, 2)
    reconstruction, mean, _ = network(images, noise)
    expected = network.decode(mean + noise * torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(reconstruction, expected)
