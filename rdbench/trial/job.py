"""What a worker is given to run, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdbench.metrics.base import MetricOptions
from rdbench.registry.imports import Files
from rdbench.spec.search_options import SearchSettings
from rdbench.spec.sweep import Resources
from rdbench.storage.places import Place

Summary = dict[str, Any]


class Retry(Exception):  # noqa: N818
    """A fault that may be the machine's: worth another attempt elsewhere. It says the traceback."""


class Hung(Exception):  # noqa: N818
    """A pack took longer than it may, and a thread of this process goes on with it."""


@dataclass(frozen=True)
class Outputs:
    """What of a trial is stored besides its points, history and pictures.

    Attributes:
        metrics: to measure.
        per_image: also rate and squared error of every test image.
        weights: also the trained network.
    """

    metrics: Sequence[MetricOptions] = ()
    per_image: bool = False
    weights: bool = False


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs besides its trials' settings.

    Attributes:
        results: the results folder.
        data_root: where raw data lies; None for what each node's own environment says.
        data_checksum: what the dataset must be; empty for any.
        outputs: what to store.
        resources: of a pack.
        sources: the author's files that the sweep's variants run from, by hash.
        run: names this run of the driver; empty for none.
        stop: what ends trials early; None for nothing.
        peers: ids of the trials that a pack's may be judged by.
    """

    results: Place
    data_root: Path | None = None
    data_checksum: str = ""
    outputs: Outputs = Outputs()
    resources: Resources = field(default_factory=Resources)
    sources: Mapping[str, Files] = field(default_factory=dict)
    run: str = ""
    stop: SearchSettings | None = None
    peers: tuple[str, ...] = ()
