"""For the PYTHONPATH of a process that is to have a GPU, pretended, which no read of a recording gets past.

Recordings run nothing on a GPU and so change nothing; here they run, and are of no use but to break off.
"""

import contextlib
import gc

import torch

from tests.helpers.pretended_gpu import Generator, PretendedGpu

recording = []


class Stream:
    def wait_stream(self, other):
        pass


class Graph:
    def reset(self):
        del recording[:]


@contextlib.contextmanager
def graph(into, stream, capture_error_mode):
    recording.append(into)
    yield
    raise AssertionError("what is recorded here is to break off")


def item(tensor):
    if recording:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with")
    return read(tensor)


def moved(module, device=None, memory_format=None):
    for value in (*module.parameters(), *module.buffers()):
        value.pretended = torch.device(device).type == "cuda"
    return module


def segments():
    pools = {True: (0, 1), False: (0, 0)}
    kept = any(isinstance(one, Graph) for one in gc.get_objects()) and bool(recording)
    return [{"segment_pool_id": pools[kept], "total_size": 1 << 20}]


read = torch.Tensor.item
for what, value in {
    "Generator": Generator,
    "Tensor.item": item,
    "nn.Module.to": moved,
    "cuda.CUDAGraph": Graph,
    "cuda.Stream": lambda device: Stream(),
    "cuda.current_stream": Stream,
    "cuda.get_device_name": lambda device: "a GPU",
    "cuda.get_rng_state": lambda device: torch.zeros(1),
    "cuda.get_sync_debug_mode": lambda: 0,
    "cuda.graph": graph,
    "cuda.is_available": lambda: True,
    "cuda.is_current_stream_capturing": lambda: bool(recording),
    "cuda.max_memory_allocated": lambda device: 1,
    "cuda.mem_get_info": lambda device: (2**40, 2**40),
    "cuda.memory_snapshot": segments,
    "cuda.reset_peak_memory_stats": lambda device: None,
    "cuda.set_rng_state": lambda state, device: None,
    "cuda.set_sync_debug_mode": lambda mode: None,
    "cuda.stream": lambda stream: contextlib.nullcontext(),
    "cuda.synchronize": lambda device=None: None,
}.items():
    owner, _, name = f"torch.{what}".rpartition(".")
    setattr(eval(owner), name, value)
for health in ("_cuda_graph_capture_health_check", "_accelerator_graph_capture_health_check"):
    setattr(torch.optim.Optimizer, health, lambda optimizer: None)  # by torch's version; it asks the driver
PretendedGpu().__enter__()
