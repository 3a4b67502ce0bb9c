"""Convolutions with torch's values that avoid what its CPU kernels do slowly or wrongly (in torch 2.15)."""

from typing import Any

import torch
from torch import Tensor, nn


def every_nth(n: int) -> nn.Module:
    """Return a layer that keeps every n-th pixel of both directions: all that a 1x1 kernel of stride n sees.

    It replaces the stride of a 1x1 convolution, because oneDNN's strided 1x1 kernel for AVX2 writes past its
    buffers in the backward pass of channels-last images of 2 to 7 channels: it aborts, or worse, does not.
    A pooling of one pixel, not a slice: a slice's gradient is never channels-last, and everything before it
    would be computed ten times slower.
    """
    return nn.AvgPool2d(1, n)


_SAME_SIZE = ((3, 3), (1, 1), (1, 1))
"""Kernel, stride and padding of a convolution whose result is as large as its input."""


def _to_one_channel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the transposed 3x3 convolution of stride 1 and padding 1 to a single channel.

    One matrix product for the nine taps, then nine shifted sums: oneDNN, whose vectors are filled with output
    channels, takes more than twice as long.
    """
    batch, channels, height, width = x.shape
    taps = weight.permute(2, 3, 1, 0).reshape(9, channels)
    products = (taps @ x.permute(0, 2, 3, 1).reshape(-1, channels).T).view(3, 3, batch, height, width)
    padded = x.new_zeros(batch, height + 2, width + 2)
    for row in range(3):
        for column in range(3):
            padded[:, row : row + height, column : column + width] += products[row, column]
    return (padded[:, 1:-1, 1:-1] + bias).unsqueeze(1)


class _Transposed(torch.autograd.Function):
    """A transposed convolution that computes the bias' gradient by a separate sum.

    Asked for all three gradients at once, torch spends more on the bias of channels-last images than on the
    other two (113 ms against 66 for the paper's last upsampling).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)
        ctx.layer = layer
        if layer.out_channels == 1 and (layer.kernel_size, layer.stride, layer.padding) == _SAME_SIZE:
            return _to_one_channel(x, weight, bias)
        return transposed(layer, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        layer = ctx.layer
        of_input, of_weight, of_bias, _ = ctx.needs_input_grad
        to_input, to_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, layer.stride, layer.padding, layer.dilation, True,
            layer.output_padding, layer.groups, (of_input, of_weight, False),
        )  # fmt: skip
        return to_input, to_weight, gradient.sum((0, 2, 3)) if of_bias else None, None

    @staticmethod
    def jvp(ctx: Any, along_x: Tensor, along_weight: Tensor, along_bias: Tensor, _: None) -> Tensor:
        x, weight = ctx.saved_tensors
        return transposed(ctx.layer, along_x, weight) + transposed(ctx.layer, x, along_weight, along_bias)


def transposed(layer: nn.ConvTranspose2d, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply torch's layer with another weight and bias."""
    padding: Any = layer.padding  # typed as tuple or text, which other layers allow
    return nn.functional.conv_transpose2d(
        x, weight, bias, layer.stride, padding, layer.output_padding, layer.groups, layer.dilation
    )


class TransposedConvolution(nn.ConvTranspose2d):
    """torch's layer, faster on channels-last images on a CPU."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (batch, inputs, h, w) to (batch, outputs, ...)."""
        # Not within torch.func: a Function that may be transformed costs some 30 us a call.
        if x.device.type == "cpu" and not torch._C._are_functorch_transforms_active():
            channels_last = x.is_contiguous(memory_format=torch.channels_last)
            if channels_last and not torch.is_autocast_enabled("cpu"):
                result: Tensor = _Transposed.apply(x, self.weight, self.bias, self)
                return result
        return super().forward(x, output_size)
