"""How many trials to train side by side on a GPU: measured there once, and remembered."""

from collections.abc import Callable

import torch

from rdbench import machine
from rdbench.errors import NotCapturable
from rdbench.spec.plan import Trial, speed_key
from rdbench.storage import paths
from rdbench.storage.cache import remembered
from rdbench.trial.throughput import measure_training

SIZES = (1, 2, 4, 8, 16)
AS_FAST = 0.97  # of the best speed: then the smaller pack is taken
MEMORY_SHARE = 0.8  # of the device's memory that a pack may fill
STEPS = 20


def choose(trial: Trial) -> int | None:
    """Return how many trials like this one to train side by side on this machine's GPU.

    Measured on first use, and cached for the device, the torch version and all settings that matter: data
    shape, networks, batch size and precision; not variant, beta and seed. None: it cannot be measured by this
    trial's variant, which diverges at once or trains alone; by another's it may.
    """
    where = torch.device("cuda")
    key = speed_key(trial, device=machine.device_name(where), torch=torch.__version__)
    with remembered(paths.cache_root() / "pack_sizes.json") as known:
        if type(known.get(key)) is not int:  # not measured yet, or damaged
            total = torch.cuda.get_device_properties(where).total_memory
            try:
                known[key] = fastest(lambda size: measure_training(trial, size, where, STEPS), total)
            except (ArithmeticError, NotCapturable):
                return None  # nothing to remember
        return int(known[key])


def fastest(measure: Callable[[int], tuple[float, int]], memory: int) -> int:
    """Return the smallest of the sizes that is as fast as any, of those that fit into ``memory`` bytes.

    ``measure`` returns images a second and peak bytes. All are measured: a size that gains nothing tells
    nothing of the next. Members on one stream share memory, so twice as many take at most twice as much.
    """
    speeds: dict[int, float] = {}
    for size in SIZES:
        try:
            speeds[size], peak = measure(size)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if 2 * peak > MEMORY_SHARE * memory:
            break
    best = max(speeds.values(), default=0.0)
    return min((size for size, speed in speeds.items() if speed >= AS_FAST * best), default=1)
