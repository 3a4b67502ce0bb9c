"""Train a pack of trials on one device by the reference recipe of the paper."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdbench.datasets import Dataset
from rdbench.numerics.precision import training_arithmetic
from rdbench.spec.plan import Trial
from rdbench.vae.batches import Draws
from rdbench.vae.checkpoints import Checkpointer, Stage
from rdbench.vae.cuda_graph import Step, capture_cuda_graph
from rdbench.vae.models import Model
from rdbench.vae.networks import GaussianNetwork
from rdbench.vae.packs import together


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


class _Training:
    """A pack under training: its step, and the sums of the epoch under way."""

    def __init__(
        self, network: GaussianNetwork | Model, pack: Sequence[Trial], data: Dataset, device: torch.device
    ) -> None:
        network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.recipe = pack[0].train
        self.draws = Draws(pack, data, device)
        self.steps = self.draws.steps
        self.together = together(network, pack, math.prod(data.shape))
        on_gpu = device.type == "cuda"
        # A captured step reads the learning rate from memory.
        self.lr = torch.tensor(self.recipe.lr, device=device) if on_gpu else self.recipe.lr
        decay = self.recipe.weight_decay
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.lr, weight_decay=decay, fused=True, capturable=on_gpu
        )
        # Read once an epoch: no waiting for the device inside.
        self.totals = torch.zeros(3, len(pack), dtype=torch.float64, device=device)

    def restore(self, stage: Stage) -> tuple[int, list[str | None]]:
        """Take back the state of an earlier attempt; return the epochs done, and why each member diverged."""
        epochs, reasons = stage.begin(
            {"network": self.together.network, "optimizer": self.optimizer, **self.draws.generators()}
        )
        self.optimizer.param_groups[0]["lr"] = self.lr  # a restored optimizer has another object there
        return epochs, reasons or [None] * len(self.together.pack)

    def step(self, pixels: Tensor, parameters: Tensor, noise: Tensor) -> None:
        losses, rate, sse = self.together.losses(
            self.draws.images(pixels, parameters), self.draws.members(noise)
        )
        loss = losses.mean(0)
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.step()
        self.totals.add_(torch.stack([loss.detach(), rate.detach().mean(0), sse.detach().mean(0)]))

    def learning_rate(self, step: int) -> float:
        return learning_rate(self.recipe.lr, step, self.recipe.epochs * self.steps)

    def epoch(self, number: int, step: Step) -> list[list[float]]:
        """Train for one epoch, and return each member's mean loss, rate and squared error."""
        self.totals.zero_()
        for count, inputs in enumerate(self.draws.epoch(), number * self.steps):
            if isinstance(self.lr, Tensor):
                self.lr.fill_(self.learning_rate(count))
            else:
                self.optimizer.param_groups[0]["lr"] = self.learning_rate(count)
            step(*inputs)
        means: list[list[float]] = (self.totals / self.steps).T.tolist()
        return means


def train(
    network: GaussianNetwork | Model,
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    stage: Stage | None = None,
) -> list[str | None]:
    """Train a pack of trials by the reference recipe, and leave the network in evaluation mode.

    AdamW; the learning rate follows a cosine that restarts once, stepped per batch. The loss is the sum of
    the members' losses, so their gradients never mix: a trial's result depends on its settings, and on its
    pack only through rounding. On one device a pack repeats bit for bit.

    The network is freshly built, and moved to the device: the reference network with a member for each trial,
    each an objective, all alike but for variant, beta and seed; or the model of a single trial. It sees the
    training split, augmented as the dataset declares. ``on_epoch`` is called with the member and its figures
    as each epoch ends. ``stage`` keeps the state as epochs end, and gives back that of an earlier attempt:
    then training goes on bit for bit as if it had never stopped. By default nothing is kept.

    Returns:
        For each trial why it diverged (the mean loss of an epoch is not finite), or None.

    Raises:
        DatasetError: there are fewer training images than one batch holds.
        SpecError: the device lacks the arithmetic asked for.
        Stopped, StorageError: as of :meth:`rdbench.vae.checkpoints.Checkpointer.save`.
        ValueError: the trials cannot be one pack.
    """
    if len({trial.pack_key for trial in pack}) != 1:
        raise ValueError("only trials that differ in nothing but variant, beta and seed train as one pack")
    training = _Training(network, pack, data, device)
    recipe, steps, rate_free = training.recipe, training.steps, training.together.rate_free
    authors_code = training.together.runs_authors_code  # on the host: a captured step would not repeat it
    step = training.step if authors_code else capture_cuda_graph(training.step, device)
    stage = stage or Checkpointer().stage()
    done, reasons = training.restore(stage)
    with training_arithmetic(recipe.precision, device):
        for epoch in range(done if None in reasons else recipe.epochs, recipe.epochs):
            start = time.perf_counter()
            means = training.epoch(epoch, step)
            seconds = (time.perf_counter() - start) / len(pack)
            lr, speed = training.learning_rate((epoch + 1) * steps - 1), steps * recipe.batch_size / seconds
            for member, (loss, rate, sse) in enumerate(means):
                if reasons[member] is None and math.isfinite(loss):
                    shown = None if rate_free else rate
                    on_epoch(member, Epoch(epoch + 1, loss, shown, sse, lr, seconds, speed))
                elif reasons[member] is None:
                    reasons[member] = f"the loss became {loss} in epoch {epoch + 1} of {recipe.epochs}"
            last = None not in reasons or epoch + 1 == recipe.epochs
            stage.ended(epoch + 1, reasons, last=last, global_random=authors_code)
            if last:
                break
    network.eval()
    return reasons
