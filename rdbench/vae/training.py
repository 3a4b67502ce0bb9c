"""Train a pack of trials on one device by the reference recipe of the paper."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdbench.datasets import Dataset
from rdbench.errors import NotCapturable
from rdbench.numerics.optimizer import AdamW
from rdbench.numerics.precision import training_arithmetic
from rdbench.spec.plan import Trial
from rdbench.vae import failed_captures
from rdbench.vae.batches import Draws, on_host
from rdbench.vae.checkpoints import Checkpointer, Stage
from rdbench.vae.cuda_graph import Captured, Lanes, Step
from rdbench.vae.models import Model, stored


@dataclass(frozen=True)
class Epoch:
    """One epoch of one trial; ``loss``, ``rate`` and ``sse`` are means over training images, per image.

    ``seconds`` is the trial's share of its pack's time; ``images_per_second``, which follows from it, is what
    the device did for the whole pack.
    """

    epoch: int
    loss: float
    rate: float | None
    sse: float
    lr: float
    seconds: float
    images_per_second: float


def learning_rate(base: float, step: int, steps: int) -> float:
    """Return the rate of a step (from 0) out of ``steps``: a cosine from ``base`` to 0 that restarts once.

    As ``CosineAnnealingWarmRestarts`` with the paper's first period, steps // 2 + 1.
    """
    period = steps // 2 + 1
    return base * (1 + math.cos(math.pi * (step % period) / period)) / 2


class _Member:
    """One trial under training: its model, its optimizer, and the sums of the epoch under way."""

    def __init__(self, model: Model, trial: Trial, device: torch.device) -> None:
        model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.model, self.beta = model, trial.beta
        self.optimizer = AdamW(
            model.parameters(), trial.train.lr, weight_decay=trial.train.weight_decay, fused=True
        )
        # torch warns of capturable steps that are not captured, which the first are.
        self.optimizer._warned_capturable_if_run_uncaptured = True
        # Of loss, rate and squared error; read once an epoch: no waiting for the device inside.
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        self.diverged: str | None = None

    def step(self, images: Tensor, noise: Tensor) -> None:
        terms = self.model(images, noise)
        losses = self.model.loss(images, terms, self.beta)
        if losses.shape != (len(images),):
            raise ValueError(
                f"the loss has shape {tuple(losses.shape)}; it must be one number for each image,"
                f" ({len(images)},)"
            )
        loss = losses.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        means = [value.detach().mean() for value in (terms.rate, terms.sse)]
        self.totals.add_(torch.stack([loss.detach(), *means]))


class _Training:
    """A pack under training: its members, what they share, and the step of all of them."""

    def __init__(
        self, models: Sequence[Model], pack: Sequence[Trial], data: Dataset, device: torch.device
    ) -> None:
        self.recipe, self.seeds = pack[0].train, [trial.seed for trial in pack]
        self.draws, self.lanes = Draws(pack, data, device), Lanes(len(pack), device)
        on_gpu = device.type == "cuda"
        # A captured step reads it from memory; and so does one that is not, for the same digits.
        self.lr: float | Tensor = torch.tensor(self.recipe.lr, device=device) if on_gpu else self.recipe.lr
        self.captured = on_gpu and all(model.capturable for model in models)
        self.members = [_Member(*one, device) for one in zip(models, pack, strict=True)]
        self.set_optimizers()
        self.launch: Step = self.step
        if self.captured and (why := failed_captures.why_failed(pack, device)):
            self._refused(why)
        elif self.captured:
            self.launch = Captured(self.step, device, self._refused)

    def _refused(self, why: str) -> None:
        """Go on without a CUDA graph; a pack of several does not: its members may draw or wait in turns."""
        if len(self.members) > 1:
            raise NotCapturable(f"the step of these trials cannot be captured together: {why}")
        warnings.warn(f"training without a CUDA graph: {why}", stacklevel=2)
        self.captured, self.launch = False, self.step
        self.set_optimizers()

    def set_optimizers(self) -> None:
        """Give each the learning rate: checking it as one is made, torch would wait for the device."""
        for member in self.members:
            for group in member.optimizer.param_groups:
                group.update(lr=self.lr, capturable=self.captured)

    def restore(self, stage: Stage) -> int:
        """Take back the state of an earlier attempt, and why each member diverged; return the epochs done."""
        parts: dict[str, Any] = dict(self.draws.generators)
        for number, member in enumerate(self.members):
            place = f"/{number}" if len(self.members) > 1 else ""
            parts |= {f"network{place}": stored(member.model), f"optimizer{place}": member.optimizer}
        epochs, reasons = stage.begin(parts)
        self.set_optimizers()  # a restored one has its own
        for member, reason in zip(self.members, reasons or [], strict=bool(reasons)):
            member.diverged = reason
        return epochs

    def step(self, *inputs: Tensor) -> None:
        batches = self.draws.batches(inputs)
        with self.lanes.forked():
            for number, (member, seed) in enumerate(zip(self.members, self.seeds, strict=True)):
                with self.lanes.of(number):
                    member.step(*batches[seed])

    def epoch(self, number: int) -> list[list[float]]:
        """Train for one epoch, and return each member's mean loss, rate and squared error."""
        for member in self.members:
            member.totals.zero_()
        steps = self.draws.steps
        for count, inputs in enumerate(self.draws.epoch(), number * steps):
            lr = learning_rate(self.recipe.lr, count, self.recipe.epochs * steps)
            if isinstance(self.lr, Tensor):
                self.lr.fill_(lr)
            else:
                self.lr = lr
                self.set_optimizers()
            for member in self.members:
                member.model.before_step()
            self.launch(*inputs)
        totals = torch.stack([member.totals for member in self.members])
        means: list[list[float]] = on_host(totals / steps).tolist()
        return means

    def end(self) -> None:
        """Leave the models in evaluation mode, and give back the memory of the recorded step."""
        for member in self.members:
            member.model.eval()
            member.optimizer.zero_grad()  # gradients lie in it


def train(
    models: Sequence[Model],
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    stage: Stage | None = None,
) -> list[str | None]:
    """Train a pack of trials by the reference recipe, and leave their models in evaluation mode.

    AdamW; the learning rate follows a cosine that restarts once, stepped per batch. Each trial has a model
    and an optimizer of its own, and takes the steps it takes alone: its result is the same bit for bit. The
    pack shares the images on the device, and members of one seed a batch and its augmentation. On a GPU the
    step of the whole pack is captured as one CUDA graph, its members on several streams.

    The models are freshly built, one for each trial, and moved to the device. They see the training split,
    augmented as the dataset declares. ``on_epoch`` is called with the member and its figures as each epoch
    ends. ``stage`` keeps the state as epochs end, and gives back that of an earlier attempt: then training
    goes on bit for bit as if it had never stopped. By default nothing is kept.

    Returns:
        For each trial why it diverged (the mean loss of an epoch is not finite), or None.

    Raises:
        DatasetError: there are fewer training images than one batch holds.
        CaptureFailed: capturing broke off, and the process may have lost its GPU by it; in another one the
            same trials train without.
        NotCapturable: a step cannot be captured with others, so train each alone; or is not, called again.
        SpecError: the device lacks the arithmetic asked for.
        Stopped, StorageError: as of :meth:`rdbench.vae.checkpoints.Stage.ended`.
        ValueError: the trials cannot be one pack.
    """
    if len({trial.pack_key for trial in pack}) != 1:
        raise ValueError("only trials that differ in nothing but variant, beta and seed train as one pack")
    training = _Training(models, pack, data, device)
    recipe, steps, members = training.recipe, training.draws.steps, training.members
    stage = stage or Checkpointer().stage()
    done = training.restore(stage)
    last = all(member.diverged for member in members)
    with training_arithmetic(recipe.precision, device), failed_captures.noted(pack, device):
        for epoch in range(recipe.epochs if last else done, recipe.epochs):
            start = time.perf_counter()
            means = training.epoch(epoch)
            seconds = (time.perf_counter() - start) / len(pack)
            lr = learning_rate(recipe.lr, (epoch + 1) * steps - 1, recipe.epochs * steps)
            speed = steps * recipe.batch_size / seconds
            for number, (member, (loss, rate, sse)) in enumerate(zip(members, means, strict=True)):
                if member.diverged is None and math.isfinite(loss):
                    shown = None if member.model.rate_free else rate
                    on_epoch(number, Epoch(epoch + 1, loss, shown, sse, lr, seconds, speed))
                elif member.diverged is None:
                    member.diverged = f"the loss became {loss} in epoch {epoch + 1} of {recipe.epochs}"
            reasons = [member.diverged for member in members]
            last = None not in reasons or epoch + 1 == recipe.epochs
            stage.ended(epoch + 1, reasons, last=last)
            if last:
                break
    training.end()
    return [member.diverged for member in members]
