"""How many trials to train side by side on a GPU: measured there once, and remembered."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock

from rdbench import datasets, paths, provenance
from rdbench.places import write_atomically
from rdbench.plan import Trial, canonical_json
from rdbench.spec_fields import MAX_PACK
from rdbench.throughput import Throughput, measure_training

WORTH_IT = 1.1  # doubling a pack has to gain a tenth
MEMORY_SHARE = 0.8  # of the device's memory that a pack may fill
STEPS = 20


def choose(trial: Trial, device: str) -> int:
    """Return how many trials like this one to train side by side on a device.

    Measured on first use, and remembered in the cache for the device, the torch version and all settings
    that matter: data shape, networks, batch size and precision.

    Args:
        trial: stands for all of a sweep; its variant, beta and seed do not matter.
        device: "cuda"; the pack of a CPU is 1.
    """
    if device == "cpu":
        return 1
    where = torch.device(device)
    info = datasets.get(trial.dataset.name)
    key = canonical_json(
        {
            "device": provenance.device_name(where),
            "torch": torch.__version__,
            "shape": info.shape(trial.dataset),
            "augmentation": info.augmentation(trial.dataset) if trial.train.augment else "none",
            "model": trial.model.model_dump(mode="json"),
            "batch_size": trial.train.batch_size,
            "precision": trial.train.precision,
        }
    )
    file = paths.cache_root() / "packs.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        known = _read(file)
        if key not in known:
            total = torch.cuda.get_device_properties(where).total_memory
            try:
                known[key] = largest_useful(lambda size: measure_training(trial, size, where, STEPS), total)
            except ArithmeticError:
                return 1  # settings that diverge at once: nothing to measure, nothing to remember
            write_atomically(file, json.dumps(known, indent=1).encode())
    return known[key]


def largest_useful(measure: Callable[[int], Throughput], memory: int) -> int:
    """Double a pack from 1 until it gains less than a tenth, or memory would not hold the next.

    Args:
        measure: what a pack of a size does; raises ``torch.OutOfMemoryError`` where it does not fit.
        memory: bytes the device has.
    """
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


def _read(file: Path) -> dict[str, int]:
    try:
        known = json.loads(file.read_text())
        return {str(key): int(value) for key, value in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # not there yet, or damaged: measured again
