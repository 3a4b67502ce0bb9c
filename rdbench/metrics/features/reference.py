"""What a dataset's own images give under a feature network, computed once and kept.

    <cache>/reference/<quantity>-<hash of the key>.npz

The key holds all that the arrays depend on but for rounding: the dataset's checksum, the split, how many
images, and the network with its weights and settings. A file that is damaged is computed again.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rdbench.metrics.features import Features
from rdbench.storage import paths
from rdbench.storage.cache import make_once

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rdbench.numerics.frechet import Moments

Arrays = dict[str, npt.NDArray[Any]]
Images = npt.NDArray[np.uint8]

FORMAT = 1  # raise when the meaning of the arrays changes
_KEY = "key"  # kept among the arrays: a file that was renamed, or a hash that collides, is noticed


def cached(key: dict[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """Return arrays from the cache, computed now where they are not there; of many processes, by one.

    Args:
        key: JSON values that the arrays depend on; ``quantity`` among them says what they are.
        compute: returns the arrays by name.

    Raises CacheError: the cache cannot be written to.
    """
    canonical = json.dumps({"format": FORMAT, **key}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()

    def write(file: BinaryIO) -> None:
        np.savez(file, allow_pickle=False, **compute() | {_KEY: np.array(canonical)})

    target = paths.cache_root() / "reference" / f"{key['quantity']}-{digest}.npz"
    return make_once(target, lambda path: _read(path, canonical), write)


def reference_moments(
    features: Features, images: Images, device: "torch.device", *, dataset: str, split: str
) -> "Moments":
    """Return mean and covariance of the features of uint8 images (n, channels, height, width).

    They are cached under ``dataset``, its checksum, and ``split``, which says which images these are.

    Raises ValueError: the images are not uint8; CacheError: the cache cannot be written to.
    """
    from rdbench.metrics.features.samples import stored_images
    from rdbench.numerics.frechet import Moments

    def compute() -> Arrays:
        of = moments(features, stored_images(images, features.batch, device))
        return {"count": np.array(of.count), "mean": of.mean, "covariance": of.covariance}

    arrays = cached(_key("moments", features, dataset, split, len(images)), compute)
    return Moments(int(arrays["count"]), arrays["mean"], arrays["covariance"])


def reference_features(
    features: Features, images: Images, device: "torch.device", *, dataset: str, split: str, count: int
) -> npt.NDArray[np.float32]:
    """Return the features of ``count`` images, see :func:`chosen`, float32 (count, size).

    Arguments and errors are those of :func:`reference_moments`; ValueError also for fewer images, or none.
    """
    from rdbench.metrics.features.samples import stored_images

    some = chosen(images, count)

    def compute() -> Arrays:
        return {"features": stacked(features, stored_images(some, features.batch, device))}

    return cached(_key("features", features, dataset, split, len(some)), compute)["features"]


def chosen(images: Images, count: int) -> Images:
    """Return ``count`` of the images in their order, the same random ones each time; fewer lie within more.

    Raises ValueError: there are fewer images, or none are asked for.
    """
    if count == len(images):
        return images
    if not 0 < count < len(images):
        raise ValueError(f"{count} reference images asked for, but the split has {len(images)}")
    return images[np.sort(np.random.RandomState(0).permutation(len(images))[:count])]


def moments(features: Features, batches: "Iterable[Tensor]") -> "Moments":
    """Return mean and covariance of the features of uint8 images, of which no more than a batch is kept."""
    from rdbench.numerics.frechet import MomentSum

    total = MomentSum()
    for batch in batches:
        total.add(features.extract(batch))
    return total.moments()


def stacked(features: Features, batches: "Iterable[Tensor]") -> npt.NDArray[np.float32]:
    """Return the features of uint8 images, float32 (images, size)."""
    return np.concatenate([features.extract(batch).cpu().numpy() for batch in batches])


def _key(quantity: str, features: Features, dataset: str, split: str, count: int) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "features": features.name,
        "weights": features.hash,
        "settings": features.settings,
        "dataset": dataset,
        "split": split,
        "count": count,
    }


def _read(path: Path, canonical: str) -> Arrays | None:
    """Return the arrays of a whole file of this key; reading an array checks its CRC."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as whole:
            arrays = {name: whole[name] for name in whole.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    return arrays if str(arrays.pop(_KEY, "")) == canonical else None
