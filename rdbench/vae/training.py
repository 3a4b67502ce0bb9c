"""Fit a pack of trials: the reference recipe of the paper, on one device, without a framework around it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rdbench.datasets import Dataset
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.numerics.precision import training_arithmetic
from rdbench.spec.plan import Trial, steps_per_epoch
from rdbench.vae import networks
from rdbench.vae.batches import Draws
from rdbench.vae.checkpoints import Keeper, Stage
from rdbench.vae.cuda_graph import launched_at_once
from rdbench.vae.models import Model, objective_of


@dataclass(frozen=True)
class Epoch:
    """Means over the training images of one epoch of one trial; ``loss``, ``rate`` and ``sse`` per image.

    ``seconds`` is the trial's share of its pack's time, and ``images_per_second`` follows from it: what
    the device did for the whole pack.
    """

    epoch: int
    loss: float
    rate: float | None
    sse: float
    lr: float
    seconds: float
    images_per_second: float

    def row(self) -> dict[str, Any]:
        """Return the epoch as a row of the ``history`` table."""
        return asdict(self)


def per_member(values: Tensor, members: int) -> Tensor:
    """Return (batch, members x channels, ...) as (batch, members, all the rest)."""
    separate: Tensor = values.unflatten(1, (members, -1))
    return separate.flatten(2)


def squared_error(images: Tensor, reconstruction: Tensor, members: int = 1) -> Tensor:
    """Return the summed squared error of each image of each member, (batch, members)."""
    return per_member((images - reconstruction).square(), members).sum(2)


def learning_rate(base: float, step: int, steps: int) -> float:
    """Return the rate of a step (from 0) out of ``steps``: a cosine from ``base`` to 0 that restarts once.

    As ``CosineAnnealingWarmRestarts`` with the paper's first period, steps // 2 + 1.
    """
    period = steps // 2 + 1
    return base * (1 + math.cos(math.pi * (step % period) / period)) / 2


def objectives(pack: Sequence[Trial], n: int, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (sse, rate) -> loss of a pack, all (batch, members), each member by its variant."""
    used = [trial.variant for trial in pack]
    beta = torch.tensor([trial.beta for trial in pack], device=device)
    groups = [
        (
            objective_of(pack[used.index(which)]),
            torch.tensor([i for i, own in enumerate(used) if own == which]),
        )
        for which in dict.fromkeys(used)
    ]
    if len(groups) == 1:
        return lambda sse, rate: groups[0][0](sse, rate, beta, n)
    places = [members.to(device) for _, members in groups]
    back = torch.cat(places).argsort()

    def loss(sse: Tensor, rate: Tensor) -> Tensor:
        parts = [
            objective(sse[:, place], rate[:, place], beta[place], n)
            for (objective, _), place in zip(groups, places, strict=True)
        ]
        return torch.cat(parts, 1)[:, back]

    return loss


Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(images, noise) -> loss, rate and squared error of each image, each (batch, members)."""


def _of_objectives(
    network: networks.GaussianNetwork, pack: Sequence[Trial], n: int, device: torch.device
) -> Forward:
    members, objective = len(pack), objectives(pack, n, device)

    def forward(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reconstruction, mean, log_var = network(images, noise)
        sse = squared_error(images, reconstruction, members)
        rate = kl_standard_normal(mean.unflatten(1, (members, -1)), log_var.unflatten(1, (members, -1)))
        loss = objective(sse, rate)
        if loss.shape != sse.shape:
            raise ValueError(
                f"the objective returned shape {tuple(loss.shape)}; it must be one number for each image, as"
                f" sse has, {tuple(sse.shape)}"
            )
        return loss, rate, sse

    return forward


def _of_model(model: Model, beta: float) -> Forward:
    def forward(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        terms = model(images, noise)
        loss = model.loss(images, terms, beta)
        if loss.shape != (len(images),):
            raise ValueError(
                f"loss returned shape {tuple(loss.shape)}; it must be one number for each image,"
                f" ({len(images)},)"
            )
        return loss.unsqueeze(1), terms.rate.unsqueeze(1), terms.sse.unsqueeze(1)

    return forward


def train(
    network: networks.GaussianNetwork | Model,
    pack: Sequence[Trial],
    data: Dataset,
    device: torch.device,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    stage: Stage | None = None,
) -> list[str | None]:
    """Train a pack of trials by the reference recipe, and leave the network in evaluation mode.

    AdamW; the learning rate anneals by a cosine that restarts once, stepped per batch. The loss is the sum
    of the members' losses, so their gradients never mix: a trial's result depends on its own settings
    alone, on its pack beyond them only through rounding. On one device a pack repeats bit for bit.

    Args:
        network: freshly built, moved to ``device``: the reference network with a member for each trial, each
            an objective; or the model of a single trial.
        pack: trials that differ in variant, beta and seed only.
        data: its training split is used, augmented as the dataset declares.
        device: where to train.
        on_epoch: told the member and its figures as each epoch ends.
        stage: keeps the state as epochs end; where an earlier attempt left one, training goes on from there,
            bit for bit as if it had never stopped.

    Returns:
        For each trial why it diverged: the mean loss of an epoch is not finite. None where it did not. The
        others go on.

    Raises:
        DatasetError: there are fewer training images than one batch holds.
        SpecError: the device has not got the arithmetic asked for.
        Stopped: the user asked to.
        StorageError: the state cannot be written.
        ValueError: the trials cannot be one pack.
    """
    if len({trial.pack_key for trial in pack}) != 1:
        raise ValueError("only trials that differ in nothing but variant, beta and seed train as one pack")
    recipe, members = pack[0].train, len(pack)
    network.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    steps = steps_per_epoch(len(data.train.images), recipe.batch_size)
    draws = Draws(pack, data, device, steps)
    if isinstance(network, Model):
        forward = _of_model(network, pack[0].beta)
    else:
        forward = _of_objectives(network, pack, math.prod(data.shape), device)
    rate_free = isinstance(network, Model) and network.rate_free
    on_gpu = device.type == "cuda"
    # A captured step reads the learning rate from memory.
    lr = torch.tensor(recipe.lr, device=device) if on_gpu else recipe.lr
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=lr, weight_decay=recipe.weight_decay, fused=True, capturable=on_gpu
    )
    totals = torch.zeros(
        3, members, dtype=torch.float64, device=device
    )  # read once an epoch: no waiting inside

    def step(pixels: Tensor, parameters: Tensor, noise: Tensor) -> None:
        images = draws.images(pixels, parameters)
        losses, rate, sse = forward(images, draws.members(noise))
        loss = losses.mean(0)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        totals.add_(torch.stack([loss.detach(), rate.detach().mean(0), sse.detach().mean(0)]))

    # A model of an author's own may do on the host what a captured step would not repeat.
    run = step if isinstance(network, Model) else launched_at_once(step, device)
    reasons: list[str | None] = [None] * members
    stage = stage or Keeper(None, pack, device).stage()
    done, kept = stage.begin({"network": network, "optimizer": optimizer, **draws.generators()})
    optimizer.param_groups[0]["lr"] = lr  # which a state that was taken back has put another in place of
    reasons = kept or reasons
    with training_arithmetic(recipe.precision, device):
        for epoch in range(done if None in reasons else recipe.epochs, recipe.epochs):
            start = time.perf_counter()
            totals.zero_()
            for number, inputs in enumerate(draws.epoch(), epoch * steps):
                rate_now = learning_rate(recipe.lr, number, recipe.epochs * steps)
                if isinstance(lr, Tensor):
                    lr.fill_(rate_now)
                else:
                    optimizer.param_groups[0]["lr"] = rate_now
                run(*inputs)
            means = (totals / steps).T.tolist()
            seconds = (time.perf_counter() - start) / members
            for member, (loss, rate, sse) in enumerate(means):
                if reasons[member] is None and math.isfinite(loss):
                    speed = steps * recipe.batch_size / seconds
                    own = None if rate_free else rate
                    on_epoch(member, Epoch(epoch + 1, loss, own, sse, rate_now, seconds, speed))
                elif reasons[member] is None:
                    reasons[member] = f"the loss became {loss} in epoch {epoch + 1} of {recipe.epochs}"
            last = None not in reasons or epoch + 1 == recipe.epochs
            stage.ended(epoch + 1, reasons, last=last, global_random=isinstance(network, Model))
            if last:
                break
    network.eval()
    return reasons
