"""Feature networks: what the metrics that compare sets of images compare them by.

    inception.py    the network of FID                  classifier.py   one that rdbench trains itself
    weights.py      Inception's published weights       class_labels.py can a dataset train the classifier?
    samples.py      streams of uint8 images: from the prior, reconstructed, stored
    reference.py    what a dataset's own images give, computed once
    comparison.py   a model's images beside a dataset's: start here
    own.py          networks of the user's own, named and known; opening.py opens them

A network is wrapped as :class:`Features`, so that a metric need not know which one it is given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

FeatureName = Literal["classifier", "inception"]
"""Those that rdbench has."""


@dataclass(frozen=True)
class Features:
    """A feature network, ready to use on one device."""

    name: str  # "inception", "classifier", or that of the user's own
    size: int  # numbers in one feature vector
    hash: str  # SHA-256 of the weights, hex
    # uint8 images (batch, channels, height, width) on the device -> float32 (batch, size)
    extract: "Callable[[Tensor], Tensor]"
    # JSON values that tell these features from others of the same weights, such as the resizing, and what a
    # reader of results should know of the network
    settings: dict[str, Any]
    batch: int  # how many images to pass at once
