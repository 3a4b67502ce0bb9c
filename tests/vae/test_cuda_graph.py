"""A captured step sees its inputs, whatever the machinery that replays it."""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rdbench.vae import cuda_graph
from rdbench.vae.cuda_graph import Captured, capture_cuda_graph


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
    assert seen[: cuda_graph.WARM_UP] == given[: cuda_graph.WARM_UP]
    assert len(set(seen[cuda_graph.WARM_UP :])) == 1  # the recording's own memory
    assert not set(seen[cuda_graph.WARM_UP :]) & set(given)


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

    assert capture_cuda_graph(step, torch.device("cpu")) is step


class Recorder(TorchDispatchMode):
    """Runs nothing that changes a tensor, as a GPU that captures; keeps what would have run, to replay it."""

    def __init__(self):
        super().__init__()
        self.kernels = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function._schema.is_mutable:
            self.kernels.append((function, args, kwargs, None))
            return args[0]
        result = function(*args, **kwargs)
        self.kernels.append((function, args, kwargs, result))
        return result


class Machine:
    """What torch.cuda does for a captured step, on a CPU: streams, and a graph that is recorded once."""

    def __init__(self, monkeypatch):
        self.graphs, self.waits, self.current = [], [], self.Stream(self)
        self.replays, self.main = 0, self.current
        machine = self

        class Graph:
            kernels = None

            @torch.no_grad()
            def replay(self):
                machine.replays += 1
                for function, args, kwargs, kept in self.kernels:
                    result = function(*args, **kwargs)
                    if kept is not None:
                        kept.copy_(result)

        @contextlib.contextmanager
        def stream(other):
            before, machine.current = machine.current, other
            yield
            machine.current = before

        @contextlib.contextmanager
        def graph(into):
            assert into.kernels is None, "recorded twice"
            machine.graphs.append(into)
            with Recorder() as recorder:
                yield
            into.kernels = recorder.kernels

        fakes = {"CUDAGraph": Graph, "graph": graph, "stream": stream}
        fakes |= {"Stream": lambda: self.Stream(self), "current_stream": lambda: self.current}
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    class Stream:
        def __init__(self, machine):
            self.machine = machine

        def wait_stream(self, other):
            self.machine.waits.append((self, other))


def test_a_step_is_captured_once_and_then_replayed_on_the_inputs_of_each_call(monkeypatch):
    machine = Machine(monkeypatch)
    weight, total, streams = torch.ones(3, requires_grad=True), torch.zeros(()), []

    def step(x, y):
        streams.append(machine.current)
        loss = ((weight * x - y) ** 2).sum()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight.sub_(0.01 * gradient)
            total.add_(loss)

    captured = capture_cuda_graph(step, torch.device("cuda"))
    expected, expected_total = torch.ones(3), 0.0
    given = torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(0))
    for number, (x, y) in enumerate(given, 1):
        kept = x.clone(), y.clone()
        captured(x, y)
        residual = expected * x - y
        expected_total += (residual**2).sum()
        expected = expected - 0.01 * 2 * residual * x
        torch.testing.assert_close(weight.detach(), expected, msg=f"call {number}")
        torch.testing.assert_close(total, expected_total, msg=f"call {number}")
        assert torch.equal(x, kept[0])
        assert torch.equal(y, kept[1])
    assert len(streams) == cuda_graph.WARM_UP + 1  # the function runs to warm up and to be captured, no more
    assert len(machine.graphs) == 1
    assert machine.replays == 8 - cuda_graph.WARM_UP
    # A library may set itself up on another stream only, and each waits for the other.
    sides = streams[: cuda_graph.WARM_UP]
    assert machine.main not in sides
    assert machine.waits == [wait for side in sides for wait in ((side, machine.main), (machine.main, side))]


def test_a_step_that_a_gpu_cannot_capture_goes_on_without(monkeypatch):
    machine = Machine(monkeypatch)

    @contextlib.contextmanager
    def refused(into):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refused)
    with pytest.warns(UserWarning, match="training without a CUDA graph: operation not permitted"):
        total, _, _ = sums(Captured)
    assert torch.equal(total, torch.full((3,), float(sum(k * k for k in range(8)))))
    assert machine.replays == 0


def test_memory_that_runs_out_is_not_taken_for_a_step_that_cannot_be_captured(monkeypatch):
    Machine(monkeypatch)

    @contextlib.contextmanager
    def full(into):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(torch.cuda, "graph", full)
    with pytest.raises(torch.OutOfMemoryError):
        sums(Captured)
