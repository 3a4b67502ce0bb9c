"""Features of a small classifier that rdbench trains on a dataset's own labels: for digits, and offline.

Inception was trained on photographs and sees digits poorly; this network has seen nothing but the images it
is to compare. Distances in its features compare only to others with the same weights, by their hash.

Convolutions halve the image until 4 pixels or less are left a side; the features are what the last layer,
which tells the classes apart, takes in. It is trained once on a machine, and kept:

    <cache>/classifiers/<dataset checksum>-<recipe>.safetensors

Weights and order come from its own generators, and sums are taken in a fixed order, so training repeats bit
for bit on the same machine; other machines round otherwise, and get another hash. So a sweep has one, which
the first worker to need it puts beside the results, and every node, and every later run, takes from there:

    <results>/classifier/<dataset checksum>-<recipe>.safetensors

Where that file is damaged, it is put back if this machine trains the same one, of the hash that the file
names. Else nothing is measured, and a line says so: another classifier in its place would measure the trials
that are left differently from those that are done.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rdbench.datasets import Dataset, Split
from rdbench.errors import DatasetError, ResultsError
from rdbench.metrics.features import Features
from rdbench.metrics.features.class_labels import Labels, find_classes
from rdbench.numerics.optimizer import AdamW
from rdbench.numerics.precision import exact_float32
from rdbench.numerics.seeding import generator
from rdbench.storage import paths
from rdbench.storage.agreement import agree, agreed
from rdbench.storage.cache import make_once
from rdbench.storage.places import Place, write_atomically

log = logging.getLogger("rdbench.metrics.features")

RECIPE = 1  # raise when anything below changes the weights that come out
SIZE = 128  # features
WIDTHS = (32, 64, 64)  # of the first halvings; all later ones keep the last
SMALLEST = 4  # pixels a side that are halved no more
EPOCHS = 2
STEPS = 600  # at least, however small the dataset
BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
EXTRACTED_AT_ONCE = 500

ENDING = ".safetensors"
HEADER = 10_000  # bytes at the start of a file within which its hash stands
DAMAGE = (ValueError, KeyError, TypeError, RuntimeError)
"""What reading a file raises that is not what was written."""


class Classifier(nn.Module):
    """Convolutions of stride 2, a layer of features, and a linear layer to so many classes."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        depth, *sides = shape
        width, later = 16, iter(WIDTHS)
        layers = _block(depth, width, 1)
        while max(sides) > SMALLEST:
            wider = next(later, width)
            layers += _block(width, wider, 2)
            width, sides = wider, [math.ceil(side / 2) for side in sides]
        self.features = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(width * math.prod(sides), SIZE), nn.ReLU()
        )
        self.classes = nn.Linear(SIZE, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of 0 to 1, (batch, channels, height, width), to (batch, classes) before a softmax."""
        logits: Tensor = self.classes(self.features(images))
        return logits


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


@dataclass(frozen=True)
class _Trained:
    """A classifier in evaluation mode, the share of test images it reads, and the hash of its weights."""

    network: Classifier
    accuracy: float
    digest: str


def classifier(data: Dataset, device: torch.device, folder: Place | None = None) -> Features:
    """Return the features of a dataset's classifier: the sweep's, or this machine's.

    Args:
        data: it is trained on one split, and its accuracy measured on the other.
        device: where to use it, and to train it if there is none yet.
        folder: where the sweep keeps its own; None for none, which leaves the cache's.

    Raises:
        DatasetError: no labels of two classes or more, or no uint8 images.
        CacheError: the cache cannot be written to.
        ResultsError: the sweep's is damaged.
        StorageError: it cannot be read or written now.
    """
    classes = find_classes(data)
    name = f"{data.checksum}-{RECIPE}"
    target = paths.cache_root() / "classifiers" / f"{name}{ENDING}"

    def empty() -> Classifier:
        with torch.random.fork_rng(devices=[]):  # torch draws first weights, soon replaced, from global state
            return Classifier(data.shape, len(classes))

    def write(file: BinaryIO) -> None:
        network = empty()
        with exact_float32():
            _train(network, data, classes, device)
            accuracy = _accuracy(network, data.test, classes, device)
        file.write(_packed(network, accuracy))

    def of_this_machine() -> _Trained:
        return make_once(target, lambda path: _read(path, empty), write)

    trained = of_this_machine() if folder is None else _of_the_sweep(folder, name, empty, of_this_machine)
    network = trained.network
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def extract(images: Tensor) -> Tensor:
        with torch.no_grad(), exact_float32():
            features: Tensor = network.features(_floats(images))
        return features

    settings = {"resizing": "none", "recipe": RECIPE, "dataset": data.name, "classes": len(classes)}
    settings["test_accuracy"] = trained.accuracy
    return Features("classifier", SIZE, trained.digest, extract, settings, EXTRACTED_AT_ONCE)


def _of_the_sweep(
    folder: Place, name: str, empty: Callable[[], Classifier], of_this_machine: Callable[[], _Trained]
) -> _Trained:
    """Return the classifier that lies beside the results; this machine's is put there if there is none."""
    file = agreed(folder, name, ENDING)
    if file is None:
        own = of_this_machine()
        file = agree(folder, name, ENDING, _packed(own.network, own.accuracy))
    content = file.read_bytes()
    try:
        return _unpacked(content, empty)
    except DAMAGE as error:
        own = of_this_machine()
        if own.digest.encode() in content[:HEADER]:
            log.warning("%s was damaged (%s); it is put back, as this machine trains the same", file, error)
            write_atomically(file, _packed(own.network, own.accuracy))
            return own
        raise ResultsError(
            f"{file}: is damaged ({error}), and this machine trains another classifier; copy it back, or"
            " delete it: what is measured from then on stands in columns of its own"
        ) from None


def _train(network: Classifier, data: Dataset, classes: Labels, device: torch.device) -> None:
    """Fit the network by AdamW and a one-cycle learning rate; leave it in evaluation mode on the device."""
    _initialise(network)
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    count = len(data.train.images)
    size = min(BATCH, count)
    steps = max(STEPS, EPOCHS * (count // size))
    optimizer = AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for index in _order(count, size, steps):
        images, labels = _batch(data.train, index, classes, device)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    if not math.isfinite(float(loss.detach())):
        raise DatasetError(f"the classifier of {data.name} did not converge: its loss is not finite")


def _initialise(network: Classifier) -> None:
    """Draw the weights, by He et al. (ICCV 2015), from a generator of their own."""
    draw = generator(0, "classifier/init")
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draw)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _order(count: int, size: int, steps: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the indices of each batch; the last partial one of an epoch is dropped."""
    draw = generator(0, "classifier/order")
    for step in range(steps):
        start = step % (count // size) * size
        if not start:
            permutation = torch.randperm(count, generator=draw)
        yield permutation[start : start + size].numpy()


def _batch(
    split: Split, index: npt.NDArray[np.int64], classes: Labels, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return images and the positions of their labels among ``classes``; -1 for a label not there."""
    assert split.labels is not None
    labels = split.labels[index]
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    known = np.where(classes[place] == labels, place, -1)
    images = torch.from_numpy(np.ascontiguousarray(split.images[index])).to(device)
    return _floats(images), torch.from_numpy(known).to(device)


def _floats(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _accuracy(network: Classifier, split: Split, classes: Labels, device: torch.device) -> float:
    """Return the share of a split's images whose class is found."""
    right = 0
    for start in range(0, len(split.images), EXTRACTED_AT_ONCE):
        index = np.arange(start, min(start + EXTRACTED_AT_ONCE, len(split.images)))
        images, labels = _batch(split, index, classes, device)
        right += int((network(images).argmax(1) == labels).sum())
    return right / len(split.images)


def _packed(network: Classifier, accuracy: float) -> bytes:
    """Return the file: the weights, their hash and the accuracy."""
    from safetensors.torch import save

    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return save(weights, {"rdbench": json.dumps({"sha256": _digest(weights), "test_accuracy": accuracy})})


def _read(path: Path, empty: Callable[[], Classifier]) -> _Trained | None:
    """Return the classifier in a file; None where the file is missing or not what was written."""
    try:
        return _unpacked(path.read_bytes(), empty)  # safetensors opens no file whose name is not UTF-8
    except FileNotFoundError:
        return None
    except (OSError, *DAMAGE) as error:
        log.warning("%s is damaged (%s): training the classifier again", path, error)
        return None


def _unpacked(content: bytes, empty: Callable[[], Classifier]) -> _Trained:
    """Return the classifier of :func:`_packed`; what it raises of other bytes is among ``DAMAGE``."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about: dict[str, Any] = json.loads(header["__metadata__"]["rdbench"])
    try:
        weights = load(content)
    except SafetensorError as error:
        raise ValueError(error) from None
    if about["sha256"] != _digest(weights):
        raise ValueError("its hash is not that of its weights")
    network = empty()
    network.load_state_dict(weights)
    return _Trained(network.eval(), float(about["test_accuracy"]), str(about["sha256"]))


def _digest(weights: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes and values, which does not depend on how a file lays them out."""
    total = hashlib.sha256()
    for name, value in sorted(weights.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()
