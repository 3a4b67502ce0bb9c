"""BatchNorm and the activation after it as one layer, and no bias before it, for a GPU bound by its memory.

Passes over the result of a convolution, of N values, in a training step, beside the convolution's own:

    torch's layers      bias 2 + BatchNorm 3 + activation 2, backward 3 + 5 + bias 1 = 16 N
    here                BatchNorm with activation 3, backward 5                      =  8 N

Over all BatchNorms, activated or not, that is 0.78 M in place of 1.39 M values an image of the paper's
network on MNIST, and 4.06 M in place of 7.19 M on CelebA: counted, not measured.

BatchNorm subtracts a bias again, so in training it is not added: its gradient is zero, and it shifts the
running mean alone. In evaluation torch's own layers run, on the same parameters and statistics. On a GPU
torch.compile makes of two functions the kernels that this counts on; elsewhere they run as they are written.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from rdbench.vae.cpu_convolutions import transposed

FUSED_ON: frozenset[str] = frozenset()
"""Types of devices that train so; none until a GPU has shown that it pays (reports/gpu/measure.py).

The results differ from those of torch's layers by rounding alone.
"""

SHAPES = 64  # that each function may be compiled for: every layer of a network may have its own

Pair = tuple[Tensor, Tensor]


def _forward(
    x: Tensor, affine: Pair, running: Pair, shift: Tensor | None, how: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result, and each channel's mean and 1/std; bring the running mean and variance up to date.

    ``shift`` is the bias that was not added to ``x``; ``how`` are momentum, eps and the activation's slope.
    """
    (weight, bias), (running_mean, running_variance), (momentum, eps, slope) = affine, running, how
    values = x.to(weight.dtype)
    dims, count = [0, *range(2, x.dim())], x.numel() // x.shape[1]
    variance, mean = torch.var_mean(values, dims, correction=0)
    running_mean.lerp_(mean if shift is None else mean + shift, momentum)
    running_variance.lerp_(variance * (count / max(count - 1, 1)), momentum)
    scale = (variance + eps).rsqrt()
    result = _normalized(values, mean, scale) * _wide(weight, x) + _wide(bias, x)
    return torch.where(result > 0, result, slope * result).to(x.dtype), mean, scale


def _backward(
    gradient: Tensor, x: Tensor, affine: Pair, moments: Pair, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by ``x``, weight and bias, from that by the result."""
    (weight, bias), (mean, scale) = affine, moments
    dims, count = [0, *range(2, x.dim())], x.numel() // x.shape[1]
    normalized = _normalized(x.to(weight.dtype), mean, scale)
    # Whether the activation was above zero is computed again: to read it would be one more pass.
    above = normalized * _wide(weight, x) + _wide(bias, x) > 0
    by_sum = gradient.to(weight.dtype)
    by_sum = torch.where(above, by_sum, slope * by_sum)
    by_bias, by_weight = by_sum.sum(dims), (by_sum * normalized).sum(dims)
    centred = by_sum - (_wide(by_bias, x) + normalized * _wide(by_weight, x)) / count
    return (centred * _wide(weight * scale, x)).to(x.dtype), by_weight, by_bias


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """Return values of channels as they are to be combined with ``x``, (batch, channels, ...)."""
    return values.view(-1, *[1] * (x.dim() - 2))


def _normalized(values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (values - _wide(mean, values)) * _wide(scale, values)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor import config

    # Else kernels are chosen by their times, and sums in another order another time.
    options: Any = {"deterministic": True} if hasattr(config, "deterministic") else None
    return torch.compile(function, dynamic=False, fullgraph=True, options=options)


def _run(function: Callable[..., Any], x: Tensor, *more: Any) -> Any:
    if x.device.type == "cpu":
        return function(x, *more)
    with torch._dynamo.config.patch(recompile_limit=SHAPES):
        return _compiled(function)(x, *more)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | None, how: tuple[_BatchNorm, float]
    ) -> Tensor:
        norm, ctx.slope = how
        x, weight, bias = x.detach(), weight.detach(), bias.detach()  # whose history the compiler looks into
        running = (norm.running_mean, norm.running_var)
        result: Tensor
        result, *moments = _run(
            _forward, x, (weight, bias), running, shift, (norm.momentum, norm.eps, ctx.slope)
        )
        ctx.save_for_backward(x, weight, bias, *moments)
        ctx.shift = shift
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, *moments = ctx.saved_tensors
        gradients = _run(_backward, gradient, x, (weight, bias), tuple(moments), ctx.slope)
        # A zero: of none at all the optimizer would keep no state, and decay no weight.
        return *gradients, None if ctx.shift is None else torch.zeros_like(ctx.shift), None


class Layers(nn.Sequential):
    """Layers one after another; a BatchNorm trains as one with its neighbours on a device in FUSED_ON.

    Parameters, their names, and results in evaluation are those of torch's class.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in turn."""
        if x.device.type not in FUSED_ON:
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        layers = list(self)
        while layers:
            layer, shift = layers.pop(0), None
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layers and _fuses(layers[0]):
                x, shift, layer = _without_bias(layer, x), layer.bias, layers.pop(0)
            if _fuses(layer):
                activated = bool(layers) and isinstance(layers[0], nn.LeakyReLU)
                slope = layers.pop(0).negative_slope if activated else 1.0
                layer.num_batches_tracked.add_(1)  # type: ignore[operator]
                x = _Fused.apply(x, layer.weight, layer.bias, shift, (layer, slope))
            else:
                x = layer(x)
        return x


def _fuses(layer: nn.Module) -> bool:
    """Tell whether a layer is a BatchNorm under training; not one that takes the mean of all batches."""
    return isinstance(layer, _BatchNorm) and layer.training and layer.momentum is not None


def _without_bias(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if isinstance(layer, nn.ConvTranspose2d):
        return transposed(layer, x, layer.weight)
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)
