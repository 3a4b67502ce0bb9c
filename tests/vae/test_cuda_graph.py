"""A captured step sees its inputs, whatever the machinery that replays it."""

import contextlib
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rdbench.errors import CaptureFailed
from rdbench.vae import cuda_graph
from rdbench.vae.cuda_graph import Captured


def sums(given=8):
    """Have a captured step add up products; return the sum, where its inputs lay, and why it was refused."""
    total, inputs = torch.zeros(3), [torch.full((3,), float(k)) for k in range(given)]
    seen, refusals = [], []

    def step(x, y):
        total.add_(x * y)
        seen.append(x.data_ptr())

    captured = Captured(step, torch.device("cuda"), refusals.append)
    for x in inputs:
        captured(x, x)
    assert torch.equal(total, torch.full((3,), float(sum(k * k for k in range(given)))))
    return seen, [x.data_ptr() for x in inputs], refusals


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
        self.replays, self.main, self.modes = 0, self.current, []
        machine = self

        class Graph:
            kernels = None

            def reset(self):
                machine.graphs.remove(self)

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
        def graph(into, stream, capture_error_mode):
            assert into.kernels is None, "recorded twice"
            assert capture_error_mode == "thread_local"  # another thread pins memory
            before, machine.current = machine.current, stream
            machine.graphs.append(into)
            with Recorder() as recorder:
                yield
            machine.current, into.kernels = before, recorder.kernels

        fakes = {"CUDAGraph": Graph, "graph": graph, "stream": stream}
        fakes |= {
            "Stream": lambda device: self.Stream(self),
            "current_stream": lambda: self.current,
            "get_rng_state": lambda device: torch.zeros(1),
            "get_sync_debug_mode": lambda: 0,
            "set_sync_debug_mode": self.modes.append,
        }
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

    captured = Captured(step, torch.device("cuda"), pytest.fail)
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
    # One stream warms up and records, and waits for the other, which waits for it.
    (side,) = set(streams)
    assert side is not machine.main
    assert machine.waits == [(side, machine.main), (machine.main, side)] * cuda_graph.WARM_UP
    assert machine.modes == ["warn", 0]  # one step is watched


def test_a_recorded_step_reads_its_own_memory(monkeypatch):
    machine = Machine(monkeypatch)
    seen, given, refusals = sums()
    assert seen[: cuda_graph.WARM_UP] == given[: cuda_graph.WARM_UP]
    (own,) = seen[cuda_graph.WARM_UP :]  # once, to be recorded
    assert own not in given
    assert (machine.replays, refusals) == (8 - cuda_graph.WARM_UP, [])


def broken(monkeypatch, first, second=None):
    """Have recordings raise, and their end raise another error, as torch's does."""
    machine = Machine(monkeypatch)

    @contextlib.contextmanager
    def graph(into, **options):
        machine.graphs.append(into)
        try:
            yield
            raise first
        finally:
            if second:
                raise second

    monkeypatch.setattr(torch.cuda, "graph", graph)
    return machine


@pytest.mark.parametrize("second", [None, RuntimeError("CUDA error: previous error during capture")])
def test_a_recording_that_breaks_off_says_why_and_its_memory_is_given_back(monkeypatch, second):
    first = RuntimeError("operation not permitted when stream is capturing\nmore")
    machine = broken(monkeypatch, first, second)
    with pytest.raises(CaptureFailed) as error:
        sums_where_a_recording_runs_nothing(monkeypatch)
    assert str(error.value) == "operation not permitted when stream is capturing"
    assert machine.graphs == []
    assert machine.replays == 0


def test_a_gpu_that_is_lost_by_a_recording_does_not_hide_why(monkeypatch):
    def lost():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    broken(monkeypatch, RuntimeError("operation not permitted when stream is capturing"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    with pytest.raises(CaptureFailed, match="not permitted"):
        sums_where_a_recording_runs_nothing(monkeypatch)


def sums_where_a_recording_runs_nothing(monkeypatch):
    graph = torch.cuda.graph

    @contextlib.contextmanager
    def recording(into, **options):
        with graph(into, **options), Recorder():
            yield

    monkeypatch.setattr(torch.cuda, "graph", recording)
    return sums()


@pytest.mark.parametrize("second", [None, RuntimeError("CUDA error: previous error during capture")])
def test_memory_that_runs_out_is_not_taken_for_a_step_that_cannot_be_captured(monkeypatch, second):
    machine = broken(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"), second)
    with pytest.raises(torch.OutOfMemoryError):
        sums_where_a_recording_runs_nothing(monkeypatch)
    assert machine.graphs == []


def watched(monkeypatch, act):
    """Run eight steps that do something; return why capturing was refused, and at which call."""
    machine, calls, refusals = Machine(monkeypatch), [], []

    def step():
        calls.append(1)
        act()

    captured = Captured(step, torch.device("cuda"), lambda why: refusals.append((len(calls), why)))
    for _ in range(8):
        captured() if not refusals else step()  # as training does
    assert len(calls) == (8 if refusals else cuda_graph.WARM_UP + 1)
    assert bool(machine.graphs) == (not refusals)
    return refusals


def test_a_step_that_waits_for_the_device_is_not_captured(monkeypatch):
    def waits():
        warnings.warn("called a synchronizing CUDA operation (Triggered internally at x)", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((call, why),) = watched(monkeypatch, waits)
    assert call == cuda_graph.WARM_UP
    assert why.startswith("its step waits for the device (")
    assert "test_cuda_graph.py:" in why


def test_a_step_that_draws_from_a_global_generator_is_not_captured(monkeypatch):
    assert watched(monkeypatch, lambda: torch.rand(1)) == [
        (cuda_graph.WARM_UP, "its step draws from torch's global generators")
    ]


def test_another_warning_of_a_step_is_still_a_warning(monkeypatch):
    with pytest.warns(UserWarning, match="mind the step"):
        assert watched(monkeypatch, lambda: warnings.warn("mind the step", stacklevel=1)) == []
