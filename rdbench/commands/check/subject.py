"""What is being checked: a variant, with tiny data and trials."""

import ast
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdbench.commands.check.fresh_process import FreshProcess
from rdbench.commands.check.verdicts import CheckError, need
from rdbench.datasets import Dataset
from rdbench.registry import variants
from rdbench.registry.declaration import Declaration
from rdbench.registry.source import Source
from rdbench.registry.variants import Variant
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.trial.run import run_pack, run_trial
from rdbench.vae import models
from rdbench.vae.checkpoints import Checkpointer
from rdbench.vae.models import Model, Terms

BETAS = (1e-4, 1.0, 1e3)
DATA = {"name": "digits", "train_images": 128, "test_images": 64}
TRAIN = {"epochs": 2, "batch_size": 32, "lr": 2e-3}
NETWORK = {"latent": 4, "channels": [8, 16]}


@dataclass
class Subject:
    """A variant, with the data and the trials it is checked on."""

    source: Source
    spec: VariantSpec  # as a sweep would hold it, with its options
    data: Dataset  # 128 digits to train on, 64 to test
    device: torch.device
    trained: list[Model] = field(default_factory=list)  # by its first trial, in evaluation mode
    fresh: FreshProcess | None = None  # runs its trial too, if asked for

    @property
    def declaration(self) -> Declaration:
        """What the source declares."""
        return self.source.declaration

    @cached_property
    def variant(self) -> Variant:
        """The variant, imported."""
        return variants.get(self.spec)

    def trials(self) -> list[Trial]:
        """Return a tiny trial at each of the extreme betas; a single one where it gives a whole curve."""
        recipe = {"dataset": DATA, "beta": list(BETAS), "train": TRAIN, "model": NETWORK}
        sweep = Sweep.model_validate({"name": "check", "variants": [self.spec], **recipe})
        return list(plan(sweep).trials)

    @property
    def trial(self) -> Trial:
        """A tiny trial at beta 1, or the one of all betas."""
        trials = self.trials()
        return trials[len(trials) // 2]

    def run(self, trial: Trial, checkpointer: Checkpointer | None = None) -> dict[str, Any]:
        """Train and measure a trial; return its tables."""
        (tables,) = run_pack([trial], self.data, self.device, checkpointer=checkpointer)
        return tables

    @cached_property
    def first(self) -> dict[str, Any]:
        """The tables of the first tiny trial."""
        return run_trial(
            self.trial, self.data, self.device, on_network=lambda trial, model: self.trained.append(model)
        )

    def images(self, count: int) -> Tensor:
        """Return training images, float32 in [0, 1], (count, 1, 8, 8)."""
        return torch.tensor(self.data.train.images[:count], device=self.device).float() / 255

    def terms(self, model: Model, images: Tensor, seed: int = 0) -> Terms:
        """Return what a model makes of images, with standard normal noise (images, latent)."""
        draws = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(images), self.trial.model.latent, generator=draws)
        terms: Terms = model(images, noise.to(self.device))
        return terms

    def build(self) -> Model:
        """Return the model of a model variant at beta 1, untrained, on the device."""
        built = models.build(self.trial, self.data.shape, len(self.data.train.images))
        need("_modules" in vars(built), "__init__ must begin with super().__init__(about)", "__init__")
        return built.to(device=self.device)

    def model(self) -> Model | None:
        """Return a model to look at: a new one of a model variant, what a trial function returned."""
        if self.declaration.kind == "model":
            return self.build().eval()
        return self.trained[0] if self.trained else None

    @cached_property
    def tree(self) -> ast.FunctionDef | ast.ClassDef:
        """The variant's own part of its source."""
        (definition,) = (
            node
            for node in ast.parse(self.source.text).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == self.declaration.symbol
        )
        return definition

    def place(self, at: str = "") -> str:
        """Return file:line of a method, or of the variant."""
        methods = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))
        line = next((node.lineno for node in methods if node.name == at), self.tree.lineno)
        return f"{shown(self.source.path)}:{line}"

    def place_of(self, error: BaseException) -> str:
        """Return file:line of what a check points at, or of the last of its lines that was passed."""
        if isinstance(error, CheckError):
            return self.place(error.at)
        files = {str(self.source.path), *(file.path for file in self.source.files)}
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if frame.filename in files:
                return f"{shown(Path(frame.filename))}:{frame.lineno}"
        return self.place()


def shown(path: Path) -> str:
    """Return a path as short as it can be written here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
