"""The networks of "Beta-Sigma VAE" (Kim & Lee, ICPR 2024, released code), and an affine pair to calibrate by.

``encode`` gives the posterior's mean and log variance, ``decode`` the decoder's mean, which is any real
number: there is no output non-linearity. Images have shape (batch, channels, height, width), latents
(batch, latent).
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from rdbench.spec.sweep import ModelSpec
from rdbench.vae.cpu_convolutions import TransposedConvolution, every_nth
from rdbench.vae.fused import Layers

Shape = tuple[int, int, int]


class GaussianNetwork(nn.Module):
    """A Gaussian encoder and decoder."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent), of (batch, channels, ...)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width), of latents (batch, latent)."""
        raise NotImplementedError

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, posterior mean and log variance, with z = mean + noise * std."""
        mean, log_var = self.encode(images)
        return self.decode(mean + noise * (log_var / 2).exp()), mean, log_var


def _activation() -> nn.Module:
    return nn.LeakyReLU(inplace=True)  # its input, a BatchNorm's result or a sum, is not needed again


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.BatchNorm2d(outputs)]


class ResidualBlock(nn.Module):
    """conv3x3 - BN - LeakyReLU - conv3x3 - BN, plus the shortcut; LeakyReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = Layers(
            *_convolution(inputs, outputs, 3, stride),
            _activation(),
            *_convolution(outputs, outputs, 3, 1),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = Layers(every_nth(stride), *_convolution(inputs, outputs, 1, 1))
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

    def __init__(self, shape: Shape, latent: int, channels: Sequence[int], outputs: int = 1) -> None:
        super().__init__()
        width, *size = shape
        sizes = [size]  # of the images, then of each block's result
        blocks: list[nn.Module] = []
        for channel in channels:
            blocks += [ResidualBlock(width, channel, 2), ResidualBlock(channel, channel, 1)]
            width = channel
            sizes.append([math.ceil(side / 2) for side in sizes[-1]])
        features = width * math.prod(sizes[-1])
        self.encoder = Layers(
            *blocks,
            nn.Flatten(),
            nn.Linear(features, 2 * latent),
            nn.BatchNorm1d(2 * latent),
            _activation(),
        )
        self.posterior = nn.Linear(2 * latent, 2 * latent)

        layers: list[nn.Module] = [
            nn.Linear(latent, features),
            nn.BatchNorm1d(features),
            _activation(),
            nn.Unflatten(1, (width, *sizes[-1])),
            ResidualBlock(width, width, 1),
        ]
        # Up through the encoder's sizes; the last step keeps the width.
        for small, large, channel in zip(
            sizes[:0:-1], sizes[-2::-1], [*channels[-2::-1], channels[0]], strict=True
        ):
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers += [
                TransposedConvolution(width, channel, 3, 2, 1, padding),
                nn.BatchNorm2d(channel),
                _activation(),
            ]
            width = channel
        self.decoder = Layers(*layers)
        self.output = TransposedConvolution(width, shape[0] * outputs, 3, 1, 1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent)."""
        mean, log_var = _in_float32(self.posterior, self.encoder(images)).chunk(2, dim=1)
        return mean, log_var

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width)."""
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

    def __init__(self, shape: Shape, latent: int, outputs: int = 1) -> None:
        super().__init__()
        self.shape = (shape[0] * outputs, *shape[1:])
        self.encoder = nn.Linear(math.prod(shape), latent)
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.decoder = nn.Linear(latent, math.prod(shape) * outputs)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent)."""
        mean = _in_float32(self.encoder, images.flatten(1))
        return mean, self.log_var.expand_as(mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width)."""
        mean: Tensor = _in_float32(self.decoder, latents).unflatten(1, self.shape)
        return mean


def build(model: ModelSpec, shape: Shape, generator: Generator, outputs: int = 1) -> GaussianNetwork:
    """Return the network a spec asks for, with initial weights drawn from ``generator`` alone.

    The distributions are PyTorch's defaults: uniform within 1/sqrt(fan in) for weights and biases. The
    decoder gives ``outputs`` values for each value of an image, in so many times the channels; its last
    layer is drawn last, so the others do not depend on that number.
    """
    network: GaussianNetwork = (
        LinearNetwork(shape, model.latent, outputs)
        if model.name == "linear"
        else ConvNetwork(shape, model.latent, model.channels, outputs)
    )
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
