"""How trials are cut into packs, what a pack gets of a GPU, and how many packs run at a time."""

import math
from collections.abc import Iterable, Mapping, Sequence

from rdbench.spec.plan import Trial, packable
from rdbench.spec.sweep import Resources


def gpu_share(resources: Resources, cluster: Mapping[str, float]) -> float:
    """Return the GPUs one pack gets.

    ``auto`` gives a whole GPU to a pack. Where packs are switched off it divides the cluster's GPUs among
    as many trials as its CPUs can run: one of these models leaves a GPU nearly idle.
    """
    if resources.gpus != "auto":
        return float(resources.gpus)
    gpus = cluster.get("GPU", 0.0)
    if gpus == 0 or resources.pack != 1:
        return min(1.0, gpus)
    slots = max(1, int(cluster.get("CPU", 1) // resources.cpus))
    return min(1.0, math.floor(gpus / slots * 10_000) / 10_000)


def slots(resources: Resources, share: float, cluster: Mapping[str, float], concurrency: int | None) -> int:
    """Return how many packs can run at a time."""
    limits = [int(cluster.get("CPU", 1) // resources.cpus)]
    limits += [int(cluster.get("GPU", 0) / share + 1e-6)] if share else []
    limits += [concurrency] if concurrency else []
    return max(1, min(limits))


def cut_into_packs(
    trials: Sequence[Trial], size: int, slots: int, begun: Iterable[Sequence[str]] = ()
) -> list[list[Trial]]:
    """Cut trials, in order, into packs of at most ``size``, and no larger than keeps every slot at work.

    Trials of variants that do not pack train alone, after the others. A pack that was interrupted, whose ids
    are in ``begun``, comes first and as it was, to go on from its checkpoint, if ``size`` allows. All trials
    have one ``pack_key``.
    """
    left = {trial.id: trial for trial in trials}
    resumed = []
    for pack in begun:
        together = [left[trial] for trial in pack if trial in left]
        if len(together) == len(pack) and (len(pack) == 1 or len(packable(together)) == len(pack) <= size):
            resumed.append([left.pop(trial) for trial in pack])
    return resumed + _cut(list(left.values()), size, slots)


def _cut(trials: Sequence[Trial], size: int, slots: int) -> list[list[Trial]]:
    if size == 1:
        return [[trial] for trial in trials]
    together = packable(trials)
    size = max(1, min(size, math.ceil(len(together) / slots)))
    packed = [together[start : start + size] for start in range(0, len(together), size)]
    alone = {trial.variant for trial in trials} - {trial.variant for trial in together}
    return packed + [[trial] for trial in trials if trial.variant in alone]
