"""What a proxy metric is: its options, what it is given, and what it answers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from rdbench.errors import UserError
from rdbench.numerics.stages import Stages, Unkept
from rdbench.storage import paths

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from rdbench.datasets import Dataset
    from rdbench.storage.places import Place


Better = Literal["lower", "higher"]


class MetricOptions(BaseModel):
    """What a sweep may say about any metric; a metric's own class adds its options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # What a stored row, or a search, means that lacks an option because it is older than it.
    before: ClassVar[Mapping[str, Any]] = {}
    # Those of ``before`` that rows lack to this day where they have that value: a row without one has it.
    omitted: ClassVar[frozenset[str]] = frozenset()

    name: str

    @classmethod
    def as_stored(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that a results folder stores, with what they mean if they are of before.

        A folder stores every option, so one that lacks those of :attr:`before` alone is older than they are.
        """
        whole = cls.model_fields.keys() - cls.before.keys() <= given.keys()
        return {**cls.before, **given} if whole else dict(given)

    def settings(self) -> dict[str, Any]:
        """Return the options but for the name, as JSON values."""
        settings = self.model_dump(mode="json", exclude={"name"})
        own = getattr(getattr(self, "features", None), "identity", None)  # of a feature network of the user's
        settings |= {"features": own} if own else {}
        left_out = {name for name in self.omitted if settings[name] == self.before[name]}
        return {name: value for name, value in settings.items() if name not in left_out}

    def offers(self, quantity: str) -> bool:
        """Tell whether a quantity of the metric, by its name, is asked for."""
        return True


def _all(value: object) -> object:
    return None if value == "all" else value


# The first so many test images; ``all`` or null for every one.
ImageCount = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_all)]


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of an option, of which ValueError names one that is there twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice; remove one of them")
    return values


def _of_inception(value: object, info: ValidationInfo) -> object:
    """Find a file beside the sweep file, then in the working folder: workers run in another."""
    if not isinstance(value, str | Path):
        return value
    if info.data.get("features", "inception") != "inception":
        raise ValueError("these are weights of Inception; use features: inception, or leave weights out")
    context = info.context or {}
    try:
        candidates = paths.candidates(value, () if context.get("stored") else context.get("folders", ()))
    except UserError as error:
        raise ValueError(str(error)) from None
    file = next((path for path in candidates if path.exists()), candidates[0])
    if str(file) != paths.as_text(file):
        raise ValueError("the path is not UTF-8, which results are; link to the file from another place")
    return str(file) if info.mode == "json" else file  # what strict takes for a path


# A local file of weights, in place of the published ones. A class declares it after its ``features``.
InceptionWeights = Annotated[Path | None, BeforeValidator(_of_inception)]


@dataclass(frozen=True)
class TrainedModel:
    """What a metric may use: a trained network in evaluation mode, and the images it is tested on."""

    # images (batch, channels, height, width) -> mean and log variance of q(z|x), (batch, latent)
    encode: "Callable[[Tensor], tuple[Tensor, Tensor]]"
    decode: "Callable[[Tensor], Tensor]"  # latents (batch, latent) -> the decoder's mean, shaped as images
    latent: int  # size of a latent
    data: "Dataset"  # as it is stored
    test_images: "Callable[[Tensor], Tensor]"  # indices (batch,) -> these test images, float32 on ``device``
    n_test: int  # how many test images there are
    test_sse: "npt.NDArray[np.float64]"  # of the test images, for the variance of ``optimal_shared``
    beta: float  # the trial's, as are seed and protocol
    seed: int
    protocol: str
    device: "torch.device"  # where the network is
    # rates of the test images as the model itself has them, nats, for :func:`check_rates`; None: not known
    test_rates: "npt.NDArray[np.float64] | None" = None
    classifier: "Place | None" = None  # folder of the sweep's classifier; None: it has none of its own
    train_sse: float | None = None  # mean over training images, for ``optimal_train``; None: not known
    # (images, posterior of each, latents) -> the decoder's mean at the latents, shaped as the images, and
    # -ln p(x|z) in nats, (batch,), under a likelihood of the model's own; None: it has none
    own: "Callable[[Tensor, tuple[Tensor, ...], Tensor], tuple[Tensor, Tensor]] | None" = None
    # (count, generator) -> latents of p(z), (count, latent); None: standard normal
    prior: "Callable[[int, torch.Generator], Tensor] | None" = None
    # (images, standard normal noise (batch, latent)) -> the decoder's mean at a sample of q(z|x); None: of
    # the Gaussian posterior that ``encode`` gives
    reconstruct: "Callable[[Tensor, Tensor], Tensor] | None" = None
    # (images, standard normal noise (batch, latent)) -> the latents that ``reconstruct`` decodes; None: those
    # of the Gaussian posterior
    sample: "Callable[[Tensor, Tensor], Tensor] | None" = None
    # latents (batch, latent) -> ln p(z) in nats, (batch,), differentiable; None: standard normal
    log_prior: "Callable[[Tensor], Tensor] | None" = None
    lacks: frozenset[str] = frozenset()  # what the model lacks of :data:`NEEDS`
    say: Callable[[str], None] = lambda line: None  # told of the progress of what takes long
    # what is asked -> where the metric keeps its state, as an earlier attempt to measure this left it
    stages: "Callable[[MetricOptions], Stages]" = lambda asked: Unkept


INPUTS = {
    "images": "test images, float32 (images, channels, height, width), pixels in [0, 1]",
    "reconstructions": "the decoder's mean at a sample of q(z|x) of each test image, shaped as the images",
    "latents": "the samples of q(z|x) that the reconstructions are decoded from, (images, latent)",
    "labels": "classes of the test images, int64 (images,)",
    "samples": "the decoder's mean at latents from the prior, (samples, channels, height, width)",
    "model": "the trained model: encode, decode, prior, data ... (rdbench.metrics.base.TrainedModel)",
}
"""What a metric of one's own may name among its parameters; tensors on the model's device."""

OF_IMAGES = ("images", "reconstructions", "latents", "labels")
"""Those of which there is one for each test image."""


@dataclass(frozen=True)
class Value:
    """One measured number; what tells it from the metric's others, and remarks, are among its settings."""

    value: float | None
    standard_error: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    feature_hash: str | None = None  # of the weights of a feature network, if one was used


def undefined_value(why: str) -> Value:
    """Return a value that says why the metric has no meaning for a model's variant."""
    return Value(None, settings={"error": f"not defined for this variant: {why}", "undefined": True})


def mean_value(per_image: "Tensor", **settings: Any) -> Value:
    """Return the mean of float64 (images,) as a value, with its standard error if there are two or more.

    Its settings are these, and ``n_images`` unless they hold it.
    """
    count = len(per_image)
    error = float(per_image.std() / math.sqrt(count)) if count > 1 else None
    return Value(float(per_image.mean()), error, {**settings, "n_images": settings.get("n_images", count)})


def check_rates(model: TrainedModel, closed: "Tensor", index: "Tensor") -> None:
    """Refuse a model whose own rates are not KL(q(z|x) || N(0, I)), whatever it declares of its posterior.

    Args:
        model: with the rates that were measured, or nothing is checked. They may be unbiased estimates.
        closed: the closed form of some test images in nats, float64 (images,).
        index: which these are, (images,).

    Raises ValueError: the means differ by more than chance and rounding explain.
    """
    import numpy as np

    if model.test_rates is None:
        return
    own, here = model.test_rates[index.cpu().numpy()], closed.cpu().numpy()
    difference = own - here
    chance = float(difference.std(ddof=1)) / math.sqrt(len(here)) if len(here) > 1 else 0.0
    rounding = 1e-3 * (1 + float(np.abs(here).mean()))
    if not abs(float(difference.mean())) <= 6 * chance + rounding:
        raise ValueError(
            f"the model's own rate is {own.mean():.6g} nats where KL(N(mean, exp(log_var)) || N(0, I)) is"
            f" {here.mean():.6g}: its prior or posterior is another; write gaussian = False in its class"
        )


NEEDS = {
    "gaussian": "diagonal Gaussian posterior with a standard normal prior",
    "prior": "prior to sample from",
    "encoder": "encoder",
    "density": "density of its prior: its class replaces prior and not log_prior",
}
"""What a metric may rest on that not every model has: a name, and how a reader is told."""


@dataclass(frozen=True)
class Quantity:
    """One of the numbers that a metric measures, under whatever reading."""

    name: str  # ``quantity`` in the settings of its values; the metric's name if they name none
    better: Better | None  # None: neither way
    unit: str = ""  # "": a pure number
    has_zero: bool = True  # else a change in per cent says nothing, as with decibels
    positive: bool = True  # always, else it has no logarithm
    # Options of the metric that no other quantity of it depends on: rows of the others do not hold them, so
    # values of these stay in one column whatever such an option says.
    options: tuple[str, ...] = ()
    what: str = ""  # what a reader is told beside how it was measured, where its name may stand for several


def decibels(name: str, what: str) -> Quantity:
    """Return a PSNR as a quantity, which has no zero: ``what`` tells it from the others of that name."""
    return Quantity(name, "higher", "dB", has_zero=False, positive=False, what=what)


@dataclass(frozen=True)
class Metric:
    """A proxy metric: what a sweep file may ask for, and how it is measured."""

    name: str  # in a sweep file
    summary: str  # in one line
    options: type[MetricOptions]
    compute: Callable[[Any, TrainedModel], list[Value]]  # (options, model) -> one value or more
    quantities: tuple[Quantity, ...]  # the numbers that its values may be
    # Those it has a meaning under: under paper, figures of unaugmented test images would not compare to those
    # of augmented ones beside them.
    protocols: tuple[str, ...] = ("clean", "paper")
    # (options, dataset, protocol) -> what it needs and this machine or that dataset lacks, with the fix, in
    # one line; None if it can be measured. Called before anything is trained; imports no torch.
    missing: "Callable[[Any, Dataset, str], str | None]" = lambda options, data, protocol: None
    needs: tuple[str, ...] = ()  # of :data:`NEEDS`
    # (options, dataset) -> quantities that it is not measured by on this dataset, though the others are, and
    # why, in one line each. Imports no torch.
    left_out: "Callable[[Any, Dataset], Mapping[str, str]]" = lambda options, data: {}
    takes_long: bool = False  # minutes to hours a trial: it keeps its state in ``TrainedModel.stages``

    def value_names(self, options: MetricOptions) -> list[str]:
        """Return the names of the values it may have under some options."""
        readings = getattr(options, "readings", ("",))
        asked = [one.name for one in self.quantities if options.offers(one.name)]
        return [value_name(self.name, name, reading) for name in asked for reading in readings]


def value_name(name: str, quantity: str | None, reading: str | None) -> str:
    """Return what a value of a metric is called: ``fid``, ``prdc_recall``, ``iwae_half``."""
    return "_".join(dict.fromkeys(part for part in (name, quantity, reading) if part))
