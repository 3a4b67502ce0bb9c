"""What a search by Optuna may vary: from the ranges of a sweep file to distributions, and back to trials."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rdbench.search.base import at_beta
from rdbench.spec.labels import variant_names
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import OF_MODEL, OF_TRAINING, OptunaSearch, searched_type
from rdbench.spec.sweep import ModelSpec, Sweep, TrainSpec, VariantSpec

DIGITS = 6
"""Significant digits of a proposed number, so that it reads the same in a table, a label and a sweep file."""

MANY = 10_000  # settings that are no longer listed one by one

Params = dict[str, Any]


class Space:
    """The settings a sweep searches.

    With several variants the variant is searched too, and the options of each belong to it alone.
    """

    def __init__(self, sweep: Sweep, search: OptunaSearch) -> None:
        self.sweep = sweep
        self.over = dict(search.over)
        if "beta" not in self.over and len(sweep.beta) > 1:
            self.over = {"beta": [sweep.beta[0], sweep.beta[-1]], **self.over}
        # As the journal of a study has them, which must be read again whatever a console would say.
        names = variant_names(sweep.variants, self.over, whole=True)
        self.labels = {name: variant for variant, name in names.items()}

    def distributions(self, variant: VariantSpec) -> dict[str, BaseDistribution]:
        """Return what is searched for one variant."""
        settings = {"beta", *OF_TRAINING, *OF_MODEL, *variant.options}
        types = {name: type(value) for name, value in variant.options.items()}
        return {
            name: _distribution(ends, searched_type(name, types))
            for name, ends in self.over.items()
            if name in settings
        }

    def variant(self, params: Mapping[str, Any]) -> VariantSpec:
        """Return the variant of proposed settings."""
        return self.labels[params.get("variant", next(iter(self.labels)))]

    def _chosen(self, label: str) -> Params:
        return {"variant": label} if len(self.labels) > 1 else {}

    def every(self) -> list[Params] | None:
        """Return all settings there are; None where they are too many to list."""
        params: list[Params] = []
        for label, variant in self.labels.items():
            distributions = self.distributions(variant)
            choices = [_choices(distribution) for distribution in distributions.values()]
            if math.prod(math.inf if values is None else len(values) for values in choices) > MANY:
                return None
            params += [
                self._chosen(label) | dict(zip(distributions, values, strict=True))
                for values in itertools.product(*filter(None, choices))
            ]
        return params

    def suggest(self, trial: optuna.Trial) -> None:
        """Have the sampler propose every setting of a trial."""
        if len(self.labels) > 1:
            trial.suggest_categorical("variant", list(self.labels))
        for name, distribution in self.distributions(self.variant(trial.params)).items():
            trial._suggest(name, distribution)  # as Study.ask does with distributions that are known before

    def trials(self, params: Mapping[str, Any]) -> list[Trial]:
        """Return the trials of proposed settings: one for each seed of the sweep."""
        variant = self.variant(params)
        values = {name: _value(params[name]) for name in params if name != "variant"}
        beta = float(values.pop("beta", self.sweep.beta[0]))
        train = {name: values.pop(name) for name in OF_TRAINING if name in values}
        model = {name: values.pop(name) for name in OF_MODEL if name in values}
        changed = self.sweep.model_copy(
            update={
                "train": TrainSpec.model_validate(self.sweep.train.model_dump() | train),
                "model": ModelSpec.model_validate(self.sweep.model.model_dump() | model),
            }
        )
        variant = variant.model_copy(update={"options": variant.options | values})
        return at_beta(changed, variant, beta)

    def params(self, trial: Trial) -> Params | None:
        """Return the settings by which a trial could have been proposed; None where it could not."""
        settings = {"beta": trial.beta} | trial.train.model_dump() | trial.model.model_dump()
        settings |= trial.variant.options
        for label, variant in self.labels.items():
            if (variant.name, variant.code) != (trial.variant.name, trial.variant.code):
                continue
            params = self._chosen(label)
            distributions = self.distributions(variant)
            params |= {name: _plain(settings[name]) for name in distributions}
            inside = all(_holds(kind, params[name]) for name, kind in distributions.items())
            if inside and any(same.id == trial.id for same in self.trials(params)):
                return params
        return None


def _distribution(ends: Any, expected: type) -> BaseDistribution:
    if isinstance(ends, Mapping):
        return CategoricalDistribution([_plain(choice) for choice in ends["choices"]])
    low, high = ends
    log = low > 0 and high / low >= 10
    if expected is int:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _choices(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values there are; None of real numbers."""
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1)
    return distribution.choices if isinstance(distribution, CategoricalDistribution) else None


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution.low <= value <= distribution.high)  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    """Return a value as Optuna takes it: a list, such as ``channels``, as JSON."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def _value(value: Any) -> Any:
    """Return a value as a trial takes it: a number as it reads in a sweep file."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, str) and value.startswith("["):
        return tuple(json.loads(value))
    return value
