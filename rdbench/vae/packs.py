"""What trains and is measured together: objectives side by side in one network, or a single model.

A network alone leaves a GPU idle and pays for every kernel launch. :class:`Objectives` and
:class:`SingleModel` have ``losses`` for training and ``measure`` for evaluation: of images (batch, members x
channels, height, width) and normal noise (batch, members x latent), values of shape (batch, members).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdbench.numerics.binned import binned_nll
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import VariantSpec
from rdbench.vae.models import About, Model, objective_of
from rdbench.vae.networks import GaussianNetwork, empty

Losses = tuple[Tensor, Tensor, Tensor]
"""Loss, rate in nats and squared error of each image, each (batch, members)."""


def joined(of: Sequence[About]) -> GaussianNetwork:
    """Return one network with a member for each, side by side.

    Every parameter holds its members' values one after another along its first dimension.
    """
    built = [about.network() for about in of]
    if len(built) == 1:
        return built[0]
    states = [network.state_dict() for network in built]
    network = empty(of[0].spec, of[0].shape, len(of))
    network.load_state_dict(
        {
            # BatchNorm's count of batches is one number, the same for all.
            name: torch.cat([state[name] for state in states]) if tensor.ndim else tensor
            for name, tensor in states[0].items()
        }
    )
    return network


def separate(packed: GaussianNetwork, of: Sequence[About]) -> list[GaussianNetwork]:
    """Return the members of :func:`joined` as separate networks, on the same device and in the same mode."""
    if len(of) == 1:
        return [packed]
    state, device = packed.state_dict(), next(packed.parameters()).device
    networks = []
    for member, about in enumerate(of):
        network = empty(about.spec, about.shape, 1)
        network.load_state_dict({k: v.chunk(len(of))[member] if v.ndim else v for k, v in state.items()})
        network.to(device=device, memory_format=torch.channels_last).train(packed.training)  # type: ignore[call-overload]
        networks.append(network)
    return networks


def per_member(values: Tensor, members: int) -> Tensor:
    """Return (batch, members x channels, ...) as (batch, members, all the rest)."""
    separate: Tensor = values.unflatten(1, (members, -1))
    return separate.flatten(2)


def objectives(pack: Sequence[Trial], n: int, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function (sse, rate) -> loss of a pack, all (batch, members), each member by its variant."""
    beta = torch.tensor([trial.beta for trial in pack], device=device)
    members: dict[VariantSpec, list[int]] = {}
    for member, trial in enumerate(pack):
        members.setdefault(trial.variant, []).append(member)
    groups = [(objective_of(pack[same[0]]), torch.tensor(same, device=device)) for same in members.values()]
    if len(groups) == 1:
        return lambda sse, rate: groups[0][0](sse, rate, beta, n)
    back = torch.cat([which for _, which in groups]).argsort()

    def loss(sse: Tensor, rate: Tensor) -> Tensor:
        parts = [objective(sse[:, which], rate[:, which], beta[which], n) for objective, which in groups]
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
        """Return what training minimises."""
        reconstruction, *posterior = self.network(images, noise)
        sse, rate = self._terms(images, reconstruction, posterior)
        loss = self.objective(sse, rate)
        if loss.shape != sse.shape:
            raise ValueError(
                f"the objective returned shape {tuple(loss.shape)}; it must be one number for each image, as"
                f" sse has, {tuple(sse.shape)}"
            )
        return loss, rate, sse

    def measure(self, images: Tensor, noise: Tensor, variances: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``sse`` and ``rate``, and ``binned`` where ``variances`` (members) are given, float64."""
        reconstruction, *posterior = self.network(images, noise)
        sse, rate = self._terms(images, reconstruction, posterior, Tensor.double)
        binned = _binned(images, reconstruction, variances)
        return {"sse": sse, "rate": rate} | binned

    def _terms(
        self,
        images: Tensor,
        reconstruction: Tensor,
        posterior: Sequence[Tensor],
        convert: Callable[[Tensor], Tensor] = lambda values: values,
    ) -> tuple[Tensor, Tensor]:
        sse = per_member(convert(images - reconstruction).square(), len(self.pack)).sum(2)
        mean, log_var = (convert(part).unflatten(1, (len(self.pack), -1)) for part in posterior)
        return sse, kl_standard_normal(mean, log_var)


@dataclass(frozen=True)
class SingleModel:
    """The model of a single trial."""

    network: Model
    pack: Sequence[Trial]
    rate_free: bool
    runs_authors_code = True  # which may work on the host, or draw from torch's global generators

    def losses(self, images: Tensor, noise: Tensor) -> Losses:
        """Return what training minimises."""
        terms = self.network(images, noise)
        loss = self.network.loss(images, terms, self.pack[0].beta)
        if loss.shape != (len(images),):
            raise ValueError(
                f"loss returned shape {tuple(loss.shape)}; it must be one number for each image,"
                f" ({len(images)},)"
            )
        return loss.unsqueeze(1), terms.rate.unsqueeze(1), terms.sse.unsqueeze(1)

    def measure(self, images: Tensor, noise: Tensor, variances: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``sse``, ``rate`` and ``distortion`` where the model has them, and ``binned``, float64."""
        terms = self.network(images, noise)
        values = {
            "sse": (images - terms.reconstruction).double().square().flatten(1).sum(1),
            "rate": None if self.rate_free else terms.rate,
            "distortion": self.network.distortion(images, terms),
        }
        measured = {name: v.double().unsqueeze(1) for name, v in values.items() if v is not None}
        return measured | _binned(images, terms.reconstruction, variances)


def _binned(images: Tensor, reconstruction: Tensor, variances: Tensor | None) -> dict[str, Tensor]:
    """Return the ``binned`` likelihood of each image of each member, (batch, members); nothing unasked."""
    if variances is None:
        return {}
    members = len(variances)
    pixels, means = per_member(images, members), per_member(reconstruction, members)
    return {"binned": binned_nll(pixels, means, variances.view(members, 1)).sum(2)}


def together(network: GaussianNetwork | Model, pack: Sequence[Trial], n: int) -> Objectives | SingleModel:
    """Return a pack's network, or a single trial's model, behind one interface."""
    if isinstance(network, Model):
        return SingleModel(network, pack, network.rate_free)
    return Objectives(network, pack, n)
