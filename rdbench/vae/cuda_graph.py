"""A training step as a CUDA graph, launched as a whole and not kernel by kernel; and streams within it."""

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from rdbench.errors import CaptureFailed

Step = Callable[..., None]

WARM_UP = 3  # calls that run as they are: libraries set themselves up, the optimizer makes its state
LANES = 4  # streams at most: members on one stream share the memory of their activations
_SYNCHRONIZES = "called a synchronizing CUDA operation"  # torch's words


class Captured:
    """A function of tensors of constant shapes, recorded after its first calls and then replayed.

    The function returns nothing: it changes tensors that live as long as it does. The last of its first calls
    tells whether it can be recorded: it waits for nothing and draws nothing from torch's global generators,
    which a graph would not repeat. Where it cannot be, ``refused`` is told why, and all further calls are to
    be of the function itself. CaptureFailed: the recording broke off.
    """

    def __init__(self, function: Step, device: torch.device, refused: Callable[[str], None]) -> None:
        self._function, self._device, self._refused = function, device, refused
        self._stream = torch.cuda.Stream(device)
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> None:
        """Call the function once with ``inputs``."""
        self._calls += 1
        if self._calls <= WARM_UP:
            self._warm_up(inputs)
            return
        if self._graph is None:
            self._inputs = [tensor.clone() for tensor in inputs]
            self._graph = self._record()
        for static, given in zip(self._inputs, inputs, strict=True):
            static.copy_(given, non_blocking=True)
        self._graph.replay()

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> None:
        """Call the function on the stream of the recording: memory is kept by stream, and so are handles."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            why = self._watched(inputs) if self._calls == WARM_UP else self._function(*inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        if why:
            self._refused(why)

    def _watched(self, inputs: tuple[Tensor, ...]) -> str | None:
        """Call the function; return why it cannot be recorded."""
        random = torch.get_rng_state(), torch.cuda.get_rng_state(self._device)
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self._function(*inputs)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        for warning in caught:
            if _SYNCHRONIZES in str(warning.message):
                return f"its step waits for the device ({warning.filename}:{warning.lineno})"
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        now = torch.get_rng_state(), torch.cuda.get_rng_state(self._device)
        if not all(torch.equal(*states) for states in zip(random, now, strict=True)):
            return "its step draws from torch's global generators"
        return None

    def _record(self) -> torch.cuda.CUDAGraph:
        """Record the function; CaptureFailed where that fails, and nothing of the attempt is left.

        No kernel runs in a recording, so all values are then what they were. Other threads may go on: one
        reads batches into pinned memory.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._function(*self._inputs)
            return graph
        except RuntimeError as error:
            # The end of a broken recording raises too, over what broke it.
            cause: BaseException | None = error
            out_of_memory = False
            while cause is not None:
                why = str(cause).partition("\n")[0]
                out_of_memory = out_of_memory or isinstance(cause, torch.OutOfMemoryError)
                cause = cause.__cause__ or cause.__context__
        with contextlib.suppress(RuntimeError):  # a process that has lost its GPU by it
            graph.reset()  # gives its memory back
            del graph
            gc.collect()
            torch.cuda.empty_cache()
        raise torch.OutOfMemoryError(why) if out_of_memory else CaptureFailed(why)


class Lanes:
    """Streams that the members of a pack are dealt round, so that a GPU works on several of them at a time.

    They leave the current stream and join it again. There are none on a CPU, or for a single member.
    """

    def __init__(self, members: int, device: torch.device) -> None:
        count = min(members, LANES) if device.type == "cuda" and members > 1 else 0
        self._streams = [torch.cuda.Stream(device) for _ in range(count)]

    @contextlib.contextmanager
    def forked(self) -> Iterator[None]:
        """Begin each lane after what the current stream was given so far, and end with all of them done.

        An exception passes without joining: a capture that failed refuses to, and would hide its reason.
        """
        for stream in self._streams:
            stream.wait_stream(torch.cuda.current_stream())
        yield
        for stream in self._streams:
            torch.cuda.current_stream().wait_stream(stream)

    def of(self, member: int) -> AbstractContextManager[None]:
        """Return the context to work on a member in."""
        if not self._streams:
            return contextlib.nullcontext()
        lane: AbstractContextManager[None] = torch.cuda.stream(self._streams[member % len(self._streams)])
        return lane
