"""Checks of a model in evaluation: a model variant as it is built, or what a trial function returned."""

import copy

import torch
from torch import Tensor

from rdbench.commands.check.subject import Subject
from rdbench.commands.check.verdicts import CheckError, Note, listed, need, need_finite, need_tensor
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.vae import models, networks
from rdbench.vae.models import Model, Standard, Terms

BATCH = 5  # unlike any other size here
NO_MODEL = Note("it gave measurements, and no model to look at")
DRAWS = 4096


@torch.no_grad()
def rate(subject: Subject) -> str:
    """The rate is a KL divergence: the closed form where the model says gaussian, else not negative."""
    model = subject.model()
    if model is None:
        return NO_MODEL
    if model.rate_free:
        return Note("rate_free: deterministic, so rate and ELBO are null in every table")
    images = subject.images(64)
    terms = subject.terms(model, images)
    need_finite("the rate", terms.rate, "of an untrained model", "rate")
    if model.gaussian:
        return _gaussian_rate(subject, model, terms, images)
    draws = torch.stack([subject.terms(model, images, seed).rate for seed in range(16)])
    if torch.equal(draws[0], draws[1]):
        lowest = draws[0].min()
        message = f"the rate of an image is {lowest:.4g} nats; a KL divergence is not negative"
        need(not bool(lowest < -1e-3), message, "rate")
        return Note(f"a closed form, not negative; {_unchecked(model)}")
    mean, error = draws.mean(), draws.std() / draws.numel() ** 0.5
    need(
        not bool(mean < -4 * error),
        f"the rate is on average {mean:.4g} nats, standard error {error:.2g}; the mean of an"
        " estimate of a KL divergence is not negative",
        "rate",
    )
    return Note(f"an estimate, on average {mean:.3g} nats (standard error {error:.2g}); {_unchecked(model)}")


def _gaussian_rate(subject: Subject, model: Model, terms: Terms, images: Tensor) -> str:
    need(
        len(terms.posterior) == 2,
        f"gaussian = True, but encode returns {len(terms.posterior)} tensors, not mean and log"
        " variance; write gaussian = False",
        "encode",
    )
    # Also as it would be after training: a prior of its own may start at the standard normal.
    terms = subject.terms(_moved(model), images)
    closed: Tensor = kl_standard_normal(*terms.posterior)
    need(
        torch.allclose(terms.rate, closed, rtol=1e-3, atol=1e-3),
        f"gaussian = True, but the rate is {terms.rate[0]:.4g} nats where KL(N(mean, exp(log_var)) ||"
        f" N(0, I)) is {closed[0]:.4g}; fix rate, or write gaussian = False if the prior or the"
        " posterior is another",
        "rate",
    )
    mean, log_var = terms.posterior
    sample = model.sample((mean, log_var), torch.ones_like(mean))
    need(
        torch.allclose(sample, mean + (log_var / 2).exp(), rtol=1e-3),
        "gaussian = True, but sample gives no mean + noise * exp(log_var / 2): the rate is of another"
        " posterior than the one that is decoded",
        "sample",
    )
    return "the closed form of a Gaussian posterior and a standard normal prior"


def _moved(model: Model) -> Model:
    """Return a copy of a model with every parameter moved a little, as training does."""
    moved = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for parameter in moved.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
    return moved


def _unchecked(model: Model) -> str:
    """Say what gaussian = False leaves to the author; refuse a rate of a prior that is not sampled from."""
    methods = ("encode", "sample", "rate", "prior")
    overridden = [name for name in methods if getattr(type(model), name) is not getattr(Model, name)]
    need(
        overridden != ["rate"],
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

    def draw(model: Model, count: int, seed: int) -> Tensor:
        return model.prior(count, torch.Generator(subject.device).manual_seed(seed))

    latents, latent = draw(model, BATCH, 1), subject.trial.model.latent
    need_tensor("the prior's sample", latents, (BATCH, latent), "(count, latent)", "prior")
    advice = "draw with generator=generator, device=generator.device"
    same = torch.equal(latents, draw(model, BATCH, 1))
    need(same, f"prior gives other latents for the same generator; {advice}", "prior")
    same = torch.equal(latents, draw(model, BATCH, 2))
    need(not same, f"prior gives the same latents whatever the generator; {advice}", "prior")
    images = model.mean(model.decode(latents))
    need_tensor("a decoded sample", images, (BATCH, *subject.data.shape), "as the images", "mean")
    if model.gaussian:
        many = draw(_moved(model), DRAWS, 1)
        # The mean of so many has a standard error of 0.016, and their deviation of 0.011.
        need(
            not bool(many.mean(0).abs().max() > 0.1 or (many.std(0) - 1).abs().max() > 0.1),
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
        terms = subject.terms(model, images)
        distortion = model.distortion(images, terms)
        passes.append([terms.reconstruction, terms.rate, *([] if distortion is None else [distortion])])
    model.mean(model.decode(model.prior(BATCH, torch.Generator(subject.device).manual_seed(0))))
    if not torch.equal(random, torch.get_rng_state()):
        torch.set_rng_state(random)
        raise CheckError(
            "evaluation draws from torch's global generator; take the noise that sample is given, and the"
            " generator that prior is given"
        )
    need(torch.equal(images, before), "evaluation changes the images it is given; work on a copy")
    after = model.state_dict()
    changed = [name for name, value in state.items() if not torch.equal(value, after[name])]
    need(not changed, f"evaluation changes {listed(changed)}; change it only where self.training")
    equal = all(torch.equal(one, two) for one, two in zip(*passes, strict=True))
    need(equal, "two passes over the same images and noise differ in evaluation mode")
    half = subject.terms(model, images[:16])
    need(
        torch.allclose(half.reconstruction, passes[0][0][:16], rtol=1e-2, atol=1e-3),
        "in evaluation an image's reconstruction depends on the others of its batch; mix images only"
        " where self.training",
    )
    return "two passes are equal, weights and random state stay as they are"


@torch.no_grad()
def weights(subject: Subject) -> str:
    """A trained model can be kept and read again, and is then the same."""
    if not subject.trained:
        return Note("no trained model to keep")
    model = subject.trained[0]
    stored = models.to_bytes(model)
    if subject.declaration.kind == "trial":
        return f"can be kept, {len(stored):,} bytes; metrics are measured when it is trained"
    count = len(subject.data.train.images)
    again = models.from_bytes(subject.trial, subject.data.shape, count, stored, subject.device)
    images = subject.images(32)
    before, after = (
        {**terms._asdict(), "loss": one.loss(images, terms, 1.0)}
        for one in (model, again)
        for terms in [subject.terms(one, images)]
    )
    for what, value in before.items():
        need(
            not isinstance(value, Tensor) or torch.equal(value, after[what]),
            f"its {what} is another after writing and reading the weights: something that training changes"
            " is neither an nn.Parameter nor a buffer (self.register_buffer), or __init__ does not repeat",
        )
    network = model.network if isinstance(model, Standard) else model
    return f"read again it is the same; {networks.count_parameters(network):,} weights"
