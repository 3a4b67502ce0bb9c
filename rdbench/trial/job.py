"""What a worker is given to run, and what it answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdbench.metrics.base import MetricOptions
from rdbench.registry.imports import Files
from rdbench.results.store import ResultsFolder
from rdbench.spec.search_options import StopOptions
from rdbench.spec.sweep import Resources
from rdbench.storage.places import Place

if TYPE_CHECKING:
    from rdbench.vae.checkpoints import Keeping

Summary = dict[str, Any]


class Retry(Exception):  # noqa: N818
    """A fault that may be the machine's: worth another attempt elsewhere. It says the traceback.

    Attributes:
        counts: among the attempts that trials have; not where the next will not meet this fault.
    """

    def __init__(self, text: str, counts: bool = True) -> None:
        super().__init__(text)
        self.counts = counts


class Hung(Exception):  # noqa: N818
    """A pack took longer than it may, and a thread of this process goes on with it."""


@dataclass(frozen=True)
class Outputs:
    """What of a trial is stored besides its points, history and pictures."""

    metrics: Sequence[MetricOptions] = ()  # to measure
    per_image: bool = False  # also rate and squared error of every test image
    weights: bool = False  # also the trained network
    classifier: Place | None = None  # folder of the classifier that metrics share; None for the cache's


POINTS_ONLY = Outputs()


@dataclass(frozen=True)
class Kept:
    """What a results folder holds that metrics of a trained network rest on."""

    train_sse: Mapping[float, float] = field(default_factory=dict)  # by beta: mean of the training images
    classifier: Place | None = None  # folder of the sweep's classifier; None for the cache's
    say: Callable[[str], None] = lambda line: None  # told of the progress of metrics that take long
    keeping: "Keeping | None" = None  # of the state of metrics under way; None keeps nothing


def kept(root: Place, points: Iterable[Mapping[str, Any]]) -> Kept:
    """Return what metrics rest on, from a results folder and a trial's rows of ``points`` in it."""
    train_sse = {row["beta"]: row["sse"] for row in points if row["split"] == "train"}
    return Kept(train_sse, ResultsFolder(root).classifier)


@dataclass(frozen=True)
class Job:
    """What every worker of a sweep needs besides its trials' settings."""

    results: Place  # the results folder
    data_root: Path | None = None  # where raw data lies; None for what each node's own environment says
    data_checksum: str = ""  # what the dataset must be; empty for any
    outputs: Outputs = POINTS_ONLY  # what to store
    resources: Resources = field(default_factory=Resources)  # of a pack
    # Authors' files that variants run from, by hash.
    sources: Mapping[str, Files] = field(default_factory=dict)
    run: str = ""  # names this run of the driver; empty for none
    stop: StopOptions | None = None  # what ends trials early; None for nothing
    peers: tuple[str, ...] = ()  # ids of the trials that a pack's may be judged by
