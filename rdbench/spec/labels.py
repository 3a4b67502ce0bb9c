"""What a variant and a trial are called, on the console and in reports; values as ``text.shown`` has them."""

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rdbench.spec.plan import Trial
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.text import shown


@functools.cache
def _defaults(variant: VariantSpec) -> dict[str, Any]:
    """Return a variant's default options; none where its source is not there."""
    declaration = variant.declaration
    return {name: option.default for name, option in declaration.options.items()} if declaration else {}


def _written(name: str, options: Mapping[str, Any], code: str) -> str:
    """Return ``name (a=1, b=2) [123456]``; the version is the start of the hash of the variant's source."""
    values = (f"{key}={list(v) if isinstance(v, tuple) else v}" for key, v in sorted(options.items()))
    return name + (f" ({', '.join(values)})" if options else "") + (f" [{code[:6]}]" if code else "")


def _asked(variant: VariantSpec) -> dict[str, Any]:
    """Return a variant's options but for the betas, which a plan adds to a curve's."""
    return {key: value for key, value in variant.options.items() if key != "betas"}


def variant_name(variant: VariantSpec) -> str:
    """Return what the report calls a variant: its name, the options that are not its defaults, its version.

    Only a variant that does not ship with rdbench has a version: an edited file is another variant.
    """
    defaults = _defaults(variant)
    options = {k: v for k, v in _asked(variant).items() if k not in defaults or v != defaults[k]}
    return _written(variant.name, options, variant.code)


def variant_names(
    variants: Sequence[VariantSpec], without: Collection[str] = (), *, whole: bool = False
) -> dict[VariantSpec, str]:
    """Return what each variant is called among others: its name, with what differs where names are alike.

    Args:
        variants: all that are named together.
        without: options to leave out, being searched.
        whole: name all other options too, also those that are the same in all.
    """
    names = {}
    for variant in variants:
        alike = [other for other in variants if other.name == variant.name]
        options = {
            key: value
            for key, value in _asked(variant).items()
            if len(alike) > 1
            and key not in without
            and (whole or any(other.options.get(key) != value for other in alike))
        }
        several = len({other.code for other in alike}) > 1
        names[variant] = _written(variant.name, options, variant.code if several else "")
    return names


def trial_name(trial: Trial, variant: str = "", settings: Collection[str] = ()) -> str:
    """Return what a trial is called on the console.

    Args:
        trial: to name.
        variant: what its variant is called; its own name by default.
        settings: names of settings to tell as well, of its training, network or variant: ``epochs``, or
            ``train.epochs``.
    """
    values = trial.train.model_dump() | trial.model.model_dump() | trial.variant.options
    names = [name.rpartition(".")[2] for name in settings]
    words = [f"{name} {shown(values[name])}" for name in names if name in values]
    return " ".join([variant or trial.variant.name, f"beta {trial.beta:g}", *words, f"seed {trial.seed}"])


def trial_name_in(sweep: Sweep, trial: Trial) -> str:
    """Return what tells a trial from the others of its sweep: what the sweep does not fix."""
    variant = trial.variant.model_copy(update={"options": _asked(trial.variant)})
    name = variant_names(sweep.variants, sweep.searched).get(variant, "")
    return trial_name(trial, name, [*sweep.searched, *sweep.grid])
