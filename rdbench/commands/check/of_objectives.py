"""Checks of an objective: a loss of each image from its squared error and rate."""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rdbench.commands.check.subject import BETAS, CheckError, Note, Subject, need_finite, need_tensor

N = 64  # values in an image
BATCH = 5
ERRORS = (1e-6, 1.0, 1e6)
RATES = (0.0, 1.0, 1e4)


def _loss(subject: Subject, sse: Tensor, rate: Tensor, beta: Tensor) -> Tensor:
    objective = functools.partial(subject.variant.objective, **subject.spec.options)
    loss: Tensor = objective(sse, rate, beta.to(subject.device), N)
    return loss


def _inputs(subject: Subject, members: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    sse, rate = torch.rand(2, BATCH, members, generator=draws).to(subject.device)
    return 0.5 + sse, 1 + 5 * rate, torch.tensor([0.1, 1.0, 10.0][:members])


def shapes(subject: Subject) -> str:
    """The loss is one number for each image of each member, float32, of a pack and of a single trial."""
    for members in (3, 1):
        sse, rate, beta = _inputs(subject, members=members)
        sse.requires_grad_()
        meaning = "(batch, members) as sse: a number for each image, no mean or sum over them"
        loss = _loss(subject, sse, rate.requires_grad_(), beta)
        need_tensor("the loss", loss, tuple(sse.shape), meaning)
        if not loss.requires_grad:
            raise CheckError(
                "the loss has no gradient, so nothing would be learned; compute it from sse and rate by"
                " torch, without detach, item or numpy"
            )
    return "the loss is (batch, members), float32"


def _extremes(subject: Subject) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Yield a description of extreme inputs with the loss and its gradients by sse and rate."""
    beta = torch.tensor(BETAS)
    for error in ERRORS:
        for nats in RATES:
            sse = torch.full((4, len(BETAS)), error, device=subject.device, requires_grad=True)
            rate = torch.full((4, len(BETAS)), nats, device=subject.device, requires_grad=True)
            loss = _loss(subject, sse, rate, beta)
            found = torch.autograd.grad(loss.sum(), (sse, rate), allow_unused=True)
            by_sse, by_rate = (torch.zeros_like(sse) if one is None else one for one in found)
            for member, value in enumerate(BETAS):
                column = (loss[:, member].detach(), by_sse[:, member], by_rate[:, member])
                yield f"at sse {error:g}, rate {nats:g}, beta {value:g} (n = {N})", *column


def gradients(subject: Subject) -> str:
    """Loss and gradients are finite at extreme errors, rates and betas, and reach the networks."""
    learns, rate_matters = False, False
    for where, loss, by_sse, by_rate in _extremes(subject):
        need_finite("the loss", loss, where)
        need_finite("the loss' gradient by sse", by_sse, where)
        need_finite("the loss' gradient by rate", by_rate, where)
        learns |= bool(by_sse.any())
        rate_matters |= bool(by_rate.any())
    if not learns:
        raise CheckError("no gradient reaches the decoder: the loss does not depend on sse")
    if not rate_matters:
        return Note("finite; the loss does not depend on rate, so beta changes nothing")
    return "finite at sse 1e-6 to 1e6, rate 0 to 1e4, beta 1e-4 to 1e3"


def direction(subject: Subject) -> str:
    """A larger error or rate costs more, as in a rate-distortion trade-off."""
    for where, _, by_sse, by_rate in _extremes(subject):
        for what, gradient in (("sse", by_sse), ("rate", by_rate)):
            if bool((gradient < 0).any()):
                return Note(f"the loss falls as {what} grows, {where}: is that meant?")
    return "the loss grows with sse and with rate"


def members(subject: Subject) -> str:
    """A member's loss depends on its own sse, rate and beta alone, so trials can train side by side."""
    sse, rate, beta = _inputs(subject)
    before = _loss(subject, sse, rate, beta)
    for index, what in enumerate(("sse", "rate", "beta")):
        inputs = [sse.clone(), rate.clone(), beta.clone()]
        inputs[index].select(-1, 1).mul_(2)
        others = _loss(subject, *inputs)[:, [0, 2]]
        if not torch.equal(others, before[:, [0, 2]]):
            raise CheckError(
                f"members mix: one's {what} changes another's loss, but trials train side by side in the"
                " second dimension; reduce over dimension 0 alone, and let beta (members,) broadcast"
            )
    sse[0] *= 2
    if not torch.equal(_loss(subject, sse, rate, beta)[1:], before[1:]):
        return Note(
            "members are independent; images are not: one's error changes the loss of the others in"
            " its batch, so the batch size matters"
        )
    return "each image and each member by itself"
