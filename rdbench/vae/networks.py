"""The networks of "Beta-Sigma VAE" (Kim & Lee, ICPR 2024, released code), and an affine pair to calibrate by.

``encode`` gives the posterior's mean and log variance, ``decode`` the decoder's mean, which is any real
number: there is no output non-linearity. Images have shape (batch, channels, height, width), latents
(batch, latent).

A network may hold K members side by side (:mod:`rdbench.vae.packs`), which never mix: convolutions are
grouped, affine maps batched, BatchNorm is per channel. Images then have K times the channels and latents K
times the length, member by member.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from rdbench.spec.sweep import ModelSpec
from rdbench.vae.cpu_convolutions import TransposedConvolution, every_nth

Shape = tuple[int, int, int]


class GaussianNetwork(nn.Module):
    """A Gaussian encoder and decoder, of one member or of K side by side."""

    members = 1

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, K latent), of (batch, K channels, ...)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, K channels, height, width), of latents (batch, K latent)."""
        raise NotImplementedError

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, posterior mean and log variance, with z = mean + noise * std."""
        mean, log_var = self.encode(images)
        return self.decode(mean + noise * (log_var / 2).exp()), mean, log_var


class Linears(nn.Module):
    """K affine maps side by side: (batch, K inputs) to (batch, K outputs), member by member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(members * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(members * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each map to its part of ``x``."""
        parts = x.unflatten(1, (self.members, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.members, -1))
        bias = self.bias.unflatten(0, (self.members, 1, -1))
        return torch.baddbmm(bias, parts, weight.mT).transpose(0, 1).flatten(1)


def linear(members: int, inputs: int, outputs: int) -> nn.Module:
    """Return K affine maps; a single one is torch's layer."""
    return nn.Linear(inputs, outputs) if members == 1 else Linears(members, inputs, outputs)


def _activation() -> nn.Module:
    return nn.LeakyReLU(inplace=True)  # its input, a BatchNorm's result or a sum, is not needed again


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, members: int) -> list[nn.Module]:
    layer = nn.Conv2d(members * inputs, members * outputs, kernel, stride, kernel // 2, groups=members)
    return [layer, nn.BatchNorm2d(members * outputs)]


class ResidualBlock(nn.Module):
    """conv3x3 - BN - LeakyReLU - conv3x3 - BN, plus the shortcut; LeakyReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, members: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride, members),
            _activation(),
            *_convolution(outputs, outputs, 3, 1, members),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(every_nth(stride), *_convolution(inputs, outputs, 1, 1, members))
        self.activation = _activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return out


class ConvNetwork(GaussianNetwork):
    """The paper's residual encoder and transposed-convolution decoder (Kim & Lee 2024, released code).

    Every width in ``channels`` halves the image once. With channels (32, 64, 128) and latent 32 on
    1x28x28 it has 1,291,521 parameters; with (32, 64, 128, 256) and 64 on 3x64x64, 5,183,043.
    """

    def __init__(
        self, shape: Shape, latent: int, channels: Sequence[int], members: int = 1, outputs: int = 1
    ) -> None:
        super().__init__()
        self.members = members
        width, *size = shape
        sizes = [size]  # of the images, then of each block's result
        blocks: list[nn.Module] = []
        for channel in channels:
            blocks += [ResidualBlock(width, channel, 2, members), ResidualBlock(channel, channel, 1, members)]
            width = channel
            sizes.append([math.ceil(side / 2) for side in sizes[-1]])
        features = width * math.prod(sizes[-1])
        self.encoder = nn.Sequential(
            *blocks,
            nn.Flatten(),
            linear(members, features, 2 * latent),
            nn.BatchNorm1d(members * 2 * latent),
            _activation(),
        )
        self.posterior = linear(members, 2 * latent, 2 * latent)

        layers: list[nn.Module] = [
            linear(members, latent, features),
            nn.BatchNorm1d(members * features),
            _activation(),
            nn.Unflatten(1, (members * width, *sizes[-1])),
            ResidualBlock(width, width, 1, members),
        ]
        # Up through the encoder's sizes; the last step keeps the width.
        for small, large, channel in zip(
            sizes[:0:-1], sizes[-2::-1], [*channels[-2::-1], channels[0]], strict=True
        ):
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers += [
                TransposedConvolution(members * width, members * channel, 3, 2, 1, padding, groups=members),
                nn.BatchNorm2d(members * channel),
                _activation(),
            ]
            width = channel
        self.decoder = nn.Sequential(*layers)
        values = members * shape[0] * outputs
        self.output = TransposedConvolution(members * width, values, 3, 1, 1, groups=members)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, K latent)."""
        parameters = _in_float32(self.posterior, self.encoder(images))
        mean, log_var = parameters.unflatten(1, (self.members, -1)).chunk(2, dim=2)
        return mean.flatten(1), log_var.flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, K channels, height, width)."""
        return _in_float32(self.output, self.decoder(latents))


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a last layer in float32, also when training in bf16: a pixel or a mean has more than 8 bits."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.to(next(layer.parameters()).dtype))
    return result


class LinearNetwork(GaussianNetwork):
    """An affine encoder mean, one learned posterior variance a latent, and an affine decoder.

    On a Gaussian source its optimum is known in closed form (:mod:`rdbench.numerics.theory`).
    """

    def __init__(self, shape: Shape, latent: int, members: int = 1, outputs: int = 1) -> None:
        super().__init__()
        self.members = members
        self.shape = (members * shape[0] * outputs, *shape[1:])
        self.encoder = linear(members, math.prod(shape), latent)
        self.log_var = nn.Parameter(torch.zeros(members * latent))
        self.decoder = linear(members, latent, math.prod(shape) * outputs)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, K latent)."""
        mean = _in_float32(self.encoder, images.flatten(1))
        return mean, self.log_var.expand_as(mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, K channels, height, width)."""
        mean: Tensor = _in_float32(self.decoder, latents).unflatten(1, self.shape)
        return mean


def empty(model: ModelSpec, shape: Shape, members: int, outputs: int = 1) -> GaussianNetwork:
    """Return the network a spec asks for, of so many members, its values yet to be set."""
    if model.name == "linear":
        return LinearNetwork(shape, model.latent, members, outputs)
    return ConvNetwork(shape, model.latent, model.channels, members, outputs)


def build(model: ModelSpec, shape: Shape, generator: Generator, outputs: int = 1) -> GaussianNetwork:
    """Return the network a spec asks for, with initial weights drawn from ``generator`` alone.

    The distributions are PyTorch's defaults: uniform within 1/sqrt(fan in) for weights and biases. The
    decoder gives ``outputs`` values for each value of an image, in so many times the channels; its last
    layer is drawn last, so the others do not depend on that number.
    """
    network = empty(model, shape, 1, outputs)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # As torch.nn.init counts it, also where a transposed convolution swaps the first two dimensions.
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator)
    return network


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
