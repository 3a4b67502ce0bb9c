"""Checks of a model: of a model variant as it is built, and of what a trial function returned."""

import copy

import torch
from torch import Tensor

from rdbench.commands.check.subject import BETAS, CheckError, Note, Subject, need_finite, need_tensor
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.vae import models, networks
from rdbench.vae.models import Model, Standard, Terms

BATCH = 5  # unlike any other size here
NO_MODEL = Note("it gave measurements, and no model to look at")
DRAWS = 4096


def _terms(subject: Subject, model: Model, images: Tensor, seed: int = 0) -> Terms:
    terms: Terms = model(images, subject.noise(len(images), seed))
    return terms


def shapes(subject: Subject) -> str:
    """All that a model must return has the shape and type that training and evaluation count on."""
    model = subject.build().train()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise CheckError("the model has no weights to train; call super().__init__(about)", "__init__")
    images, latent = subject.images(BATCH), subject.trial.model.latent
    terms = _terms(subject, model, images)
    if not isinstance(terms, Terms):
        raise CheckError(f"forward returned a {type(terms).__name__}, not rdbench.Terms", "forward")
    if not isinstance(terms.posterior, tuple):
        kind = type(terms.posterior).__name__
        raise CheckError(f"encode returned a {kind}; it must be a tuple of tensors", "encode")
    each = "(batch,): a number for each image, no mean over them"
    need_tensor("a latent sample", terms.latents, (BATCH, latent), "(batch, latent)", "sample")
    need_tensor("the reconstruction", terms.reconstruction, tuple(images.shape), "as the images", "mean")
    need_tensor("the rate", terms.rate, (BATCH,), each, "rate")
    need_tensor("the squared error", terms.sse, (BATCH,), each, "forward")
    loss = model.loss(images, terms, 1.0)
    need_tensor("the loss", loss, (BATCH,), each, "loss")
    if not loss.requires_grad:
        raise CheckError(
            "the loss has no gradient, so nothing would be learned; no detach, item or numpy", "loss"
        )
    own = model.distortion(images, terms)
    if own is not None:
        need_tensor("the distortion", own, (BATCH,), each, "distortion")
    if own is None and subject.declaration.native == "own":
        raise CheckError(
            "native='own' says that it has a likelihood of its own, but distortion returns None; override it",
            "distortion",
        )
    if own is not None and subject.declaration.native != "own":
        return Note("right; it has a likelihood of its own: is native='own' meant?")
    return "latents (batch, latent), reconstruction as the images, rate and loss (batch,), float32"


def gradients(subject: Subject) -> str:
    """Loss and gradients are finite at extreme betas, and reach the weights."""
    unused: set[str] = set()
    for beta in BETAS:
        model = subject.build().train()
        images = subject.images(32)
        loss = model.loss(images, _terms(subject, model, images), beta)
        need_finite("the loss", loss, f"at beta {beta:g}", "loss")
        loss.mean().backward()
        named = [(name, value.grad) for name, value in model.named_parameters() if value.requires_grad]
        for name, gradient in named:
            if gradient is not None:
                need_finite(f"the gradient of {name}", gradient, f"at beta {beta:g}", "loss")
        if not any(gradient is not None and bool(gradient.any()) for _, gradient in named):
            raise CheckError("no gradient reaches any weight, so nothing would be learned", "loss")
        unused |= {name for name, gradient in named if gradient is None}
    if unused:
        return Note(f"finite; no gradient reaches {_some(sorted(unused))}, which will not be trained")
    return "finite at beta 1e-4 to 1e3, and they reach every weight"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@torch.no_grad()
def rate(subject: Subject) -> str:
    """The rate is a KL divergence: the closed form where the model says gaussian, else not negative."""
    model = subject.model()
    if model is None:
        return NO_MODEL
    if model.rate_free:
        return Note("rate_free: deterministic, so rate and ELBO are null in every table")
    images = subject.images(64)
    terms = _terms(subject, model, images)
    need_finite("the rate", terms.rate, "of an untrained model", "rate")
    if model.gaussian:
        if len(terms.posterior) != 2:
            raise CheckError(
                f"gaussian = True, but encode returns {len(terms.posterior)} tensors, not mean and log"
                " variance; write gaussian = False",
                "encode",
            )
        # Also as it would be after training: a prior of its own may start at the standard normal.
        terms = _terms(subject, _moved(model), images)
        closed: Tensor = kl_standard_normal(*terms.posterior)
        if not torch.allclose(terms.rate, closed, rtol=1e-3, atol=1e-3):
            raise CheckError(
                f"gaussian = True, but the rate is {terms.rate[0]:.4g} nats where KL(N(mean, exp(log_var)) ||"
                f" N(0, I)) is {closed[0]:.4g}; mend rate, or write gaussian = False if the prior or the"
                " posterior is another",
                "rate",
            )
        mean, log_var = terms.posterior
        noise = torch.ones_like(mean)
        if not torch.allclose(model.sample((mean, log_var), noise), mean + (log_var / 2).exp(), rtol=1e-3):
            raise CheckError(
                "gaussian = True, but sample gives no mean + noise * exp(log_var / 2): the rate is of another"
                " posterior than the one that is decoded",
                "sample",
            )
        return "the closed form of a Gaussian posterior and a standard normal prior"
    draws = torch.stack([_terms(subject, model, images, seed).rate for seed in range(16)])
    if torch.equal(draws[0], draws[1]):
        if bool((draws[0] < -1e-3).any()):
            raise CheckError(
                f"the rate of an image is {draws[0].min():.4g} nats; a KL divergence is not negative", "rate"
            )
        return Note(f"a closed form, not negative; {_unchecked(model)}")
    mean, error = draws.mean(), draws.std() / draws.numel() ** 0.5
    if mean < -4 * error:
        raise CheckError(
            f"the rate is on average {mean:.4g} nats, standard error {error:.2g}; the mean of an"
            " estimate of a KL divergence is not negative",
            "rate",
        )
    return Note(f"an estimate, on average {mean:.3g} nats (standard error {error:.2g}); {_unchecked(model)}")


def _moved(model: Model) -> Model:
    """Return a copy of a model with every parameter moved a little, as training does."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for parameter in moved.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
    return moved


def _unchecked(model: Model) -> str:
    """Say what gaussian = False leaves to the author; refuse a rate of a prior that is not sampled from."""
    own = {name for name in ("encode", "sample", "rate", "prior")
           if getattr(type(model), name) is not getattr(Model, name)}  # fmt: skip
    if "rate" in own and not own & {"encode", "sample", "prior"}:
        raise CheckError(
            "rate is the model's own, but its prior and posterior are a plain VAE's: override prior(count,"
            " generator) to sample from the prior that the rate is of, or write gaussian = True",
            "rate",
        )
    return "that it is the KL to what prior draws from is for its author to show"


@torch.no_grad()
def prior(subject: Subject) -> str:
    """Samples come from the generator they are given, have a latent's shape, and can be decoded."""
    model = subject.model()
    if model is None:
        return NO_MODEL

    def draw(count: int, seed: int) -> Tensor:
        return model.prior(count, torch.Generator(subject.device).manual_seed(seed))

    latents = draw(BATCH, 1)
    need_tensor(
        "the prior's sample", latents, (BATCH, subject.trial.model.latent), "(count, latent)", "prior"
    )
    if not torch.equal(latents, draw(BATCH, 1)):
        raise CheckError(
            "prior gives other latents for the same generator; draw with generator=generator,"
            " device=generator.device",
            "prior",
        )
    if torch.equal(latents, draw(BATCH, 2)):
        raise CheckError(
            "prior gives the same latents whatever the generator; draw with generator=generator,"
            " device=generator.device",
            "prior",
        )
    images = model.mean(model.decode(latents))
    need_tensor("a decoded sample", images, (BATCH, *subject.data.shape), "as the images", "mean")
    if model.gaussian:
        many = _moved(model).prior(DRAWS, torch.Generator(subject.device).manual_seed(1))
        # The mean of so many has a standard error of 0.016, and their deviation of 0.011.
        if many.mean(0).abs().max() > 0.1 or (many.std(0) - 1).abs().max() > 0.1:
            raise CheckError(
                "gaussian = True says that the prior is standard normal, but its samples are not;"
                " write gaussian = False",
                "prior",
            )
    return "latents (count, latent), from the generator alone"


@torch.no_grad()
def evaluation(subject: Subject) -> str:
    """Evaluation has no side effects: it repeats, leaves the model as it is, and draws nothing of its own."""
    model = subject.model()
    if model is None:
        return NO_MODEL
    images = subject.images(32)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    passes, before = [], images.clone()
    for _ in range(2):
        terms = _terms(subject, model, images)
        own = model.distortion(images, terms)
        passes.append([terms.reconstruction, terms.rate, *([] if own is None else [own])])
    model.mean(model.decode(model.prior(BATCH, torch.Generator(subject.device).manual_seed(0))))
    if not torch.equal(random, torch.get_rng_state()):
        torch.set_rng_state(random)
        raise CheckError(
            "evaluation draws from torch's global generator; take the noise that sample is given, and the"
            " generator that prior is given"
        )
    if not torch.equal(images, before):
        raise CheckError("evaluation changes the images it is given; work on a copy")
    after = model.state_dict()
    if changed := [name for name, value in state.items() if not torch.equal(value, after[name])]:
        raise CheckError(f"evaluation changes {_some(changed)}; change it only where self.training")
    if not all(torch.equal(one, two) for one, two in zip(*passes, strict=True)):
        raise CheckError("two passes over the same images and noise differ in evaluation mode")
    half = _terms(subject, model, images[:16])
    if not torch.allclose(half.reconstruction, passes[0][0][:16], rtol=1e-2, atol=1e-3):
        raise CheckError(
            "in evaluation an image's reconstruction depends on the others of its batch; mix images only"
            " where self.training"
        )
    return "two passes are equal, weights and random state stay as they are"


@torch.no_grad()
def weights(subject: Subject) -> str:
    """A trained model can be kept and read again, and is then the same."""
    if not subject.trained:
        return Note("no trained model to keep")
    model = subject.trained[0]
    kept = models.to_bytes(model)
    if subject.declaration.kind == "trial":
        return f"can be kept, {len(kept):,} bytes; metrics are measured when it is trained"
    again = models.from_bytes(
        subject.trial, subject.data.shape, len(subject.data.train.images), kept, subject.device
    )
    images = subject.images(32)
    for what, one, two in zip(
        Terms._fields, _terms(subject, model, images), _terms(subject, again, images), strict=True
    ):
        if isinstance(one, Tensor) and not torch.equal(one, two):
            raise CheckError(_forgotten(f"its {what}"))
    terms = _terms(subject, model, images)
    if not torch.equal(model.loss(images, terms, 1.0), again.loss(images, terms, 1.0)):
        raise CheckError(_forgotten("its loss"))
    network = model.network if isinstance(model, Standard) else model
    return f"read again it is the same; {networks.count_parameters(network):,} weights"


def _forgotten(what: str) -> str:
    return (
        f"{what} is another after writing and reading the weights: something that training changes is neither"
        " an nn.Parameter nor a buffer (self.register_buffer), or __init__ does not repeat"
    )
