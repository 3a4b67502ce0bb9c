"""A captured step sees its inputs, whatever the machinery that replays it."""

import pytest
import torch

from rdbench import graphs
from rdbench.graphs import Captured, launched_at_once


class Recorded(Captured):
    """Replays by calling the function again on the inputs of the recording, as a CUDA graph does."""

    fails = False

    def _warm_up(self, inputs):
        self._function(*inputs)

    def _record(self):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        addresses = [tensor.data_ptr() for tensor in self._inputs]

        def replay():
            assert [tensor.data_ptr() for tensor in self._inputs] == addresses
            self._function(*self._inputs)

        return replay


def sums(captured_class):
    total, given = torch.zeros(3), [torch.full((3,), float(k)) for k in range(8)]
    seen = []

    def step(x, y):
        total.add_(x * y)
        seen.append(x.data_ptr())

    captured = captured_class(step)
    for x in given:
        captured(x, x)
    return total, seen, [x.data_ptr() for x in given]


def test_every_call_counts_once_with_its_own_inputs():
    total, seen, given = sums(Recorded)
    assert torch.equal(total, torch.full((3,), float(sum(k * k for k in range(8)))))
    assert seen[: graphs.WARM_UP] == given[: graphs.WARM_UP]
    assert len(set(seen[graphs.WARM_UP :])) == 1  # the recording's own memory
    assert not set(seen[graphs.WARM_UP :]) & set(given)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_why():
    class Fails(Recorded):
        fails = True

    with pytest.warns(
        UserWarning, match="without a CUDA graph: operation not permitted when stream is captu"
    ):
        total, seen, given = sums(Fails)
    assert torch.equal(total, torch.full((3,), float(sum(k * k for k in range(8)))))
    assert seen == given


def test_a_cpu_runs_the_step_itself():
    def step():
        pass

    assert launched_at_once(step, torch.device("cpu")) is step
