"""A sweep file, validated: YAML to a frozen, resolved :class:`Sweep`.

Nothing is coerced: ``true`` is not 1; a whole number will do where a number is asked for. What a file leaves
out is filled in here, so a sweep that is saved and loaded again is the same sweep. Every problem is one line.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from rdbench import datasets, metrics
from rdbench.datasets import DatasetOptions
from rdbench.errors import SpecError
from rdbench.metrics.base import MetricOptions
from rdbench.numerics.likelihood import READINGS, Reading
from rdbench.registry.declaration import Declaration
from rdbench.registry.source import find
from rdbench.spec.errors import fail, from_validation, problems_at
from rdbench.spec.fields import (
    MAX_MINUTES,
    MAX_TRIALS,
    Beta,
    DatasetField,
    MetricField,
    Seed,
    as_tuple,
    distinct,
    expand_grid,
    expand_seeds,
    gpu_share,
    pack_size,
    safe_name,
    searched_option,
    settle_variant,
)
from rdbench.spec.search_checks import check_search, check_stop
from rdbench.spec.search_options import SEARCHES, STOPS, SearchField, StopField
from rdbench.spec.yaml import Document, KeyPath, kind, override, read_document
from rdbench.storage.places import Remote, place

Protocol = Literal["clean", "paper"]


class Settings(BaseModel):
    """The base of all settings: frozen, complete, strict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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
    options: dict[str, Any] = {}
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
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            fail(f"expected a variant's name, got {kind(value)}; write bs_vae or {{name: bs_vae}}")
        given = dict(value)
        if "name" not in given:
            fail("the variant is not named; add 'name: bs_vae'")
        reference = given.pop("name")
        try:
            return settle_variant(reference, given, context.get("folders", ()))
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
        tuple[Annotated[int, Field(ge=1, le=100_000)], ...], BeforeValidator(as_tuple), Field(max_length=32)
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
        pack: trials trained side by side in one network, as one job; ``auto`` is 1 on a CPU, and on a GPU
            what was measured to be fastest there.
        checkpoint_minutes: the least time between two checkpoints of a training, which are written as epochs
            end; null: as writing them takes under a hundredth of the time, but every ten minutes at least.
        trial_timeout: minutes until a trial, or the pack it trains in, counts as hung and fails; null: never.
        niceness: of workers, added to that of the command, as by ``nice -n``: 19 gives way to all else.
    """

    cpus: int = Field(default=1, ge=1, le=10_000)
    gpus: Annotated[Literal["auto"] | float, PlainValidator(gpu_share)] = "auto"
    pack: Annotated[Literal["auto"] | int, PlainValidator(pack_size)] = "auto"
    checkpoint_minutes: float | None = Field(default=None, ge=0, le=MAX_MINUTES)
    trial_timeout: float | None = Field(default=None, gt=0, le=MAX_MINUTES)
    niceness: int = Field(default=0, ge=0, le=19)


class Sweep(Settings):
    """A sweep, complete: what is not in its file has been filled in.

    Attributes:
        name: names the results folder.
        dataset: the options of one dataset, with its name.
        variants: what is compared.
        readings: the readings of sigma^2 the report shows; all are stored.
        beta: ascending.
        seeds: each trains a model for every variant and beta.
        protocol: how to evaluate: ``clean``, or as the ``paper``'s released code does.
        train: the schedule.
        model: the networks; by default those of the dataset.
        metrics: proxy metrics to compute, each a name or ``{name: iwae, samples: 1000}``. One that is added
            later is measured on the stored weights, and means training again where there are none.
        resources: what a trial is given.
        keep_per_image: also store rate and squared error of every test image.
        keep_weights: also store every trained network, so that metrics can be measured afterwards.
        search: what chooses the trials; then ``beta`` is where it starts, and its ends are the range.
        stop: what ends trials early that cannot matter.
    """

    name: Annotated[str, AfterValidator(safe_name)]
    dataset: DatasetField
    variants: Annotated[tuple[VariantSpec, ...], BeforeValidator(as_tuple), AfterValidator(distinct)]
    readings: Annotated[tuple[Reading, ...], BeforeValidator(as_tuple), AfterValidator(distinct)] = READINGS
    beta: Annotated[tuple[Beta, ...], BeforeValidator(expand_grid), AfterValidator(distinct)]
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(expand_seeds), AfterValidator(distinct)] = (0,)
    protocol: Protocol = "clean"
    train: TrainSpec = TrainSpec()
    model: ModelSpec = Field(default_factory=dict, validate_default=True)
    metrics: Annotated[tuple[MetricField, ...], BeforeValidator(as_tuple)] = ()
    resources: Resources = Resources()
    keep_per_image: bool = False
    keep_weights: bool = False
    search: SearchField = None
    stop: StopField = None

    @field_validator("beta")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(value))

    @field_validator("model", mode="before")
    @classmethod
    def _fill_model(cls, value: object, info: ValidationInfo) -> object:
        dataset = info.data.get("dataset")
        if not isinstance(value, Mapping):
            return value
        # Without a valid dataset, which is the error to report, any complete model will do.
        default = {"latent": 1, "channels": [1]}
        if dataset is not None:
            default = datasets.get(dataset.name).default_model(dataset)
        filled = {**default, **value}
        if filled.get("name") == "linear" and "channels" not in value:
            filled["channels"] = ()
        return filled

    @field_validator("model", mode="after")
    @classmethod
    def _image_is_large_enough(cls, value: ModelSpec, info: ValidationInfo) -> ModelSpec:
        dataset = info.data.get("dataset")
        return value if dataset is None else _fitting(value, dataset)

    @field_validator("metrics")
    @classmethod
    def _have_a_meaning(
        cls, value: tuple[MetricOptions, ...], info: ValidationInfo
    ) -> tuple[MetricOptions, ...]:
        protocol = info.data.get("protocol")
        for index, asked in enumerate(value):
            allowed = metrics.get(asked.name).protocols
            if protocol is not None and protocol not in allowed:
                mend = f"use protocol: {' or '.join(allowed)}, or remove the metric"
                fail(f"{asked.name!r} is not measured under protocol {protocol}; {mend}", index)
        return distinct(value) if value else value

    @model_validator(mode="after")
    def _affordable(self) -> "Sweep":
        trials = len(self.variants) * len(self.beta) * len(self.seeds)
        if trials > MAX_TRIALS:
            mend = f"use fewer betas or seeds: at most {MAX_TRIALS:,} trainings a sweep"
            fail(f"the grid asks for {trials:,} trainings; {mend}", "beta")
        return self

    @model_validator(mode="after")
    def _searchable(self, info: ValidationInfo) -> "Sweep":
        options = {name: type(value) for each in self.variants for name, value in each.options.items()}
        grid = (len(self.variants), len(self.beta), len(self.seeds))
        if self.stop:
            with problems_at("stop"):
                check_stop(self.stop, self.search, options=options, grid=grid, epochs=self.train.epochs)
        if not self.search:
            return self
        for index, variant in enumerate(self.variants):
            if (own := variant.declaration) is not None and own.curve:
                once = f"{variant.name} trains once for all betas, so there is nothing to search"
                fail(f"{once}; remove it here, or remove search", "variants", index)
        with problems_at("search"):
            check_search(
                self.search,
                asked=self.metrics,
                options=options,
                grid=grid,
                rebuild=self._with,
                stored=bool((info.context or {}).get("stored")),
            )
        return self

    def _with(self, name: str, value: Any) -> object:
        """Return the part of the settings that ``name`` belongs to, with another value."""
        if name == "beta":
            return TypeAdapter(Beta).validate_python(value)
        if name in TrainSpec.model_fields:
            return TrainSpec.model_validate(self.train.model_dump() | {name: value})
        if name in ModelSpec.model_fields:
            return _fitting(ModelSpec.model_validate(self.model.model_dump() | {name: value}), self.dataset)
        return searched_option(name, value, (each.declaration for each in self.variants))

    @model_serializer(mode="wrap")
    def _without_search(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a sweep does not ask for."""
        return {key: v for key, v in handler(self).items() if v is not None or key not in ("search", "stop")}


def _fitting(model: ModelSpec, dataset: DatasetOptions) -> ModelSpec:
    """Return a model, which must not halve the dataset's images more often than they can be."""
    if model.name == "linear":
        return model
    _, height, width = datasets.get(dataset.name).shape(dataset)
    # A convolution of stride 2 takes a side s to ceil(s / 2), so this many bring the shorter one to 1.
    halvings = (min(height, width) - 1).bit_length()
    if len(model.channels) > halvings:
        mend = f"name at most {halvings}" if halvings else "use model: {name: linear}"
        wrong = f"{len(model.channels)} widths halve {height}x{width} images too often"
        fail(f"{wrong}; {mend}", "channels")
    return model


def _known_keys(document: Document, path: KeyPath) -> Sequence[str]:
    """Return the keys that the mapping at ``path`` may have."""
    if path == ("dataset",):
        return list(datasets.get(document.data["dataset"]["name"]).options.model_fields)
    if path[0:1] == ("metrics",) and len(path) == 2:
        return list(metrics.get(document.data["metrics"][path[1]]["name"]).options.model_fields)
    for key, known in (("search", SEARCHES), ("stop", STOPS)):
        if path == (key,):
            return list(known[document.data[key]["name"]].model_fields)
    parts = ((), Sweep), (("train",), TrainSpec), (("model",), ModelSpec), (("resources",), Resources)
    return next((list(part.model_fields) for at, part in parts if at == path), [])


def _long_form(document: Document) -> Document:
    """Return the document with a dataset that is only named as a mapping, so overrides reach into it."""
    if not isinstance(document.data.get("dataset"), str):
        return document
    return replace(document, data={**document.data, "dataset": {"name": document.data["dataset"]}})


def load_sweep(
    path: str | Path | Remote,
    overrides: Sequence[str] = (),
    *,
    stored: bool = False,
    folders: Sequence[Path] = (),
    written: Mapping[str, str] = {},
) -> Sweep:
    """Read and validate a sweep file.

    Args:
        path: the file, ``-``, or the name of one that ships (:func:`rdbench.spec.sweep_files.find`). Files it
            names are looked for beside it, then in the working directory.
        overrides: settings that replace the file's, such as ``train.epochs=2``; the values are YAML.
        stored: it is that of a results folder, to be read: a variant whose source is gone is known by name.
        folders: where to look for a variant's file if the sweep file is not on this machine.
        written: what an override is called in an error, where the user did not write it as ``--set``.

    Raises:
        SpecError: the file or an override is not valid; one line names the place, the key and the mend.
    """
    document = _long_form(read_document(path := place(path)))
    for text in overrides:
        document = _long_form(override(document, text, written.get(text, "")))
    beside = (path.parent,) if isinstance(path, Path) else tuple(folders)
    try:
        return Sweep.model_validate(document.data, context={"folders": beside, "stored": stored})
    except ValidationError as error:
        raise from_validation(error, document, lambda at: _known_keys(document, at)) from None


def dump_sweep(sweep: Sweep) -> str:
    """Return a sweep as YAML, every default written out; :func:`load_sweep` reads an equal sweep from it."""
    from ruamel.yaml import YAML

    data = sweep.model_dump(mode="json")
    data["variants"] = [
        {"name": name, **variant.options} if variant.options else name
        for variant in sweep.variants
        for name in [variant.source or variant.name]
    ]
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # a list of numbers stays on one line
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 100
    yaml.allow_unicode = True
    text = io.StringIO()
    yaml.dump(data, text)
    return text.getvalue()
