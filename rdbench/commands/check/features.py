"""Checks of a feature network of one's own, on random images of several shapes."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rdbench.commands.check import plugged
from rdbench.commands.check.plugged import findings, options_line
from rdbench.commands.check.verdicts import CheckError, Finding, Note, need
from rdbench.metrics.features import Features, opening
from rdbench.metrics.features import own as naming
from rdbench.metrics.features.own import OwnFeatures

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64))
IMAGES = 6


class FeaturesSubject:
    """A feature network, and what became of opening it for images of each of :data:`SHAPES`."""

    def __init__(self, own: OwnFeatures, device: torch.device) -> None:
        self.own, self.device = own, device
        self.plugin = None if own.is_script else own.plugin

    @cached_property
    def opened(self) -> dict[tuple[int, int, int], Features | Exception]:
        """The network by shape, or why it takes no such images."""
        made: dict[tuple[int, int, int], Features | Exception] = {}
        for shape in SHAPES:
            try:
                made[shape] = opening.load(self.own, shape, self.device)
            except ValueError as error:
                made[shape] = error
        return made

    @property
    def first(self) -> tuple[Features, Tensor]:
        """The network, and random images that it takes, uint8."""
        shape, features = next(
            (shape, made) for shape, made in self.opened.items() if isinstance(made, Features)
        )
        draws = torch.Generator().manual_seed(0)
        images = torch.randint(256, (IMAGES, *shape), generator=draws, dtype=torch.uint8)
        return features, images.to(self.device)


def check(reference: str, options: dict[str, Any], device: torch.device) -> Iterator[Finding]:
    """Check a feature network: yield each finding as it is made. The first that fails is the last.

    Raises SpecError: an option is wrong.
    """

    def subject() -> FeaturesSubject:
        return FeaturesSubject(naming.settle(reference, options, ()), device)

    return findings(subject, (declared, imports, vectors, repeats, one_by_one))


def declared(subject: FeaturesSubject) -> str:
    """Its name and options."""
    return f"feature network {subject.own.name}, {options_line(subject.own.options)}"


def imports(subject: FeaturesSubject) -> str:
    """Its files run, or can be opened."""
    if subject.plugin is None:
        return f"a file of TorchScript, known by its SHA-256, {subject.own.code}..."
    return plugged.imports(subject)


def vectors(subject: FeaturesSubject) -> str:
    """It gives a vector of each image."""
    sizes = {
        "x".join(map(str, shape)): made.size
        for shape, made in subject.opened.items()
        if isinstance(made, Features)
    }
    refused = {
        "x".join(map(str, shape)): made
        for shape, made in subject.opened.items()
        if isinstance(made, Exception)
    }
    if not sizes:
        why, _, rest = str(next(iter(refused.values()))).partition("; try 'rdbench check")
        raise CheckError(why + rest.partition("'")[2], "said")
    text = ", ".join(f"{size:,} features of {shape}" for shape, size in sizes.items())
    if refused:
        shape, error = next(iter(refused.items()))
        line = str(error).partition("; try 'rdbench check")[0]
        return Note(f"{text}; not of {', '.join(refused)} ({shape}: {line[:150]})")
    return text


def repeats(subject: FeaturesSubject) -> str:
    """The same images give the same vectors."""
    features, images = subject.first
    need(
        torch.equal(features.extract(images), features.extract(images)),
        "the same images give other vectors the second time; it must not draw random numbers (dropout off)",
    )
    return "the same images give the same vectors"


def one_by_one(subject: FeaturesSubject) -> str:
    """The vector of an image does not depend on those beside it."""
    features, images = subject.first
    together, alone = features.extract(images), torch.cat([features.extract(one[None]) for one in images])
    scale = float(together.abs().max()) or 1.0
    need(
        bool((together - alone).abs().max() <= 1e-3 * scale),
        "the vector of an image depends on the images beside it; batch normalisation must be in evaluation"
        " mode, and nothing be scaled by the batch",
    )
    apart = float(together.std(0).max())
    need(apart > 0, "all images give the same vector, so every distance would be 0")
    return "the vector of an image does not depend on the images beside it"
