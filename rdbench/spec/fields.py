"""What single fields of a sweep file mean: short forms expanded, values checked one by one.

These run inside pydantic's validation, before or after its own checks of types and bounds.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from rdbench import datasets, metrics
from rdbench.datasets import DatasetOptions
from rdbench.errors import SpecError
from rdbench.metrics.base import MetricOptions
from rdbench.registry import variants
from rdbench.registry.declaration import Option
from rdbench.registry.source import find
from rdbench.spec import plugged
from rdbench.spec.errors import fail, from_validation, wrong_type
from rdbench.spec.yaml import Document, Place, kind, override
from rdbench.storage import paths
from rdbench.text import choose


class Settings(BaseModel):
    """The base of all settings: frozen, complete, strict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def load_dataset_options(name: str, overrides: Sequence[str] = ()) -> DatasetOptions:
    """Validate a dataset's options as the command line gives them, such as ``path=photos``; values are YAML.

    SpecError: there is no such dataset, or an option is not valid.
    """
    document = Document({"name": name}, {(): Place(0, 0, "dataset")})
    for text in overrides:
        document = override(document, text)
    try:
        adapter: TypeAdapter[DatasetOptions] = TypeAdapter(DatasetField)
        return adapter.validate_python(document.data, context={"folders": ()})
    except ValidationError as error:
        known = list(datasets.get(name).options.model_fields) if name in datasets.names() else []
        raise from_validation(error, document, lambda at: known, "--set {}=...") from None


MIN_BETA, MAX_BETA = 1e-8, 1e8
MAX_SEED = 2**31 - 1
MAX_TRIALS = 10_000  # over ten times the largest sweep that ships; more is nearly always a slip of the pen
MAX_PACK = 1024
MAX_MINUTES = 365 * 24 * 60

_SAFE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")


def as_tuple(value: object) -> object:
    """Return a list as a tuple, and anything else as it is, for pydantic to judge."""
    return tuple(value) if isinstance(value, list) else value


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return ``values``, which must not be empty nor hold one twice."""
    if not values:
        fail("the list is empty; name at least one")
    seen = set()
    for index, value in enumerate(values):
        if value in seen:
            shown = kind(getattr(value, "name", value))
            fail(f"{shown.removesuffix('.0')} is there twice; remove one of them", index)
        seen.add(value)
    return values


def ascending(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return ``values`` sorted; there must be some, and none twice."""
    return tuple(sorted(distinct(values)))


def _logspace(value: object) -> tuple[float, ...]:
    """Return the grid ``[low, high, count]`` asks for: evenly spaced logarithms, both ends included.

    Every point is rounded to 6 significant decimal digits, so powers of ten on the grid are exactly those
    numbers, and a beta reads the same in a table, a label and the sweep file.
    """
    at = "logspace"
    usage = "write {logspace: [low, high, count]}, such as {logspace: [1e-4, 1e3, 57]}"
    if not isinstance(value, list | tuple) or len(value) != 3:
        fail(f"expected three numbers; {usage}", at)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
        fail(f"expected three numbers, got {', '.join(map(kind, value))}; {usage}", at)
    low, high, count = value
    if not isinstance(count, int) or not 2 <= count <= MAX_TRIALS:
        fail(f"count {count} is out of range; use a whole number from 2 to {MAX_TRIALS:,}", at)
    if not MIN_BETA <= low < high <= MAX_BETA:
        span = f"{MIN_BETA:g} <= low < high <= {MAX_BETA:g}"
        fail(f"the ends {low} and {high} are out of range; use {span}", at)
    first, last = math.log10(low), math.log10(high)
    steps = (first + (last - first) * index / (count - 1) for index in range(count))
    return tuple(float(f"{10**step:.6g}") for step in steps)


def expand_grid(value: object) -> object:
    """Expand ``{logspace: [low, high, count]}``; a list stays what it is."""
    if isinstance(value, list | tuple):
        return tuple(value)
    if not isinstance(value, Mapping):
        fail(f"expected a list, got {kind(value)}; write [0.1, 1, 10] or {{logspace: [low, high, count]}}")
    for key in value:
        if key != "logspace":
            fail("unknown key; the one grid there is, is {logspace: [low, high, count]}", key)
    return _logspace(value.get("logspace"))


def expand_seeds(value: object) -> object:
    """Expand a number of seeds ``n`` to 0..n-1."""
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int):
        fail(f"expected a number of seeds, got {kind(value)}; write it as 5, or list the seeds as [0, 1]")
    if not 1 <= value <= MAX_TRIALS:
        fail(f"{value} seeds are out of range; use 1 to {MAX_TRIALS:,}, or a list of seeds")
    return tuple(range(value))


def with_name(value: object, what: str, usage: str, known: Sequence[str], add: str = "") -> dict[Any, Any]:
    """Return a mapping with a name, expanded from a name alone; the name must be a known one, if any are."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        fail(f"expected a {what}'s name, got {kind(value)}; write {usage}")
    if "name" not in value:
        fail(f"the {what} is not named; {add or f'write {usage}'}")
    name = value["name"]
    if known and name not in known:
        fix = choose(name, known) if isinstance(name, str) else f"write {usage}"
        fail(f"no {what} named {kind(name)}; {fix}", "name")
    return dict(value)


def _options_of(what: str, registry: Any, base: type[BaseModel], example: str, short: str) -> PlainValidator:
    """Return what validates the options of a dataset or a metric with the class of that one."""

    def validated(value: object, info: ValidationInfo) -> object:
        if isinstance(value, base):
            return value
        usage = f"{short} or {{name: {example}, ...}}"
        if own := plugged.settled(what, value, info):
            if getattr(own, "validation", None) == datasets.PUBLISHED:
                _check_published(own.name)
            return own
        given = with_name(value, what, usage, registry.names(), f"add 'name: {example}'")
        # Through JSON, where strict lets text be a path and a list a tuple, as options may declare them.
        options: type[BaseModel] = registry.get(given["name"]).options
        if (info.context or {}).get("stored") and issubclass(options, MetricOptions):
            given = options.as_stored(given)
        settled = options.model_validate_json(json.dumps(given), strict=True, context=info.context)
        if getattr(settled, "validation", None) == datasets.PUBLISHED:
            _check_published(given["name"])
        return settled

    return PlainValidator(validated)


def _check_published(dataset: str) -> None:
    if dataset not in datasets.names() or not datasets.get(dataset).validation_size:
        fix = "hold out a number or a share of the training images, such as validation: 0.1"
        fail(f"{dataset} has no published validation split; {fix}", "validation")


def settle_variant(
    reference: object, options: Mapping[Any, Any], folders: Sequence[Path]
) -> dict[str, object]:
    """Return the fields of a :class:`rdbench.spec.sweep.VariantSpec`, all options written out.

    ``reference`` is a registered name, ``package.module:symbol`` or ``file.py:symbol``; a relative path may
    start from ``folders``. Nothing is imported.
    """
    known = variants.names()
    if not isinstance(reference, str) or (":" not in reference and reference not in known):
        fail(f"no variant named {kind(reference)}; {choose(reference, known)}", "name")
    try:
        source = find(reference, folders)
        code = source.code
    except SpecError as error:
        fail(str(error), "name")
    declaration = source.declaration
    settled = {name: option.default for name, option in declaration.options.items()}
    for name, value in options.items():
        if name not in settled:
            fix = choose(name, list(settled)) if settled else "it takes no options, remove it"
            fail(f"unknown key; variant {declaration.name}: {fix}", name)
        settled[name] = option_value(value, declaration.options[name], name)
    if not code:
        return {"name": reference, "options": settled}
    where = f"{source.module or paths.as_text(source.path)}:{declaration.symbol}"
    return {"name": declaration.name, "options": settled, "code": code, "source": where}


def option_value(value: Any, declared: Option, name: str) -> object:
    """Return a value of a variant's option, which must be of its type and within its range."""
    expected = declared.type
    typed = float(value) if expected is float and type(value) is int else value
    if type(typed) is not expected or (isinstance(typed, float) and not math.isfinite(typed)):
        fail(wrong_type(value, expected.__name__), name)
    if use := declared.out_of_range(typed):
        fail(f"{kind(value)} is out of range; use {use}", name)
    return typed


def gpu_share(value: object) -> object:
    """Return ``auto``, or a number of GPUs from 0."""
    if value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        fail(f"expected auto or a number of GPUs, got {kind(value)}; use auto, 0, or a share such as 0.25")
    return float(value)


def pack_size(value: object) -> object:
    """Return ``auto``, or a number of trials from 1."""
    if value != "auto" and (type(value) is not int or not 1 <= value <= MAX_PACK):
        fail(f"expected auto or a number of trials, got {kind(value)}; use auto, or 1 to {MAX_PACK}")
    return value


def safe_name(value: str) -> str:
    """Return a name that can be a folder's on any system."""
    if not _SAFE_NAME.fullmatch(value):
        fix = "use at most 100 letters, digits, '-', '_' and '.', a letter or digit first, no '.' last"
        fail(f"{kind(value)} is no safe folder name; {fix}")
    return value


DatasetField = Annotated[
    SerializeAsAny[DatasetOptions],
    _options_of("dataset", datasets, DatasetOptions, "mnist", "'dataset: mnist'"),
]
MetricField = Annotated[
    SerializeAsAny[MetricOptions], _options_of("metric", metrics, MetricOptions, "iwae", "iwae")
]
Beta = Annotated[float, Field(ge=MIN_BETA, le=MAX_BETA)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
