"""The networks: the reference encoder and decoder of the paper, and an affine pair for calibration.

A network is a Gaussian VAE's two halves: ``encode`` gives the posterior's mean and log variance,
``decode`` the mean of the decoder. Images have shape (batch, channels, height, width), latents
(batch, latent). There is no output non-linearity: the decoder's mean is any real number.

A network may be a pack: K members side by side, which never mix, because one of these models leaves a GPU
idle and pays for every kernel launch. Convolutions are grouped, affine maps batched, BatchNorm is per
channel anyway. Then images have K times the channels and latents K times the length, member by member, and
every parameter holds its members' values one after another along its first dimension: that is all
:func:`pack` and :func:`unpack` need to know.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from rdbench.spec.sweep import ModelSpec

Shape = tuple[int, int, int]


class GaussianNetwork(nn.Module):
    """What training and evaluation ask of a network, of one member or of K side by side."""

    members = 1

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, K latent), of (batch, K channels, ...)."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, K channels, height, width), of latents (batch, K latent)."""
        raise NotImplementedError

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, posterior mean and log variance, with z = mean + noise * std.

        Args:
            images: (batch, K channels, height, width).
            noise: standard normal, (batch, K latent).
        """
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
    """Return K affine maps; one is torch's own layer."""
    return nn.Linear(inputs, outputs) if members == 1 else Linears(members, inputs, outputs)


def every_nth(n: int) -> nn.Module:
    """Return a layer that keeps every n-th pixel of both directions: all that a 1x1 kernel of stride n sees.

    It stands before a 1x1 convolution, in place of its stride, because oneDNN's strided 1x1 kernel for AVX2
    writes past its buffers in the backward pass of channels-last images of 2 to 7 channels (seen in torch
    2.15: aborts, or worse, goes on). It is a pooling of one pixel and not a slice, whose gradient is never
    channels-last: everything before it would then be computed ten times slower on a CPU.
    """
    return nn.AvgPool2d(1, n)


_SAME_SIZE = ((3, 3), (1, 1), (1, 1))
"""Kernel, stride and padding of a convolution whose result is as large as its input."""


def _to_one_channel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the transposed 3x3 convolution of stride 1 and padding 1 to a single channel.

    One matrix product for the nine taps, and nine shifted sums: oneDNN fills its vectors with output channels
    and takes more than twice as long.
    """
    batch, channels, height, width = x.shape
    taps = weight.permute(2, 3, 1, 0).reshape(9, channels)
    parts = (taps @ x.permute(0, 2, 3, 1).reshape(-1, channels).T).view(3, 3, batch, height, width)
    padded = x.new_zeros(batch, height + 2, width + 2)
    for row in range(3):
        for column in range(3):
            padded[:, row : row + height, column : column + width] += parts[row, column]
    return (padded[:, 1:-1, 1:-1] + bias).unsqueeze(1)


class _Transposed(torch.autograd.Function):
    """A transposed convolution whose bias' gradient is a sum of its own.

    Asked for all three gradients at once, torch 2.15 computes that of the bias of channels-last images on a
    CPU at more than the cost of the other two (113 ms against 66 for the paper's last upsampling).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.layer = layer
        if layer.out_channels == 1 and (layer.kernel_size, layer.stride, layer.padding) == _SAME_SIZE:
            return _to_one_channel(x, weight, bias)
        return _transposed(layer, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        layer = ctx.layer
        by_input, by_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, layer.stride, layer.padding, layer.dilation, True,
            layer.output_padding, layer.groups, (ctx.needs_input_grad[0], True, False),
        )  # fmt: skip
        return by_input, by_weight, gradient.sum((0, 2, 3)), None

    @staticmethod
    def jvp(ctx: Any, along_x: Tensor, along_weight: Tensor, along_bias: Tensor, _: None) -> Tensor:
        x, weight = ctx.saved_tensors
        return _transposed(ctx.layer, along_x, weight) + _transposed(ctx.layer, x, along_weight, along_bias)


def _transposed(layer: nn.ConvTranspose2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply torch's layer with another weight and bias."""
    padding: Any = layer.padding  # which of other layers may be a word
    return nn.functional.conv_transpose2d(
        x, weight, bias, layer.stride, padding, layer.output_padding, layer.groups, layer.dilation
    )


class TransposedConvolution(nn.ConvTranspose2d):
    """torch's layer, cheaper on channels-last images on a CPU."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, ...)."""
        # Within torch.func it is torch's own: a Function that may be transformed costs some 30 us a call.
        if x.device.type == "cpu" and not torch._C._are_functorch_transforms_active():
            channels_last = x.is_contiguous(memory_format=torch.channels_last)
            if channels_last and not torch.is_autocast_enabled("cpu"):
                result: Tensor = _Transposed.apply(x, self.weight, self.bias, self)
                return result
        return super().forward(x, output_size)


def _activation() -> nn.Module:
    return nn.LeakyReLU(inplace=True)  # what it overwrites, a BatchNorm's result or a sum, nobody needs again


class ResidualBlock(nn.Module):
    """conv3x3 - BN - LeakyReLU - conv3x3 - BN, plus the shortcut; LeakyReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, members: int = 1) -> None:
        super().__init__()
        total_in, total_out = members * inputs, members * outputs
        self.residual = nn.Sequential(
            nn.Conv2d(total_in, total_out, 3, stride, 1, groups=members),
            nn.BatchNorm2d(total_out),
            _activation(),
            nn.Conv2d(total_out, total_out, 3, 1, 1, groups=members),
            nn.BatchNorm2d(total_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                every_nth(stride),
                nn.Conv2d(total_in, total_out, 1, groups=members),
                nn.BatchNorm2d(total_out),
            )
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
        depth, *size = shape
        sizes = [(size[0], size[1])]
        blocks: list[nn.Module] = []
        width = depth
        for channel in channels:
            blocks += [
                ResidualBlock(width, channel, 2, members),
                ResidualBlock(channel, channel, 1, members),
            ]
            width = channel
            sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
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
        # Going up through the encoder's sizes: the narrower widths first, the last step keeps the width.
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
        self.output = TransposedConvolution(
            members * width, members * depth * outputs, 3, 1, 1, groups=members
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x), each (batch, K latent)."""
        parameters = _in_float32(self.posterior, self.encoder(images))
        mean, log_var = parameters.unflatten(1, (self.members, -1)).chunk(2, dim=2)
        return mean.flatten(1), log_var.flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, (batch, K channels, height, width)."""
        return _in_float32(self.output, self.decoder(latents))


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a last layer in float32 also where bf16 is trained in: a pixel or a mean has more than 8 bits."""
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


def _empty(model: ModelSpec, shape: Shape, members: int, outputs: int = 1) -> GaussianNetwork:
    if model.name == "linear":
        return LinearNetwork(shape, model.latent, members, outputs)
    return ConvNetwork(shape, model.latent, model.channels, members, outputs)


def build(model: ModelSpec, shape: Shape, generator: Generator, outputs: int = 1) -> GaussianNetwork:
    """Return the network a spec asks for, with initial weights drawn from ``generator`` alone.

    The distributions are PyTorch's defaults: uniform within 1/sqrt(fan in) for weights and biases. The
    decoder gives ``outputs`` values for each value of an image, in so many times the channels; its last
    layer is drawn last, so that all others are the same whatever their number.
    """
    network = _empty(model, shape, 1, outputs)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # weight[0] has the fan-in's elements also where a transposed convolution swaps the first two
            # dimensions: that is how torch.nn.init counts it.
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound, generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator)
    return network


def pack(model: ModelSpec, shape: Shape, networks: Sequence[GaussianNetwork]) -> GaussianNetwork:
    """Return one network that holds several, built by :func:`build` for ``model`` and ``shape``."""
    if len(networks) == 1:
        return networks[0]
    states = [network.state_dict() for network in networks]
    packed = _empty(model, shape, len(networks))
    packed.load_state_dict(
        # BatchNorm's count of batches is one number, the same for all
        {
            name: torch.cat([state[name] for state in states]) if tensor.ndim else tensor
            for name, tensor in states[0].items()
        }
    )
    return packed


def unpack(model: ModelSpec, shape: Shape, packed: GaussianNetwork) -> list[GaussianNetwork]:
    """Return a pack's members, each a network of its own, on the same device and in the same mode."""
    if packed.members == 1:
        return [packed]
    state, networks = packed.state_dict(), []
    for member in range(packed.members):
        network = _empty(model, shape, 1)
        network.load_state_dict(
            {
                name: tensor.chunk(packed.members)[member] if tensor.ndim else tensor
                for name, tensor in state.items()
            }
        )
        device = next(packed.parameters()).device
        network.to(device=device, memory_format=torch.channels_last).train(packed.training)  # type: ignore[call-overload]
        networks.append(network)
    return networks


def to_bytes(network: nn.Module) -> bytes:
    """Return a network's values in the safetensors format."""
    from safetensors.torch import save

    # Copies: the format holds no two tensors that share memory, as those of a module with two names do.
    state = network.state_dict()
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})


def load(network: nn.Module, content: bytes) -> None:
    """Give a network the values that :func:`to_bytes` wrote.

    Raises:
        ValueError: the bytes are not those of such a network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"not the weights of this model ({str(error).splitlines()[0]})") from None


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())
