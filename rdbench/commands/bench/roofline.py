"""What a device can do at most, and what a training step asks of it."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from rdbench.numerics.precision import exact_float32, training_arithmetic
from rdbench.spec.plan import Trial
from rdbench.vae import models
from rdbench.vae.networks import Shape

TRIES = 5


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of the fastest of some tries, after one to warm up.

    Importing torch.utils.benchmark warns of a missing GPU where there is a CUDA compiler, so it is not used.
    """
    seconds = []
    for _ in range(TRIES + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


@exact_float32()
def peak_flops(device: torch.device, precision: str) -> float:
    """Return the floating-point operations a second of a large matrix product, in a training precision.

    A CPU's is that of float32, since few have bf16 in hardware, and of the faster of torch's two libraries:
    as a product (MKL) or as a 1x1 convolution (oneDNN). On AMD's processors MKL leaves AVX-512 alone, which
    is half of the peak.
    """
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(size, size, device=device) for _ in range(2))
    if device.type == "cuda":
        with training_arithmetic(precision, device):
            return 2 * size**3 / _fastest(lambda: a @ b, device)
    pixels, kernels = a.view(1, 1, size, size).permute(0, 3, 1, 2), b[:, :, None, None]
    with torch.no_grad():
        seconds = min(_fastest(work, device) for work in (lambda: a @ b, lambda: F.conv2d(pixels, kernels)))
    return 2 * size**3 / seconds


def memory_bandwidth(device: torch.device) -> float:
    """Return the bytes a second that a large copy reads and writes."""
    values = 2**29 if device.type == "cuda" else 2**25
    source = torch.rand(values, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: target.copy_(source), device)


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of the tensors that each operation reads and writes; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def cost_per_image(trial: Trial, shape: Shape) -> tuple[float, float]:
    """Return floating-point operations and bytes moved for each training image, forward and backward.

    Counted in one eager float32 step: a multiplication and an addition are two operations; the bytes are what
    every operation would read and write without a cache. The optimizer's share is left out.
    """
    batch = 16
    model = models.build(trial, shape, batch).train()
    images = torch.rand(batch, *shape)
    noise = torch.randn(batch, trial.model.latent)
    flops, traffic = FlopCounterMode(display=False), _Traffic()
    with flops, traffic:
        model.loss(images, model(images, noise), trial.beta).mean().backward()
    return flops.get_total_flops() / batch, traffic.bytes / batch
