"""Old names of modules, by which authors' files may import them: copies in old results go on running."""

import importlib
import re
import sys
from collections.abc import Iterable

MOVED = {
    "augment": "vae.augment",
    "batches": "vae.batches",
    "evaluation": "vae.evaluation",
    "features": "metrics.features",
    "likelihood": "numerics.likelihood",
    "models": "vae.models",
    "nets": "vae.networks",
    "precision": "numerics.precision",
    "runs": "trial.api",
    "seeding": "numerics.seeding",
    "statistics": "numerics",
    "theory": "numerics.theory",
    "training": "vae.training",
}
"""Old name -> new name, both within rdbench; those that a variant has a use for."""


def provide(sources: Iterable[str]) -> None:
    """Make those old names importable that some sources import; each is then the module of its new name."""
    text = "\n".join(sources)
    for old, new in MOVED.items():
        if re.search(rf"\brdbench(\.| import .*\b){old}\b", text) and f"rdbench.{old}" not in sys.modules:
            module = sys.modules[f"rdbench.{old}"] = importlib.import_module(f"rdbench.{new}")
            setattr(importlib.import_module("rdbench"), old, module)
