"""The settings of a sweep and its parts: short forms expanded, what a file leaves out filled in.

Nothing is coerced: ``true`` is not 1; a whole number will do where a number is asked for.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from rdbench import datasets, metrics
from rdbench.datasets import DatasetOptions
from rdbench.errors import SpecError
from rdbench.metrics.base import MetricOptions
from rdbench.metrics.plugged import PluggedOptions
from rdbench.numerics.likelihood import READINGS, Reading
from rdbench.registry.declaration import Declaration
from rdbench.registry.source import find
from rdbench.spec import fields
from rdbench.spec.errors import fail
from rdbench.spec.fields import Beta, DatasetField, MetricField, Seed, Settings, with_name
from rdbench.spec.search_options import OptunaSearch, SearchField, StopField

Protocol = Literal["clean", "paper"]
TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else fields.as_tuple(value)


class VariantSpec(Settings):
    """A variant and its options.

    In YAML ``bs_vae``, ``{name: student_t, dof: 5}``, ``./my_vae.py:my_vae`` or ``package.module:my_vae``.

    Attributes:
        name: what it is registered as.
        options: all of them, defaults written out.
        code: the hash of the files it runs from, if it does not ship with rdbench: edited, it is another one.
        source: where that was found, "module:symbol" or "file:symbol"; no part of a trial's identity.
    """

    name: str
    options: dict[str, Any] = Field(default={})
    code: str = ""
    source: str = ""

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, VariantSpec):
            return value
        context = info.context or {}
        if context.get("settled"):  # a trial's own record of what it was: nothing to look up
            return value
        given = with_name(value, "variant", "bs_vae or {name: bs_vae}", (), "add 'name: bs_vae'")
        reference = given.pop("name")
        try:
            return fields.settle_variant(reference, given, context.get("folders", ()))
        except ValidationError:
            if context.get("stored") and isinstance(reference, str):
                # Results outlive the file or package their variant came from.
                return {"name": reference.rpartition(":")[2], "options": given}
            raise

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only variants from elsewhere have."""
        return {key: value for key, value in handler(self).items() if value or key not in ("code", "source")}

    @property
    def declaration(self) -> Declaration | None:
        """What its source declares; nothing is run. None where the source is not there (any more)."""
        try:
            return find(self.source or self.name).declaration
        except SpecError:
            return None

    def __hash__(self) -> int:
        return hash((self.name, self.code))

    def __eq__(self, other: object) -> bool:
        """Tell whether two are one variant, wherever each was found."""
        if not isinstance(other, VariantSpec):
            return NotImplemented
        return (self.name, self.options, self.code) == (other.name, other.options, other.code)


class TrainSpec(Settings):
    """How each trial trains.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step; the last partial batch is dropped.
        lr: AdamW's step size at the start of each cosine cycle.
        weight_decay: AdamW's decoupled weight decay.
        augment: whether training images are augmented, where the dataset has an augmentation.
        precision: arithmetic of the training steps: ``float32``, ``tf32`` (GPU only) or ``bf16``. Weights
            and evaluation are float32 whatever it is.
    """

    epochs: int = Field(default=50, ge=1, le=1_000_000)
    batch_size: int = Field(default=512, ge=2, le=1_000_000)  # BatchNorm cannot train on one image
    lr: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-5, ge=0, le=10)
    augment: bool = True
    precision: Literal["float32", "tf32", "bf16"] = "float32"


class ModelSpec(Settings):
    """The networks: residual convolutions with one width a halving, or a linear pair without any."""

    name: Literal["conv", "linear"] = "conv"
    latent: int = Field(ge=1, le=100_000)
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=100_000)], ...],
        BeforeValidator(fields.as_tuple),
        Field(max_length=32),
    ] = ()

    @model_validator(mode="after")
    def _channels_match(self) -> "ModelSpec":
        if self.name == "linear" and self.channels:
            fail("a linear model has no channels; remove the key", "channels")
        if self.name == "conv" and not self.channels:
            fail("the list is empty; name a width for each halving, such as [32, 64]", "channels")
        return self


class Resources(Settings):
    """What one trial is given; no result depends on it beyond rounding.

    Attributes:
        cpus: threads.
        gpus: GPUs or a share of one, or ``auto``: what the machine has.
        pack: trials trained side by side on a GPU, as one job; ``auto`` is 1 on a CPU, and on a GPU
            what was measured to be fastest there.
        checkpoint_minutes: the least time between two checkpoints of a training, which are written as epochs
            end; null: as writing them takes under a hundredth of the time, but every ten minutes at least.
        trial_timeout: minutes until a trial, or the pack it trains in, counts as hung and fails; null: never.
        niceness: of workers, added to that of the command, as by ``nice -n``: 19 gives way to all else.
    """

    cpus: int = Field(default=1, ge=1, le=10_000)
    gpus: Annotated[Literal["auto"] | float, PlainValidator(fields.gpu_share)] = "auto"
    pack: Annotated[Literal["auto"] | int, PlainValidator(fields.pack_size)] = "auto"
    checkpoint_minutes: float | None = Field(default=None, ge=0, le=fields.MAX_MINUTES)
    trial_timeout: float | None = Field(default=None, gt=0, le=fields.MAX_MINUTES)
    niceness: int = Field(default=0, ge=0, le=19)


class SweepSettings(Settings):
    """The settings of a sweep, each of them valid; :class:`rdbench.spec.sweep.Sweep` has them fit together.

    Attributes:
        name: names the results folder.
        dataset: the options of one dataset, with its name.
        variants: what is compared.
        readings: the readings of sigma^2 the report shows; results have all of them.
        beta: the values to train at, ascending.
        seeds: each trains a model for every variant and beta.
        protocol: how to evaluate: ``clean``, or as the ``paper``'s released code does.
        train: the schedule.
        model: the networks; by default those of the dataset.
        grid: settings of these two to vary as well, such as ``{train.epochs: [20, 60]}``; each combination is
            a series of its own.
        metrics: proxy metrics to compute, each a name or ``{name: iwae, samples: 1000}``. One that is added
            later is measured on the stored weights, and means training again where there are none.
        resources: what a trial is given.
        keep_per_image: also store rate and squared error of every test image.
        keep_weights: also store every trained network, so that metrics can be measured afterwards.
        search: what chooses the trials; then ``beta`` is where it starts, and its ends are the range.
        stop: the rule that stops unpromising trials early.
    """

    name: Annotated[str, AfterValidator(fields.safe_name)]
    dataset: DatasetField
    variants: Annotated[
        tuple[VariantSpec, ...], BeforeValidator(fields.as_tuple), AfterValidator(fields.distinct)
    ]
    readings: Annotated[
        tuple[Reading, ...], BeforeValidator(fields.as_tuple), AfterValidator(fields.distinct)
    ] = READINGS
    beta: Annotated[tuple[Beta, ...], BeforeValidator(fields.expand_grid), AfterValidator(fields.ascending)]
    seeds: Annotated[
        tuple[Seed, ...], BeforeValidator(fields.expand_seeds), AfterValidator(fields.distinct)
    ] = (0,)
    protocol: Protocol = "clean"
    train: TrainSpec = TrainSpec()
    model: ModelSpec = Field(default_factory=dict, validate_default=True)
    grid: dict[str, Any] = Field(default={})
    metrics: Annotated[tuple[MetricField, ...], BeforeValidator(fields.as_tuple)] = ()
    resources: Resources = Resources()
    keep_per_image: bool = False
    keep_weights: bool = False
    search: SearchField = None
    stop: StopField = None
    track: Annotated[tuple[TrackerName, ...], BeforeValidator(_one_or_more)] = ()

    @field_validator("model", mode="wrap")
    @classmethod
    def _fill_model(
        cls, value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> ModelSpec:
        """Fill in what is not written from the dataset's default; its images must be large enough."""
        dataset = info.data.get("dataset")
        if isinstance(value, Mapping):
            # Without a valid dataset, which is the error to report, any complete model will do.
            default = {"latent": 1, "channels": [1]}
            if dataset is not None:
                default = datasets.of(dataset).default_model(dataset)
            linear = {**default, **value}.get("name") == "linear"
            value = {**default, **({"channels": ()} if linear else {}), **value}
        model: ModelSpec = validate(value)
        return model if dataset is None else fit_to_images(model, dataset)

    @field_validator("metrics")
    @classmethod
    def _have_a_meaning(
        cls, value: tuple[MetricOptions, ...], info: ValidationInfo
    ) -> tuple[MetricOptions, ...]:
        protocol = info.data.get("protocol")
        stored = (info.context or {}).get("stored")
        for index, asked in enumerate(value):
            if stored and isinstance(asked, PluggedOptions):
                continue  # which could run the user's code, for no more than reading results
            allowed = metrics.of(asked).protocols
            if protocol is not None and protocol not in allowed:
                fix = f"use protocol: {' or '.join(allowed)}, or remove the metric"
                fail(f"{asked.name!r} is not measured under protocol {protocol}; {fix}", index)
        return fields.distinct(value) if value else value

    @property
    def searched(self) -> dict[str, Any]:
        """The settings that a search by Optuna varies, each with its range or choices."""
        return self.search.over if isinstance(self.search, OptunaSearch) else {}

    @model_serializer(mode="wrap")
    def _without_search(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a sweep does not ask for."""
        optional = ("grid", "search", "stop", "track")
        return {key: v for key, v in handler(self).items() if v or key not in optional}


def fit_to_images(model: ModelSpec, dataset: DatasetOptions) -> ModelSpec:
    """Return a model, which must not halve the dataset's images more often than they can be."""
    if model.name == "linear":
        return model
    _, height, width = datasets.of(dataset).shape(dataset)
    # A convolution of stride 2 takes a side s to ceil(s / 2), so this many bring the shorter one to 1.
    halvings = (min(height, width) - 1).bit_length()
    if len(model.channels) > halvings:
        fix = f"name at most {halvings}" if halvings else "use model: {name: linear}"
        fail(f"{len(model.channels)} widths halve {height}x{width} images too often; {fix}", "channels")
    return model
