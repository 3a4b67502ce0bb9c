"""What a sweep asks for: its trials, their identities, and what is left to do.

A trial is one trained model. Its id is a hash of every setting that can change its numbers and of nothing
else, so the same id means the same result, whichever sweep, machine or day asks for it.
"""

import hashlib
import html
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from rdbench import datasets
from rdbench.datasets import Dataset
from rdbench.errors import DatasetError
from rdbench.spec.fields import Beta, DatasetField, Seed
from rdbench.spec.sweep import ModelSpec, Protocol, Settings, Sweep, TrainSpec, VariantSpec
from rdbench.text import counted

RECIPE = 1  # raise it when the code changes what the same settings train or measure
# Of shipped variants whose arithmetic changed in bf16 alone: their sums are float32, which once were not.
RECIPES_IN_BF16 = {"beta_tc": 2, "multi_rate": 2}

_EXACT_INTEGERS = 2**53


class Trial(Settings):
    """One trained model: every setting that can change its numbers, and no other.

    Left out on purpose: the sweep's name, its readings (computed from what is measured) and metrics, the
    resources, and whether per-image values are kept.
    """

    dataset: DatasetField
    variant: VariantSpec
    beta: Beta
    seed: Seed
    protocol: Protocol
    train: TrainSpec
    model: ModelSpec

    @property
    def id(self) -> str:
        """The identity: 16 hexadecimal digits of the SHA-256 of the settings and the recipe's version."""
        settings = {"recipe": RECIPE, **self.model_dump(mode="json", exclude={"variant": {"source"}})}
        if self.train.precision == "bf16" and not self.variant.code and self.variant.name in RECIPES_IN_BF16:
            settings["recipe_in_bf16"] = RECIPES_IN_BF16[self.variant.name]
        return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]

    @property
    def pack_key(self) -> str:
        """Equal for trials that can train side by side: all settings but variant, beta and seed."""
        return canonical_json(self.model_dump(mode="json", exclude={"variant", "beta", "seed"}))

    def to_json(self) -> str:
        """Return the settings as JSON, for :meth:`from_json`."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the trial that :meth:`to_json` wrote.

        Raises:
            pydantic.ValidationError: the text is not a trial's.
        """
        return cls.model_validate_json(text, context={"settled": True})


@dataclass(frozen=True)
class Plan:
    """A sweep's trials, and which of them are done.

    Attributes:
        sweep: what was asked for.
        trials: seed by seed, then by combination of the grid, ascending beta and variant: whole first curves
            come early. Of a search, those it has chosen so far.
        done: the ids, among these trials, that need no training.
        search: what a search has to say of itself, in a line each; none for a grid.
        at_most: trainings that a search may still spend; None for a grid.
    """

    sweep: Sweep
    trials: tuple[Trial, ...]
    done: frozenset[str]
    search: tuple[str, ...] = ()
    at_most: int | None = None

    @property
    def todo(self) -> list[Trial]:
        """The trials that are left to train, in order."""
        return [trial for trial in self.trials if trial.id not in self.done]

    def summary(self) -> str:
        """Return the plan's size, and what reading one training several times saves, in a line each."""
        if self.search:
            return "\n".join(self.search)
        sweep = self.sweep
        sizes = {
            "beta": len(sweep.beta),
            "variant": len(sweep.variants),
            "seed": len(sweep.seeds),
            "reading": len(sweep.readings),
        }
        factors = [f"{counted(len(values), 'value')} of {key}" for key, values in sweep.grid.items()]
        factors += [counted(size, noun) for noun, size in sizes.items() if size > 1 or noun != "seed"]
        points = math.prod(sizes.values()) * len(sweep.combinations)
        asked = f"{counted(len(self.trials), 'training')}, {counted(points, 'point')}"
        lines = [f"{' x '.join(factors)}: {asked}; {len(self.done):,} done"]
        lines += [
            f"variant {variant.name} runs {variant.source}" for variant in sweep.variants if variant.source
        ]
        curves = [variant.name for variant in sweep.variants if is_curve(variant)]
        if count := (len(sweep.beta) - 1) * len(sweep.seeds) * len(sweep.combinations) * len(curves):
            names = ", ".join(dict.fromkeys(curves))
            who = f"variant {names} trains" if len(curves) == 1 else f"{len(curves)} variants ({names}) train"
            lines.append(f"{who} once for all betas: {counted(count, 'training')} saved")
        if solved := len(self.trials) - len(trained(self.trials)):
            lines.append(f"{solved:,} of these are solved in closed form, without training")
        if saved := trainings_saved(sweep):
            lines.append(
                "sigma^2 = 1/2 and sigma^2 = beta/2 are two readings of one training:"
                f" {counted(saved, 'training')} saved"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the size of the plan, and how much of it is left."""
        left = f"{counted(len(self.todo), 'training')} left to do"
        lines = [f"plan of {self.sweep.name}", *self.summary().splitlines(), left]
        return f"<p>{_lines_in_html(lines)}</p>"


def _lines_in_html(lines: Iterable[str]) -> str:
    return "<br>".join(html.escape(line) for line in lines)


def plan(sweep: Sweep, done: Collection[str] = ()) -> Plan:
    """Return the plan of a sweep: of its grid, as a search by curve or target starts from, too.

    Args:
        sweep: what is asked for. A search by Optuna has no grid, and its plan no trials.
        done: ids of trials that need no training; those of other sweeps are ignored.
    """
    if sweep.search is not None and sweep.search.name == "optuna":
        return Plan(sweep, (), frozenset())
    curves = {variant for variant in sweep.variants if is_curve(variant)}
    betas, combinations = {"betas": list(sweep.beta)}, sweep.combinations
    trials = tuple(
        Trial(
            dataset=sweep.dataset,
            variant=variant.model_copy(update={"options": variant.options | betas}) if curve else variant,
            beta=beta,
            seed=seed,
            protocol=sweep.protocol,
            train=train,
            model=model,
        )
        for seed in sweep.seeds
        for train, model in combinations
        for beta in sweep.beta
        for variant in sweep.variants
        # One training gives the points at every beta; it goes by the first.
        if not (curve := variant in curves) or beta == sweep.beta[0]
    )
    # An id is a hash to be computed: a thousand take a tenth of a second.
    return Plan(sweep, trials, frozenset(done) & {trial.id for trial in trials} if done else frozenset())


def packable(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials, in order, that can train side by side, by what their variants declare."""
    trials = list(trials)
    variants = {trial.variant for trial in trials}
    packing = {variant for variant in variants if (declared := variant.declaration) and declared.packs}
    return [trial for trial in trials if trial.variant in packing]


def trained(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials, in order, that take steps of training: those of no closed form."""
    trials = list(trials)
    variants = {trial.variant for trial in trials}
    solved = {variant for variant in variants if (declared := variant.declaration) and declared.closed_form}
    return [trial for trial in trials if trial.variant not in solved]


def is_curve(variant: VariantSpec) -> bool:
    """Tell whether one training of a variant gives a point at every beta of a sweep."""
    return (declaration := variant.declaration) is not None and declaration.curve


def trainings_saved(sweep: Sweep) -> int:
    """Return the trainings a harness would add that trained each constant variance by itself.

    A constant sigma^2 = C scales the loss, so the gradients at 1/2 and at beta/2 differ by a factor and
    the trained model is one (Kim & Lee 2024, Eq. 5). The optimal readings never have trainings of their own.
    """
    constant = any(variant.name == "beta_vae" for variant in sweep.variants)
    both = {"half", "beta_half"} <= set(sweep.readings)
    return len(sweep.beta) * len(sweep.seeds) * len(sweep.combinations) if constant and both else 0


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Return the number of whole batches; the last partial one is dropped, as the paper does.

    Raises:
        DatasetError: there is not one whole batch.
    """
    if images < batch_size:
        raise DatasetError(
            f"train.batch_size is {batch_size} but there are only {images} training images;"
            f" set train.batch_size to {images} or less"
        )
    return images // batch_size


def check_fits(trial: Trial, data: Dataset) -> None:
    """Refuse, before anything is trained, a trial that its dataset is too small for.

    Raises:
        DatasetError: there is not one whole batch of training images, or, under the paper's protocol,
            which drops the last partial batch there too, of test images.
    """
    steps_per_epoch(len(data.train.images), trial.train.batch_size)
    test = len(data.test.images)
    if trial.protocol == "paper" and test < trial.train.batch_size:
        raise DatasetError(
            f"protocol paper drops the last partial batch, and {test} test images do not fill one batch of"
            f" {trial.train.batch_size}; set train.batch_size to {test} or less, or use protocol: clean"
        )


def changed_settings(old: Sweep, new: Sweep) -> list[str]:
    """Return what differs, apart from what a grid varies, in the settings that change numbers.

    What is varied (variants, beta, seeds, settings of ``grid``) may grow within one results folder; all
    else must not change there.

    Returns:
        Lines such as ``train.epochs: 50 -> 2``; empty where the two may share a folder.
    """
    shared = set(Trial.model_fields) & set(Sweep.model_fields) - {"beta"}
    varied = {*old.grid, *new.grid}
    before, after = (flat(sweep.model_dump(mode="json", include=shared)) for sweep in (old, new))

    def shown(settings: dict[str, Any], key: str) -> str:
        return json.dumps(settings[key], ensure_ascii=False) if key in settings else "(not set)"

    return [
        f"{key}: {shown(before, key)} -> {shown(after, key)}"
        for key in dict.fromkeys([*before, *after])
        if canonical_json(before.get(key)) != canonical_json(after.get(key)) and key not in varied
    ]


def canonical_json(value: object) -> str:
    """Return JSON in which equal settings are equal text: keys sorted, and 1 and 1.0 the same."""
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted keys: "train.lr"."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def speed_key(trial: Trial, **machine: str) -> str:
    """Return what the time of an image depends on: settings of the trial, and what tells machines apart."""
    info = datasets.of(trial.dataset)
    return canonical_json(
        {
            **machine,
            "shape": info.shape(trial.dataset),
            "augmentation": info.augmentation(trial.dataset) if trial.train.augment else "none",
            "model": trial.model.model_dump(mode="json"),
            "batch_size": trial.train.batch_size,
            "precision": trial.train.precision,
        }
    )
