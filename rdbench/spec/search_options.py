"""What a sweep file may ask of a search that chooses its trials, and of stopping trials early.

Checked as the file is read, without Optuna; against the rest of the sweep in ``search_checks``. What
these mean is told in :mod:`rdbench.search`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from rdbench import metrics
from rdbench.metrics.base import Better, value_name
from rdbench.numerics.likelihood import OWN, READINGS
from rdbench.spec.errors import fail
from rdbench.spec.fields import MAX_SEED, MAX_TRIALS, Settings, as_tuple, with_name
from rdbench.spec.yaml import kind
from rdbench.text import choose

TRIALS_A_CURVE, TRIALS_A_TARGET = 16, 8
"""Trainings a search may spend by default, for each variant and seed."""

Sampler = Literal["tpe", "gp", "random", "qmc", "nsgaii", "cmaes"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
OF_TRAINING = ("lr", "weight_decay", "batch_size", "epochs")
OF_MODEL = ("latent", "channels")

MEASURES: dict[str, Better] = {
    "rate": "lower",
    "mse": "lower",
    "psnr": "higher",
    **{f"elbo_{reading}": "higher" for reading in (*READINGS, OWN)},
    **{f"distortion_{reading}": "lower" for reading in (*READINGS, OWN)},
}
"""What every trial's test split is measured by, and which way each is better; metrics add theirs."""

_CONSTRAINT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|<|>)\s*(\S+)\s*")


Trials = Annotated[int, Field(ge=1, le=MAX_TRIALS)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class CurveSearch(Settings):
    """Betas where the curve is least known.

    Attributes:
        trials: trainings to spend at most, those of the start grid included; by default
            :data:`TRIALS_A_CURVE` for each variant and seed.
        gap: neighbouring points no farther apart than this, in ranges of the plane, are near enough.
        plane: the two axes, by the names of measures; with ``log_`` before it, its logarithm.
        at_a_time: betas to choose before the results of the last choice are in.
    """

    name: Literal["curve"] = "curve"
    trials: Trials | None = None
    gap: float = Field(default=0.05, ge=0, le=2)
    plane: Annotated[Names, Field(min_length=2, max_length=2)] = ("log_rate", "mse")
    at_a_time: int = Field(default=4, ge=1, le=1000)


class TargetSearch(Settings):
    """The beta of each variant at which a rate or a PSNR is met.

    Attributes:
        rate: wanted, in nats an image.
        psnr: wanted, in dB; one of the two.
        within: how near is near enough: a share of the rate (0.03 by default), or dB (0.1).
        trials: trainings to spend at most, those of the start grid included; by default
            :data:`TRIALS_A_TARGET` for each variant and seed.
    """

    name: Literal["target"] = "target"
    rate: float | None = Field(default=None, gt=0, le=1e6)
    psnr: float | None = Field(default=None, gt=-1000, le=1000)
    within: float | None = Field(default=None, gt=0, le=100)
    trials: Trials | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if self.rate is not None and self.psnr is not None:
            fail("names two targets; remove one")
        if self.rate is None and self.psnr is None:
            fail("names no single target; write {name: target, rate: 25} or {name: target, psnr: 20}")
        return self

    @property
    def measure(self) -> tuple[str, float, float]:
        """The wanted measure, its value, and how far from it is near enough, in its unit."""
        if self.rate is not None:
            return "rate", self.rate, self.rate * (self.within or 0.03)
        assert self.psnr is not None
        return "psnr", self.psnr, self.within or 0.1


class Constraint(NamedTuple):
    """A bound on a measure, such as ``rate < 50``."""

    measure: str
    below: bool
    bound: float

    def excess(self, value: float) -> float:
        """Return how far a value is beyond the bound; 0 or less within it."""
        return value - self.bound if self.below else self.bound - value


def constraint(text: object) -> Constraint:
    """Return what ``rate < 50`` asks for; a problem tells the form."""
    found = _CONSTRAINT.fullmatch(text) if isinstance(text, str) else None
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        bound = math.nan
    if not found or not math.isfinite(bound):
        fail(f"{kind(text)} is no constraint; write it as 'rate < 50' or 'psnr > 20'")
    return Constraint(measure=found[1], below=found[2][0] == "<", bound=bound)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


def _constraint_text(value: object) -> object:
    constraint(value)
    return value


def _sampler(value: object) -> object:
    # Of such short names most resemble some other one: "bayes" is no slip of the pen for "cmaes".
    if value not in SAMPLERS:
        fail(f"{kind(value)} is not known here; {choose(value, SAMPLERS, 0.7)}")
    return value


def _ranges(value: object) -> dict[str, Any]:
    """Return ranges to search: a pair of ends, or ``{choices: [...]}``; each by the name of a setting."""
    if not isinstance(value, Mapping):
        fail(f"expected a mapping, got {kind(value)}; write it as {{lr: [1e-4, 1e-2]}}")
    ranges: dict[str, Any] = {}
    for name, given in value.items():
        usage = "write [low, high], or {choices: [...]}"
        if name in ("variant", "variants"):
            fail("variants are searched by themselves where the sweep names several; remove it", name)
        if isinstance(given, Mapping):
            if given.keys() >= {"low", "high"}:
                ends = f"{kind(given['low'])}, {kind(given['high'])}"
                fail(f"expected two numbers, got a mapping; write [{ends}]", name)
            options = given.get("choices")
            if set(given) != {"choices"} or not isinstance(options, list | tuple) or not options:
                fail(f"expected a list of choices; {usage}", name)
            ranges[name] = {"choices": [list(own) if isinstance(own, tuple) else own for own in options]}
            continue
        if not isinstance(given, list | tuple) or [type(v) in (int, float) for v in given] != [True, True]:
            fail(f"expected two numbers, got {kind(given)}; {usage}", name)
        if not given[0] < given[1]:
            fail(f"the ends {given[0]} and {given[1]} are not in order; {usage}", name)
        ranges[name] = list(given)
    return ranges


class OptunaSearch(Settings):
    """Settings that make an objective best, or several: Optuna.

    Attributes:
        trials: trainings to spend at most.
        over: what to search: ``beta``, ``lr``, ``weight_decay``, ``batch_size``, ``epochs``, ``latent``,
            ``channels``, options of the variants; each a range ``[low, high]``, searched by its logarithm
            where the ends differ by a factor of ten or more, or ``{choices: [...]}``. ``beta`` is searched
            between the ends of the sweep's where it is not here and they differ.
        objective: measures to make best; of several, the front is sought.
        constraints: bounds, such as ``rate < 50``, that a good trial keeps.
        sampler: one of :data:`SAMPLERS`.
        seed: of the sampler.
        at_a_time: proposals before the results of the last ones are in.
    """

    name: Literal["optuna"] = "optuna"
    trials: Trials = 30
    over: Annotated[dict[str, Any], PlainValidator(_ranges)] = Field(default={})
    objective: Annotated[
        tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1, max_length=3)
    ] = ("elbo_optimal_shared",)
    constraints: Annotated[
        tuple[Annotated[str, BeforeValidator(_constraint_text)], ...], BeforeValidator(_one_or_more)
    ] = ()
    sampler: Annotated[Sampler, BeforeValidator(_sampler)] = "tpe"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    at_a_time: int = Field(default=1, ge=1, le=1000)


class PlateauStop(Settings):
    """Stop a trial whose own loss no longer falls.

    Attributes:
        patience: epochs without an improvement worth counting; by default half of all.
        least: the improvement that counts, as a share of all that the loss has fallen.
    """

    name: Literal["plateau"] = "plateau"
    patience: int | None = Field(default=None, ge=1, le=1_000_000)
    least: float = Field(default=0.001, gt=0, lt=1)


class MedianStop(Settings):
    """Stop a trial whose loss is above the median of its peers' at the same epoch.

    Attributes:
        grace: epochs that every trial gets; by default a tenth of all.
        peers: with fewer to compare with, none is stopped.
    """

    name: Literal["median"] = "median"
    grace: int | None = Field(default=None, ge=1, le=1_000_000)
    peers: int = Field(default=3, ge=1, le=10_000)


class AshaStop(Settings):
    """Stop a trial that at a rung is not among the best 1/``factor`` (successive halving; Li et al. 2020).

    Attributes:
        grace: the first rung, in epochs; by default a tenth of all.
        factor: each rung is so many times the last.
    """

    name: Literal["asha"] = "asha"
    grace: int | None = Field(default=None, ge=1, le=1_000_000)
    factor: int = Field(default=3, ge=2, le=100)


SearchOptions = CurveSearch | OptunaSearch | TargetSearch
StopOptions = AshaStop | MedianStop | PlateauStop
SEARCHES, STOPS = (
    {options.model_fields["name"].default: options for options in get_args(union)}
    for union in (SearchOptions, StopOptions)
)
"""The options of each, by name."""


def _expand(what: str, known: Sequence[str]) -> BeforeValidator:
    """Return what expands a name alone, and leaves what Python built as it is."""
    usage = f"{known[0]} or {{name: {known[0]}, ...}}"
    return BeforeValidator(
        lambda value: value if isinstance(value, Settings | None) else with_name(value, what, usage, known)
    )


ByName = Field(discriminator="name")
SearchField = Annotated[Annotated[SearchOptions, ByName] | None, _expand("search", list(SEARCHES))]
StopField = Annotated[Annotated[StopOptions, ByName] | None, _expand("stop", list(STOPS))]


def _of_metric(measure: str) -> tuple[str, Better | None]:
    """Return the name of the metric that has a measure, "" if none has, and which way that is better."""
    for name in metrics.names():
        for quantity in metrics.get(name).quantities:
            if measure in {value_name(name, quantity.name, reading) for reading in ("", *READINGS, OWN)}:
                return name, quantity.better
    return "", None


def metric_of(measure: str) -> str:
    """Return the name of the metric that has a measure; "" for one of :data:`MEASURES`, or of none."""
    return _of_metric(measure)[0]


def direction(measure: str) -> Better | None:
    """Return which way a measure is better; None where neither is, or it is not known."""
    return MEASURES.get(measure) or _of_metric(measure)[1]


def needed_measures(search: SearchOptions | None) -> list[str]:
    """Return the names of the measures that a search rests on: without their values it cannot choose."""
    measures: list[str] = []
    if isinstance(search, CurveSearch):
        measures = [name.removeprefix("log_") for name in search.plane]
    if isinstance(search, OptunaSearch):
        measures = [*search.objective, *(constraint(text).measure for text in search.constraints)]
    return measures


def needed_metrics(search: SearchOptions | None) -> set[str]:
    """Return the names of the metrics that a search rests on."""
    return {metric_of(name) for name in needed_measures(search)} - {""}


def searched_type(name: str, options: Mapping[str, type]) -> type:
    """Return the type of a setting that may be searched; that of ``channels`` is tuple."""
    own = {"beta": float, "lr": float, "weight_decay": float, "channels": tuple}
    return own.get(name) or options.get(name) or int
