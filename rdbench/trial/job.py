"""What a worker is given to run, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdbench.metrics.base import MetricOptions
from rdbench.registry.imports import Files
from rdbench.spec.search_options import StopOptions
from rdbench.storage.places import Place

Summary = dict[str, Any]


class Retry(Exception):  # noqa: N818
    """A fault that may be the machine's: worth another attempt elsewhere. It says the traceback."""


class Hung(Exception):  # noqa: N818
    """A pack took longer than it may, and a thread of this process goes on with it."""


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs besides its trials' settings.

    Attributes:
        results: the results folder.
        data_root: where raw data lies; None for what each node's own environment says.
        keep_per_image: also store rate and squared error of every test image.
        threads: of a trial.
        metrics: to measure.
        keep_weights: also store the trained networks.
        sources: the author's files that the sweep's variants run from, by hash.
        data_checksum: what the dataset must be; empty for any.
        run: names this run of the driver; empty for none.
        checkpoint_minutes: the least time between two checkpoints; None for as often as it costs little.
        trial_timeout: minutes that a pack may take; None for any.
        stop: what ends trials early; None for nothing.
        peers: ids of the trials that a pack's may be judged by.
    """

    results: Place
    data_root: Path | None
    keep_per_image: bool
    threads: int
    metrics: tuple[MetricOptions, ...] = ()
    keep_weights: bool = False
    sources: Mapping[str, Files] = field(default_factory=dict)
    data_checksum: str = ""
    run: str = ""
    checkpoint_minutes: float | None = None
    trial_timeout: float | None = None
    stop: StopOptions | None = None
    peers: tuple[str, ...] = ()
