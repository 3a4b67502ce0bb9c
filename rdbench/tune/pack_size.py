"""How many trials to train side by side on a GPU: measured there once, and remembered."""

from collections.abc import Callable

import torch

from rdbench import machine
from rdbench.spec.fields import MAX_PACK
from rdbench.spec.plan import Trial, speed_key
from rdbench.storage import paths
from rdbench.storage.cache import remembered
from rdbench.trial.throughput import Throughput, measure_training

WORTH_IT = 1.1  # doubling a pack has to gain a tenth
MEMORY_SHARE = 0.8  # of the device's memory that a pack may fill
STEPS = 20


def choose(trial: Trial) -> int:
    """Return how many trials like this one to train side by side on this machine's GPU.

    Measured on first use, and cached for the device, the torch version and all settings that matter: data
    shape, networks, batch size and precision; not variant, beta and seed.
    """
    where = torch.device("cuda")
    key = speed_key(trial, device=machine.device_name(where), torch=torch.__version__)
    with remembered(paths.cache_root() / "packs.json") as known:
        if type(known.get(key)) is not int:  # not measured yet, or damaged
            total = torch.cuda.get_device_properties(where).total_memory
            try:
                known[key] = largest_useful(lambda size: measure_training(trial, size, where, STEPS), total)
            except ArithmeticError:
                return 1  # settings that diverge at once: nothing to measure, nothing to remember
        size: int = known[key]
    return size


def largest_useful(measure: Callable[[int], Throughput], memory: int) -> int:
    """Double a pack from 1 until it gains less than a tenth, or ``memory`` bytes would not hold the next."""
    best, size = measure(1), 1
    while size * 2 <= MAX_PACK and best.peak_memory_bytes * 2 <= MEMORY_SHARE * memory:
        try:
            twice = measure(size * 2)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if twice.images_per_second < WORTH_IT * best.images_per_second:
            break
        best, size = twice, size * 2
    return size
