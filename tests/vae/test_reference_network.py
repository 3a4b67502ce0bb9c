"""rdbench's networks compute what the description of the paper's does, and start as torch's layers do."""

import math

import pytest
import scipy.stats
import torch
from reference_network import Affine, Reference, layers, with_values_of
from torch import nn

from rdbench.numerics.seeding import generator
from rdbench.spec.sweep import ModelSpec
from rdbench.vae import networks
from rdbench.vae.batches import channels_last

MNIST = ((1, 28, 28), 32, (32, 64, 128))
CELEBA = ((3, 64, 64), 64, (32, 64, 128, 256))
ODD = ((2, 11, 6), 3, (4, 6))


def build(shape, latent, widths):
    return networks.build(ModelSpec(latent=latent, channels=widths), shape, generator(0, "init"))


def pair(shape, latent, widths):
    """rdbench's network and the reference in float64, with the same values, none of them as it was built."""
    network = build(shape, latent, widths).double()
    random = torch.Generator().manual_seed(0)
    for module in layers(network):  # else scales of one and shifts of zero could hide a layer
        for name, value in module.named_parameters():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                with torch.no_grad():
                    value.copy_((name == "weight") + 0.3 * torch.randn(value.shape, generator=random))
    return network, with_values_of(network, Reference(shape, latent, widths).double())


def batch(shape, latent, count, seed):
    random = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *shape, generator=random, dtype=torch.float64)
    return images, torch.randn(count, latent, generator=random, dtype=torch.float64)


def gradients(network, images, noise):
    """What a loss of everything that comes out has to say to each layer, and to the images."""
    images = images.clone().requires_grad_()
    reconstruction, mean, log_var = network(channels_last(images), noise)
    network.zero_grad()
    ((reconstruction - images) ** 2 / 2 + reconstruction**3).sum().add(
        (mean**2 + log_var.exp() + mean * log_var).sum()
    ).backward()
    by_layer = [value.grad for layer in layers(network) for value in layer.parameters()]
    return [reconstruction, mean, log_var], [*by_layer, images.grad]


def assert_same(found, expected, tolerance=1e-9):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = max(other.abs().max().item(), 1.0)
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("sizes", [MNIST, CELEBA, ODD], ids=["mnist", "celeba", "odd"])
def test_outputs_and_gradients_are_those_of_the_description(sizes):
    network, reference = pair(*sizes)
    for training in (True, False):  # evaluation by the statistics that the training's pass left
        network.train(training)
        reference.train(training)
        images, noise = batch(*sizes[:2], 4, seed=int(training))
        found, expected = (gradients(each, images, noise) for each in (network, reference))
        assert_same(found[0], expected[0])
        largest = max(each.abs().max() for each in expected[1])
        assert_same([each / largest for each in found[1]], [each / largest for each in expected[1]])


def test_statistics_for_evaluation_are_running_means_of_a_tenth_of_each_batch():
    network, reference = pair(*MNIST)
    first = layers(network)[1]
    expected_mean, expected_variance = torch.zeros(32).double(), torch.ones(32).double()
    for seed in range(4):
        images, noise = batch(*MNIST[:2], 5, seed)
        with torch.no_grad():
            network.train()(images, noise)
            reference.train()(images, noise)
            before = layers(reference)[0](images).transpose(0, 1).flatten(1)
        expected_mean = 0.9 * expected_mean + 0.1 * before.mean(1)
        expected_variance = 0.9 * expected_variance + 0.1 * before.var(1)  # over N - 1
    torch.testing.assert_close(first.running_mean, expected_mean)
    torch.testing.assert_close(first.running_var, expected_variance)
    for own, truth in zip(layers(network), layers(reference), strict=True):
        assert_same(list(own.buffers()), list(truth.buffers()))
    images, noise = batch(*MNIST[:2], 5, seed=9)
    with torch.no_grad():
        assert_same(network.eval()(images, noise), reference.eval()(images, noise))
        alone = network(images[:1], noise[:1])[0]
        assert_same([alone], [network(images, noise)[0][:1]])  # an image does not depend on its batch


def test_the_affine_pair_is_the_description():
    network = networks.build(ModelSpec(name="linear", latent=3, channels=()), (1, 1, 7), generator(0, "init"))
    assert (network.log_var == 0).all()
    network = network.double()
    with torch.no_grad():
        network.log_var.copy_(torch.tensor([-2.0, 0.0, 1.0]))
    reference = with_values_of(network, Affine((1, 1, 7), 3).double())
    images, noise = batch((1, 1, 7), 3, 5, seed=0)
    found, expected = (gradients(each, images, noise) for each in (network, reference))
    assert_same(found[0], expected[0])
    assert_same(found[1], expected[1])
    assert_same([network.log_var.grad], [reference.log_var.grad])


@pytest.mark.parametrize(("sizes", "count"), [(MNIST, 1_291_521), (CELEBA, 5_183_043)])
def test_the_description_has_as_many_parameters_as_the_released_model(sizes, count):
    """Of the truth itself: networks.py is counted in test_networks.py."""
    assert sum(value.numel() for value in Reference(*sizes).parameters()) == count


def spreads(network):
    """p-values that the values of each layer are uniform within 1/sqrt(fan in), as torch has them."""
    found = {}
    for place, layer in enumerate(layers(network)):
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()
            assert (layer.running_mean == 0).all()
            assert (layer.running_var == 1).all()
            continue
        inputs = layer.weight.shape[1]  # of a transposed convolution torch counts the outputs
        bound = 1 / math.sqrt(inputs * math.prod(layer.weight.shape[2:]))
        for name, value in layer.named_parameters():
            scaled = value.detach().flatten()[:20_000] / bound
            assert scaled.abs().max() <= 1
            found[place, name] = scipy.stats.kstest(scaled.numpy(), scipy.stats.uniform(-1, 2).cdf).pvalue
    return found


@pytest.mark.parametrize("sizes", [MNIST, CELEBA], ids=["mnist", "celeba"])
def test_weights_and_biases_start_uniform_within_one_over_the_root_of_the_fan_in(sizes):
    torch.manual_seed(0)
    for network in (Reference(*sizes), build(*sizes)):  # torch's defaults, and ours
        found = spreads(network)
        assert len(found) > 40
        assert min(found.values()) > 1e-4
