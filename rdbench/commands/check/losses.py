"""Checks of a loss, for each image: of an objective by itself, and of an untrained model."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from rdbench.commands.check.subject import BETAS, Subject
from rdbench.commands.check.verdicts import Note, listed, need, need_finite, need_tensor
from rdbench.vae.models import Terms

N = 64  # values in an image of an objective
BATCH = 5  # unlike any other size here
ERRORS = (1e-6, 1.0, 1e6)
RATES = (0.0, 1.0, 1e4)
NO_GRADIENT = "the loss has no gradient, so nothing would be learned"


def _loss(subject: Subject, sse: Tensor, rate: Tensor, beta: float) -> Tensor:
    loss: Tensor = subject.variant.objective(sse, rate, sse.new_full((), beta), N, **subject.spec.options)
    return loss


def _inputs(subject: Subject) -> tuple[Tensor, Tensor]:
    sse = torch.rand(BATCH, generator=torch.Generator().manual_seed(0))
    return (0.5 + sse).to(subject.device), torch.linspace(1, 6, BATCH, device=subject.device)


def shapes(subject: Subject) -> str:
    """The loss is one number for each image, float32."""
    sse, rate = _inputs(subject)
    loss = _loss(subject, sse.requires_grad_(), rate.requires_grad_(), 1.0)
    meaning = "(batch,) as sse: a number for each image, no mean or sum over them"
    need_tensor("the loss", loss, tuple(sse.shape), meaning)
    advice = "compute it from sse and rate by torch, without detach, item or numpy"
    need(loss.requires_grad, f"{NO_GRADIENT}; {advice}")
    return "the loss is (batch,), float32"


def _extremes(subject: Subject) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """Yield a description of extreme inputs with the loss and its gradients by sse and rate."""
    for error, nats, beta in itertools.product(ERRORS, RATES, BETAS):
        sse = torch.full((4,), error, device=subject.device, requires_grad=True)
        rate = torch.full((4,), nats, device=subject.device, requires_grad=True)
        loss = _loss(subject, sse, rate, beta)
        by_sse, by_rate = torch.autograd.grad(
            loss.sum(), (sse, rate), allow_unused=True, materialize_grads=True
        )
        yield f"at sse {error:g}, rate {nats:g}, beta {beta:g} (n = {N})", loss.detach(), by_sse, by_rate


def gradients(subject: Subject) -> str:
    """Loss and gradients are finite at extreme errors, rates and betas, and reach the networks."""
    learns, rate_matters = False, False
    for where, loss, by_sse, by_rate in _extremes(subject):
        need_finite("the loss", loss, where)
        need_finite("the loss' gradient by sse", by_sse, where)
        need_finite("the loss' gradient by rate", by_rate, where)
        learns |= bool(by_sse.any())
        rate_matters |= bool(by_rate.any())
    need(learns, "no gradient reaches the decoder: the loss does not depend on sse")
    if not rate_matters:
        return Note("finite; the loss does not depend on rate, so beta changes nothing")
    return "finite at sse 1e-6 to 1e6, rate 0 to 1e4, beta 1e-4 to 1e3"


def direction(subject: Subject) -> str:
    """A larger error or rate costs more, as in a rate-distortion trade-off."""
    for where, _, *gradients in _extremes(subject):
        for what, gradient in zip(("sse", "rate"), gradients, strict=True):
            if bool((gradient < 0).any()):
                return Note(f"the loss falls as {what} grows, {where}: is that meant?")
    return "the loss grows with sse and with rate"


def beta_rate(subject: Subject) -> str:
    """A loss that is declared as distortion + beta rate has the gradient beta by each image's rate."""
    holds = True
    for beta in (0.1, 1.0, 10.0):
        sse, rate = _inputs(subject)
        loss = _loss(subject, sse.requires_grad_(), rate.requires_grad_(), beta).sum()
        (by_rate,) = torch.autograd.grad(loss, rate, allow_unused=True, materialize_grads=True)
        holds &= torch.allclose(by_rate, by_rate.new_full((), beta), rtol=1e-4)
    return _as_declared(subject, holds)


def model_beta_rate(subject: Subject) -> str:
    """A loss that is declared as distortion + beta rate grows with beta by each image's rate."""
    model = subject.build().eval()
    images = subject.images(BATCH)
    with torch.no_grad():
        terms = subject.terms(model, images)
        low, high = (model.loss(images, terms, beta).double() for beta in (1.0, 1000.0))
    gap, rate = (high - low) / 999, terms.rate.double()
    return _as_declared(subject, torch.allclose(gap, rate, rtol=1e-3, atol=1e-4), "loss")


def _as_declared(subject: Subject, holds: bool, at: str = "") -> str:
    declared = subject.declaration
    need(
        holds or not declared.beta_rate,
        "beta_rate=True says that the loss is the distortion of its native reading + beta rate, but beta"
        " multiplies something else than the rate; leave beta_rate out",
        at,
    )
    if holds and declared.native is not None and not declared.beta_rate:
        return Note(
            "beta multiplies the rate: if the loss is the distortion of its native reading + beta rate,"
            " declare beta_rate=True, for the report to give its effective weight"
        )
    return "the loss is distortion + beta rate" if declared.beta_rate else "not declared"


def images(subject: Subject) -> str:
    """Whether an image's loss depends on its own sse and rate alone."""
    sse, rate = _inputs(subject)
    before = _loss(subject, sse, rate, 1.0)
    sse[0] *= 2
    if not torch.equal(_loss(subject, sse, rate, 1.0)[1:], before[1:]):
        return Note(
            "one image's error changes the loss of the others in its batch, so the batch size matters"
        )
    return "each image by itself"


def model_shapes(subject: Subject) -> str:
    """All that a model must return has the shape and type that training and evaluation count on."""
    model = subject.build().train()
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    need(trainable, "the model has no weights to train; call super().__init__(about)", "__init__")
    images, latent = subject.images(BATCH), subject.trial.model.latent
    terms = subject.terms(model, images)
    kind = type(terms).__name__
    need(isinstance(terms, Terms), f"forward returned a {kind}, not rdbench.Terms", "forward")
    kind = type(terms.posterior).__name__
    tensors = isinstance(terms.posterior, tuple)
    need(tensors, f"encode returned a {kind}; it must be a tuple of tensors", "encode")
    numbers = "(batch,): a number for each image, no mean over them"
    need_tensor("a latent sample", terms.latents, (BATCH, latent), "(batch, latent)", "sample")
    need_tensor("the reconstruction", terms.reconstruction, tuple(images.shape), "as the images", "mean")
    need_tensor("the rate", terms.rate, (BATCH,), numbers, "rate")
    need_tensor("the squared error", terms.sse, (BATCH,), numbers, "forward")
    loss = model.loss(images, terms, 1.0)
    need_tensor("the loss", loss, (BATCH,), numbers, "loss")
    need(loss.requires_grad, f"{NO_GRADIENT}; no detach, item or numpy", "loss")
    distortion = model.distortion(images, terms)
    if distortion is not None:
        need_tensor("the distortion", distortion, (BATCH,), numbers, "distortion")
        if subject.declaration.native != "own":
            return Note("right; it has a likelihood of its own: is native='own' meant?")
    need(
        distortion is not None or subject.declaration.native != "own",
        "native='own' says that it has a likelihood of its own, but distortion returns None; override it",
        "distortion",
    )
    return "latents (batch, latent), reconstruction as the images, rate and loss (batch,), float32"


def model_gradients(subject: Subject) -> str:
    """Loss and gradients are finite at extreme betas, and reach the weights."""
    unused: set[str] = set()
    for beta in BETAS:
        model = subject.build().train()
        images = subject.images(32)
        loss = model.loss(images, subject.terms(model, images), beta)
        need_finite("the loss", loss, f"at beta {beta:g}", "loss")
        loss.mean().backward()
        weights = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
        gradients = {name: gradient for name, gradient in weights.items() if gradient is not None}
        for name, gradient in gradients.items():
            need_finite(f"the gradient of {name}", gradient, f"at beta {beta:g}", "loss")
        learns = any(bool(gradient.any()) for gradient in gradients.values())
        need(learns, "no gradient reaches any weight, so nothing would be learned", "loss")
        unused |= weights.keys() - gradients.keys()
    if unused:
        return Note(f"finite; no gradient reaches {listed(sorted(unused))}, which will not be trained")
    return "finite at beta 1e-4 to 1e3, and they reach every weight"
