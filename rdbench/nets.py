"""The networks: the reference encoder and decoder of the paper, and an affine pair for calibration.

A network is a Gaussian VAE's two halves: ``encode`` gives the posterior's mean and log variance,
``decode`` the mean of the decoder. Images have shape (batch, channels, height, width), latents
(batch, latent). There is no output non-linearity: the decoder's mean is any real number.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from rdbench.spec import ModelSpec

Shape = tuple[int, int, int]


class GaussianNetwork(nn.Module):
    """What training and evaluation ask of a network."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width)."""
        raise NotImplementedError

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, posterior mean and log variance, with z = mean + noise * std.

        Args:
            images: (batch, channels, height, width).
            noise: standard normal, (batch, latent).
        """
        mean, log_var = self.encode(images)
        return self.decode(mean + noise * (log_var / 2).exp()), mean, log_var


class EveryNth(nn.Module):
    """Every n-th pixel of both directions: a 1x1 convolution of stride n sees no others.

    Taken before the convolution rather than by its stride, because oneDNN's strided 1x1 kernel for AVX2
    writes past its buffers in the backward pass of channels-last images of 2 to 7 channels (seen in torch
    2.15: aborts, or worse, goes on).
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to (batch, channels, ceil(h / n), ceil(w / n))."""
        return x[:, :, :: self.n, :: self.n]


class ResidualBlock(nn.Module):
    """conv3x3 - BN - LeakyReLU - conv3x3 - BN, plus the shortcut; LeakyReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                EveryNth(stride), nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        out: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return out


class ConvNetwork(GaussianNetwork):
    """The paper's residual encoder and transposed-convolution decoder (Kim & Lee 2024, released code).

    Every width in ``channels`` halves the image once. With channels (32, 64, 128) and latent 32 on
    1x28x28 it has 1,291,521 parameters; with (32, 64, 128, 256) and 64 on 3x64x64, 5,183,043.
    """

    def __init__(self, shape: Shape, latent: int, channels: Sequence[int]) -> None:
        super().__init__()
        depth, *size = shape
        sizes = [(size[0], size[1])]
        blocks: list[nn.Module] = []
        width = depth
        for channel in channels:
            blocks += [ResidualBlock(width, channel, 2), ResidualBlock(channel, channel, 1)]
            width = channel
            sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
        features = width * math.prod(sizes[-1])
        self.encoder = nn.Sequential(
            *blocks,
            nn.Flatten(),
            nn.Linear(features, 2 * latent),
            nn.BatchNorm1d(2 * latent),
            nn.LeakyReLU(),
            nn.Linear(2 * latent, 2 * latent),
        )

        layers: list[nn.Module] = [
            nn.Linear(latent, features),
            nn.BatchNorm1d(features),
            nn.LeakyReLU(),
            nn.Unflatten(1, (width, *sizes[-1])),
            ResidualBlock(width, width, 1),
        ]
        # Going up through the encoder's sizes: the narrower widths first, the last step keeps the width.
        for small, large, channel in zip(
            sizes[:0:-1], sizes[-2::-1], [*channels[-2::-1], channels[0]], strict=True
        ):
            padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
            layers += [
                nn.ConvTranspose2d(width, channel, 3, 2, 1, output_padding=padding),
                nn.BatchNorm2d(channel),
                nn.LeakyReLU(),
            ]
            width = channel
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(width, depth, 3, 1, 1))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent)."""
        mean, log_var = self.encoder(images).chunk(2, dim=1)
        return mean, log_var

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width)."""
        mean: Tensor = self.decoder(latents)
        return mean


class LinearNetwork(GaussianNetwork):
    """An affine encoder mean, one learned posterior variance a latent, and an affine decoder.

    On a Gaussian source its optimum is known in closed form (:mod:`rdbench.theory`).
    """

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = nn.Linear(math.prod(shape), latent)
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.decoder = nn.Linear(latent, math.prod(shape))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, latent)."""
        mean: Tensor = self.encoder(images.flatten(1))
        return mean, self.log_var.expand_as(mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, channels, height, width)."""
        mean: Tensor = self.decoder(latents).unflatten(1, self.shape)
        return mean


def build(model: ModelSpec, shape: Shape, generator: Generator) -> GaussianNetwork:
    """Return the network a spec asks for, with initial weights drawn from ``generator`` alone.

    The distributions are PyTorch's defaults: uniform within 1/sqrt(fan in) for weights and biases.
    """
    if model.name == "linear":
        network: GaussianNetwork = LinearNetwork(shape, model.latent)
    else:
        network = ConvNetwork(shape, model.latent, model.channels)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # weight[0] has the fan-in's elements also where a transposed convolution swaps the first two
            # dimensions: that is how torch.nn.init counts it.
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator)
    return network


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
