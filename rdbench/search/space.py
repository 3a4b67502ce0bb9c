"""What a search by Optuna may vary: from the ranges of a sweep file to distributions, and back to trials."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from rdbench.search.base import at_beta
from rdbench.spec.naming import labels
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import OF_MODEL, OF_TRAINING, OptunaSearch, searched_type
from rdbench.spec.sweep import ModelSpec, Sweep, TrainSpec, VariantSpec

DIGITS = 6
"""Significant digits of a proposed number, so that it reads the same in a table, a label and a sweep file."""

MANY = 10_000
"""Settings that are no longer listed one by one."""

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
        named = labels(sweep.variants, self.over, whole=True)
        self.labels = {name: variant for variant, name in named.items()}

    def distributions(self, variant: VariantSpec) -> dict[str, BaseDistribution]:
        """Return what is searched for one variant."""
        own = {"beta", *OF_TRAINING, *OF_MODEL, *variant.options}
        types = {name: type(value) for name, value in variant.options.items()}
        return {
            name: _distribution(given, searched_type(name, types))
            for name, given in self.over.items()
            if name in own
        }

    def every(self) -> list[Params] | None:
        """Return all settings there are; None where they are too many to list."""
        found: list[Params] = []
        for label, variant in self.labels.items():
            kinds = self.distributions(variant)
            choices = [_choices(kind) for kind in kinds.values()]
            if any(each is None for each in choices) or math.prod(len(each or ()) for each in choices) > MANY:
                return None
            own = {"variant": label} if len(self.labels) > 1 else {}
            found += [
                own | dict(zip(kinds, values, strict=True))
                for values in itertools.product(*(each for each in choices if each is not None))
            ]
        return found

    def suggest(self, trial: optuna.Trial) -> Params:
        """Have the sampler propose every setting of a trial."""
        label = next(iter(self.labels))
        params: Params = {}
        if len(self.labels) > 1:
            params["variant"] = label = trial.suggest_categorical("variant", list(self.labels))
        for name, distribution in self.distributions(self.labels[label]).items():
            params[name] = _suggest(trial, name, distribution)
        return params

    def trials(self, params: Mapping[str, Any]) -> list[Trial]:
        """Return the trials of proposed settings: one for each seed of the sweep."""
        variant = self.labels[params.get("variant", next(iter(self.labels)))]
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
        for label, variant in self.labels.items():
            if (variant.name, variant.code) != (trial.variant.name, trial.variant.code):
                continue
            params: Params = {"variant": label} if len(self.labels) > 1 else {}
            has = {"beta": trial.beta} | trial.train.model_dump() | trial.model.model_dump()
            has |= trial.variant.options
            for name, distribution in self.distributions(variant).items():
                value = json.dumps(list(has[name])) if isinstance(has[name], tuple) else has[name]
                if not isinstance(distribution, CategoricalDistribution) or value in distribution.choices:
                    params[name] = value
            if _inside(params, self.distributions(variant)) and any(
                same.id == trial.id for same in self.trials(params)
            ):
                return params
        return None


def _distribution(given: Any, expected: type) -> BaseDistribution:
    if isinstance(given, Mapping):
        return CategoricalDistribution(
            [json.dumps(own) if isinstance(own, list | tuple) else own for own in given["choices"]]
        )
    low, high = given
    log = low > 0 and high / low >= 10
    if expected is int:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _choices(wanted: BaseDistribution) -> Sequence[Any] | None:
    if isinstance(wanted, CategoricalDistribution):
        return list(wanted.choices)
    if isinstance(wanted, IntDistribution):
        return range(wanted.low, wanted.high + 1)
    return None


def _suggest(trial: optuna.Trial, name: str, wanted: BaseDistribution) -> Any:
    if isinstance(wanted, CategoricalDistribution):
        return trial.suggest_categorical(name, wanted.choices)
    if isinstance(wanted, IntDistribution):
        return trial.suggest_int(name, wanted.low, wanted.high, log=wanted.log)
    assert isinstance(wanted, FloatDistribution)
    return trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)


def _inside(params: Params, distributions: Mapping[str, BaseDistribution]) -> bool:
    return params.keys() >= distributions.keys() and all(
        isinstance(each, CategoricalDistribution) or each.low <= params[name] <= each.high  # type: ignore[attr-defined]
        for name, each in distributions.items()
    )


def _value(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, str) and value.startswith("["):
        return tuple(json.loads(value))
    return value
