"""What a variant, a trial and a value are called, on the console and in reports."""

import functools
from collections.abc import Collection, Sequence
from typing import Any

from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.text import shown


@functools.cache
def _defaults(variant: VariantSpec) -> dict[str, Any]:
    """Return a variant's options as they are by default; none where its source is not there."""
    declaration = variant.declaration
    return {name: option.default for name, option in declaration.options.items()} if declaration else {}


def variant_label(variant: VariantSpec) -> str:
    """Return what the report calls a variant: its name, the options that are not its defaults, its version.

    The version is the start of its source's hash, for one that does not ship with rdbench: an edited file is
    another variant.
    """
    defaults = _defaults(variant)
    told = {
        name: value
        for name, value in sorted(variant.options.items())
        if name != "betas" and (name not in defaults or value != defaults[name])
    }
    options = ", ".join(
        f"{key}={list(value) if isinstance(value, tuple) else value}" for key, value in told.items()
    )
    version = f" [{variant.code[:6]}]" if variant.code else ""
    return variant.name + (f" ({options})" if options else "") + version


def labels(
    variants: Sequence[VariantSpec], without: Collection[str] = (), *, whole: bool = False
) -> dict[VariantSpec, str]:
    """Return what each variant is called among others: where names are alike, with what tells them apart.

    Args:
        variants: all that are named together.
        without: options that tell nothing, being searched.
        whole: name all other options too, also those that are the same in all.
    """
    names = [variant.name for variant in variants]
    found = {}
    for variant in variants:
        name, alike = variant.name, [other for other in variants if other.name == variant.name]
        if names.count(name) > 1:
            told = sorted(
                (key, value)
                for key, value in variant.options.items()
                if key not in {*without, "betas"}
                and (whole or any(other.options.get(key) != value for other in alike))
            )
            name += f" ({', '.join(f'{key}={value}' for key, value in told)})" if told else ""
            name += f" [{variant.code[:6]}]" if len({other.code for other in alike}) > 1 else ""
        found[variant] = name
    return found


def named(sweep: Sweep, trial: Trial) -> str:
    """Return what tells a trial from the others that a search proposes: what the sweep does not fix."""
    over = sweep.searched
    names = labels(sweep.variants, over)
    asked = {key: value for key, value in trial.variant.options.items() if key != "betas"}
    variant = trial.variant.model_copy(update={"options": asked})
    words = [names.get(variant, variant.name), f"beta {trial.beta:g}"]
    has = trial.train.model_dump() | trial.model.model_dump() | trial.variant.options
    words += [f"{name} {shown(has[name])}" for name in over if name in has]
    return " ".join([*words, f"seed {trial.seed}"])


def label(trial: Trial, variant: str = "") -> str:
    """Return what a trial is called on the console, its variant by another name than its own if given one."""
    return f"{variant or trial.variant.name} beta {trial.beta:g} seed {trial.seed}"
