"""Streams that the members of a pack are dealt round, so that a GPU works on several of them at a time."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

LANES = 4  # streams at most: members on one stream share the memory of their activations


class Lanes:
    """Streams that leave the current one and join it again; nothing on a CPU, or for a single member."""

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
