"""A training step as a CUDA graph: launched as a whole, not kernel by kernel."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[..., None]

WARM_UP = 3  # calls that run as they are: libraries set themselves up, the optimizer makes its state


class Captured:
    """A function of tensors of constant shapes, recorded after its first calls and then replayed.

    The function returns nothing: it changes tensors that live as long as it does. One that cannot be recorded
    goes on running as it is, and a warning says why.
    """

    def __init__(self, function: Step) -> None:
        self._function = function
        self._calls = 0
        self._replay: Callable[[], None] | None = None
        self._inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> None:
        """Call the function once with ``inputs``."""
        self._calls += 1
        if self._calls <= WARM_UP:
            self._warm_up(inputs)
            return
        if self._calls == WARM_UP + 1:
            self._inputs = [tensor.clone() for tensor in inputs]
            try:
                self._replay = self._record()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                warnings.warn(f"training without a CUDA graph: {str(error).splitlines()[0]}", stacklevel=2)
        if self._replay is None:
            self._function(*inputs)
            return
        for static, given in zip(self._inputs, inputs, strict=True):
            static.copy_(given, non_blocking=True)
        self._replay()

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._function(*inputs)
        torch.cuda.current_stream().wait_stream(side)

    def _record(self) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._function(*self._inputs)
        return graph.replay


def capture_cuda_graph(step: Step, device: torch.device) -> Step:
    """Return a step that is captured on a GPU, and the step itself elsewhere."""
    return Captured(step) if device.type == "cuda" else step
