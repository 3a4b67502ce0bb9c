"""What is being checked, and what a check may say of it."""

import ast
import json
import time
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rdbench.datasets import Dataset
from rdbench.registry import variants
from rdbench.registry.declaration import Declaration
from rdbench.registry.source import Source
from rdbench.registry.variants import Variant
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.trial.run import run_pack, run_trial
from rdbench.vae import models
from rdbench.vae.checkpoints import Keeper
from rdbench.vae.models import Model

BETAS = (1e-4, 1.0, 1e3)
DATA = {"name": "digits", "train_images": 128, "test_images": 64}
TRAIN = {"epochs": 2, "batch_size": 32, "lr": 2e-3}
NETWORK = {"latent": 4, "channels": [8, 16]}


class CheckError(Exception):
    """A check's verdict: what is wrong, and what it must be.

    Args:
        message: in a line.
        at: the method it is about, to point at its line; else at the variant's own.
    """

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


class Note(str):
    """What a check found worth knowing, which is no fault."""

    __slots__ = ()


@dataclass(frozen=True)
class Finding:
    """What came of one check; ``trace`` is the traceback of an exception in the author's code."""

    status: Literal["ok", "FAIL", "note"]
    check: str
    text: str
    trace: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.status:4}  {self.check}: {self.text}"


@dataclass
class Subject:
    """A variant under examination, with the data and the trials it is examined on.

    Attributes:
        reference: as it was named.
        source: where it was found.
        spec: as a sweep would hold it, its options settled.
        data: 128 digits to train on, 64 to test.
        device: where it runs.
        trained: the models that its first trial left, in evaluation mode.
        seconds: what the last of its trials took.
    """

    reference: str
    source: Source
    spec: VariantSpec
    data: Dataset
    device: torch.device
    trained: list[Model] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def declaration(self) -> Declaration:
        """What the source declares."""
        return self.source.declaration

    @cached_property
    def variant(self) -> Variant:
        """The variant, imported."""
        return variants.get(self.spec)

    def trials(self, variant: VariantSpec | None = None) -> list[Trial]:
        """Return a tiny trial at each of the extreme betas; a single one where it gives a whole curve."""
        settings = {
            "name": "check",
            "dataset": DATA,
            "variants": [variant or self.spec],
            "beta": list(BETAS),
            "train": TRAIN,
            "model": NETWORK,
        }
        return list(plan(Sweep.model_validate(settings)).trials)

    @property
    def trial(self) -> Trial:
        """A tiny trial at beta 1, or the one of all betas."""
        trials = self.trials()
        return trials[len(trials) // 2]

    def run(self, trial: Trial, keeper: Keeper | None = None) -> dict[str, Any]:
        """Train and measure a trial; return its tables."""
        start = seconds(self.device)
        (tables,) = run_pack([trial], self.data, self.device, keeper=keeper)
        self.seconds = seconds(self.device) - start
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

    def noise(self, count: int, seed: int = 0) -> Tensor:
        """Return standard normal noise, (count, latent)."""
        draws = torch.Generator().manual_seed(seed)
        return torch.randn(count, self.trial.model.latent, generator=draws).to(self.device)

    def build(self) -> Model:
        """Return the model of a model variant at beta 1, untrained, on the device."""
        built = models.build(self.trial, self.data.shape, len(self.data.train.images))
        if "_modules" not in vars(built):
            raise CheckError("__init__ must begin with super().__init__(about)", "__init__")
        return built.to(device=self.device)

    def model(self) -> Model | None:
        """Return a model to look at: a new one of a model variant, what a trial function returned."""
        if self.declaration.kind == "model":
            return self.build().eval()
        return self.trained[0] if self.trained else None

    @cached_property
    def tree(self) -> ast.FunctionDef | ast.ClassDef:
        """The variant's own part of its source."""
        (found,) = (
            node
            for node in ast.parse(self.source.text).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == self.declaration.symbol
        )
        return found

    def place(self, at: str = "") -> str:
        """Return file:line of a method, or of the variant."""
        methods = (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))
        line = next((node.lineno for node in methods if node.name == at), self.tree.lineno)
        return f"{shown(self.source.path)}:{line}"

    def place_of(self, error: BaseException) -> str:
        """Return file:line of the last of the author's lines that an exception passed."""
        frames = traceback.extract_tb(error.__traceback__)
        files = {str(self.source.path), *(file.path for file in self.source.files)}
        own = [frame for frame in frames if frame.filename in files]
        return f"{shown(Path(own[-1].filename))}:{own[-1].lineno}" if own else self.place()


def seconds(device: torch.device) -> float:
    """Return a clock: on a CPU of this process alone, so that a busy machine does not matter."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def shown(path: Path) -> str:
    """Return a path as short as it can be written here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def words(error: BaseException) -> str:
    """Return an exception in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def measured(tables: dict[str, Any]) -> str:
    """Return what a trial measured, or why it diverged, as text that is equal where every digit is."""
    return json.dumps([tables["trials"][0]["error"], tables.get("points", [])])


def need_tensor(what: str, value: object, shape: tuple[int, ...], meaning: str, at: str = "") -> None:
    """Fail unless a value is a float32 tensor of a shape."""
    must = f"must be float32 {shape}, {meaning}"
    if not isinstance(value, Tensor):
        raise CheckError(f"{what} is a {type(value).__name__}; it {must}", at)
    if tuple(value.shape) != shape:
        raise CheckError(f"{what} has shape {tuple(value.shape)}; it {must}", at)
    if value.dtype != torch.float32:
        raise CheckError(f"{what} is {str(value.dtype).removeprefix('torch.')}; it {must}", at)


def need_finite(what: str, values: Tensor, where: str, at: str = "") -> None:
    """Fail unless all values are finite."""
    wrong = values[~values.isfinite()]
    if len(wrong):
        raise CheckError(f"{what} is {wrong[0].item()} {where}; it must be finite", at)
