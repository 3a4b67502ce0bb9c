"""The paper's networks and objectives, written from their description with nothing but torch: the truth that
rdbench's own are held against. It must not import rdbench.
"""

import math

import torch
from torch import Tensor, nn


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def norm(kind: type[nn.Module], values: int) -> nn.Module:
    return kind(values, eps=1e-5, momentum=0.1)


class Block(nn.Module):
    """conv3x3 - BN - LeakyReLU - conv3x3 - BN, plus the shortcut, LeakyReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.first_norm = norm(nn.BatchNorm2d, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, stride=1, padding=1)
        self.second_norm = norm(nn.BatchNorm2d, outputs)
        self.changes = stride != 1 or inputs != outputs
        if self.changes:
            self.short = nn.Conv2d(inputs, outputs, 1, stride=stride)
            self.short_norm = norm(nn.BatchNorm2d, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(leaky(self.first_norm(self.first(x)))))
        return leaky(y + (self.short_norm(self.short(x)) if self.changes else x))


class Reference(nn.Module):
    """Encoder and decoder for images of ``shape`` (channels, height, width)."""

    def __init__(self, shape: tuple[int, int, int], latent: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = [shape[1:]]
        for _ in widths:
            sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
        self.inner = (widths[-1], *sizes[-1])
        features = math.prod(self.inner)

        self.down = nn.ModuleList()
        for inputs, outputs in zip((shape[0], *widths[:-1]), widths, strict=True):
            self.down.extend([Block(inputs, outputs, 2), Block(outputs, outputs, 1)])
        self.hidden = nn.Linear(features, 2 * latent)
        self.hidden_norm = norm(nn.BatchNorm1d, 2 * latent)
        self.posterior = nn.Linear(2 * latent, 2 * latent)

        self.start = nn.Linear(latent, features)
        self.start_norm = norm(nn.BatchNorm1d, features)
        self.block = Block(widths[-1], widths[-1], 1)
        self.up = nn.ModuleList()
        backwards = widths[::-1]
        for step, (inputs, outputs) in enumerate(zip(backwards, (*backwards[1:], widths[0]), strict=True)):
            # Twice the size, or one less where the encoder's was odd.
            odd = tuple(side % 2 for side in sizes[-2 - step])
            extra = tuple(1 - each for each in odd)
            self.up.append(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=extra))
            self.up.append(norm(nn.BatchNorm2d, outputs))
        self.last = nn.ConvTranspose2d(widths[0], shape[0], 3, stride=1, padding=1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images
        for block in self.down:
            x = block(x)
        both = self.posterior(leaky(self.hidden_norm(self.hidden(x.reshape(len(x), -1)))))
        half = both.shape[1] // 2
        return both[:, :half], both[:, half:]

    def decode(self, latents: Tensor) -> Tensor:
        x = leaky(self.start_norm(self.start(latents))).reshape(-1, *self.inner)
        x = self.block(x)
        for up, up_norm in zip(self.up[::2], self.up[1::2], strict=True):
            x = leaky(up_norm(up(x)))
        return self.last(x)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.encode(images)
        return self.decode(mean + log_var.exp().sqrt() * noise), mean, log_var


class Affine(nn.Module):
    """The affine pair: an encoder mean, one learned variance a latent, a decoder mean."""

    def __init__(self, shape: tuple[int, int, int], latent: int) -> None:
        super().__init__()
        self.shape = shape
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.encoder = nn.Linear(math.prod(shape), latent)
        self.decoder = nn.Linear(latent, math.prod(shape))

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.encoder(images.reshape(len(images), -1))
        log_var = self.log_var[None].repeat(len(images), 1)
        x = self.decoder(mean + log_var.exp().sqrt() * noise)
        return x.reshape(-1, *self.shape), mean, log_var


def layers(network: nn.Module) -> list[nn.Module]:
    """The layers that have values of their own, in the order of the description."""
    return [each for each in network.modules() if not list(each.children()) and list(each.parameters())]


def with_values_of(network: nn.Module, reference: nn.Module) -> nn.Module:
    """Give the reference the values of rdbench's network, layer by layer; shapes have to be the same."""
    for theirs, own in zip(layers(network), layers(reference), strict=True):
        own.load_state_dict(theirs.state_dict())
    with torch.no_grad():  # what belongs to no layer
        for name, value in reference.named_parameters(recurse=False):
            value.copy_(network.get_parameter(name))
    return reference


def sse_and_rate(network: nn.Module, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error and KL(q(z|x) || N(0, 1)) of each image."""
    reconstruction, mean, log_var = network(images, noise)
    sse = ((images - reconstruction) ** 2).sum((1, 2, 3))
    rate = ((mean**2 + log_var.exp() - 1 - log_var) / 2).sum(1)
    return sse, rate


def loss(variant: str, sse: Tensor, rate: Tensor, beta: float, n: int) -> Tensor:
    """The objectives of the paper, of each image."""
    if variant == "beta_vae":
        return sse + beta * rate
    assert variant == "bs_vae"
    return n / 2 * (torch.log(2 * math.pi * sse / n + 1e-5) + 1) + beta * rate
