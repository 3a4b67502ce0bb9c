"""What trains and is measured together: objectives side by side in one network, or a single model.

Both offer ``losses`` to training and ``measure`` to evaluation, of images (batch, members x channels, height,
width) and standard normal noise (batch, members x latent).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.spec.plan import Trial
from rdbench.vae.models import Model, objective_of
from rdbench.vae.networks import GaussianNetwork


class Losses(NamedTuple):
    """Loss, rate in nats and squared error of each image, each (batch, members)."""

    loss: Tensor
    rate: Tensor
    sse: Tensor


def per_member(values: Tensor, members: int) -> Tensor:
    """Return (batch, members x channels, ...) as (batch, members, all the rest)."""
    separate: Tensor = values.unflatten(1, (members, -1))
    return separate.flatten(2)


def squared_error(images: Tensor, reconstruction: Tensor, members: int = 1) -> Tensor:
    """Return the summed squared error of each image of each member, (batch, members)."""
    return per_member((images - reconstruction).square(), members).sum(2)


def objectives(pack: Sequence[Trial], n: int, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (sse, rate) -> loss of a pack, all (batch, members), each member by its variant."""
    used = [trial.variant for trial in pack]
    beta = torch.tensor([trial.beta for trial in pack], device=device)
    functions = [objective_of(pack[used.index(variant)]) for variant in dict.fromkeys(used)]
    if len(functions) == 1:
        return lambda sse, rate: functions[0](sse, rate, beta, n)
    members = [
        torch.tensor([i for i, name in enumerate(used) if name == variant], device=device)
        for variant in dict.fromkeys(used)
    ]
    back = torch.cat(members).argsort()

    def loss(sse: Tensor, rate: Tensor) -> Tensor:
        parts = [
            objective(sse[:, which], rate[:, which], beta[which], n)
            for objective, which in zip(functions, members, strict=True)
        ]
        return torch.cat(parts, 1)[:, back]

    return loss


@dataclass(frozen=True)
class Objectives:
    """Trials of objectives, for images of ``n`` values: one reference network with a member for each."""

    network: GaussianNetwork
    pack: Sequence[Trial]
    n: int
    rate_free = False
    runs_authors_code = False

    @functools.cached_property
    def objective(self) -> Callable[[Tensor, Tensor], Tensor]:
        """(sse, rate) -> loss, all (batch, members)."""
        return objectives(self.pack, self.n, next(self.network.parameters()).device)

    def losses(self, images: Tensor, noise: Tensor) -> Losses:
        """Return what training minimises, of each image and member."""
        members = len(self.pack)
        reconstruction, mean, log_var = self.network(images, noise)
        sse = squared_error(images, reconstruction, members)
        rate = kl_standard_normal(mean.unflatten(1, (members, -1)), log_var.unflatten(1, (members, -1)))
        loss = self.objective(sse, rate)
        if loss.shape != sse.shape:
            raise ValueError(
                f"the objective returned shape {tuple(loss.shape)}; it must be one number for each image, as"
                f" sse has, {tuple(sse.shape)}"
            )
        return Losses(loss, rate, sse)

    def measure(self, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return ``sse`` and ``rate`` of each image, each float64 (batch, members)."""
        members = len(self.pack)
        reconstruction, mean, log_var = self.network(images, noise)
        sse = per_member((images - reconstruction).double().square(), members).sum(2)
        mean, log_var = (part.double().unflatten(1, (members, -1)) for part in (mean, log_var))
        return {"sse": sse, "rate": kl_standard_normal(mean, log_var)}


@dataclass(frozen=True)
class SingleModel:
    """The model of a single trial."""

    network: Model
    pack: Sequence[Trial]
    runs_authors_code = True  # which may work on the host, or draw from torch's global generators

    @property
    def rate_free(self) -> bool:
        """Whether the model's rate has no meaning."""
        return self.network.rate_free

    def losses(self, images: Tensor, noise: Tensor) -> Losses:
        """Return what training minimises, of each image."""
        terms = self.network(images, noise)
        loss = self.network.loss(images, terms, self.pack[0].beta)
        if loss.shape != (len(images),):
            raise ValueError(
                f"loss returned shape {tuple(loss.shape)}; it must be one number for each image,"
                f" ({len(images)},)"
            )
        return Losses(loss.unsqueeze(1), terms.rate.unsqueeze(1), terms.sse.unsqueeze(1))

    def measure(self, images: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Return ``sse``, and ``rate`` and ``distortion`` where there is one, each float64 (batch, 1)."""
        terms = self.network(images, noise)
        values = {
            "sse": (images - terms.reconstruction).double().square().flatten(1).sum(1),
            "rate": None if self.rate_free else terms.rate,
            "distortion": self.network.distortion(images, terms),
        }
        return {name: value.double().unsqueeze(1) for name, value in values.items() if value is not None}


def together(network: GaussianNetwork | Model, pack: Sequence[Trial], n: int) -> Objectives | SingleModel:
    """Return a pack's network, or a single trial's model, behind one interface."""
    return SingleModel(network, pack) if isinstance(network, Model) else Objectives(network, pack, n)
