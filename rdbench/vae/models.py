"""The base class of variants that differ in more than the objective, and how a trial's model is built.

A variant that is an objective trains the reference networks (:class:`Standard`); one that is a model is a
subclass of :class:`Model`.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Generator, Tensor

from rdbench.errors import SpecError
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.numerics.seeding import generator
from rdbench.registry import variants
from rdbench.spec.plan import Trial
from rdbench.spec.sweep import ModelSpec
from rdbench.vae import networks
from rdbench.vae.networks import GaussianNetwork, Shape


class Terms(NamedTuple):
    """The results of one pass through a model.

    Attributes:
        reconstruction: the decoder's mean, shaped as the images.
        posterior: what ``encode`` returned; by default mean and log variance, each (batch, latent).
        latents: the sample of q(z|x) that was decoded, (batch, latent).
        sse: squared error of each image, summed over its values, (batch,).
        rate: of each image in nats, (batch,): KL(q(z|x) || p(z)), or an unbiased estimate of it.
        output: what ``decode`` returned; by default the reconstruction.
    """

    reconstruction: Tensor
    posterior: tuple[Tensor, ...]
    latents: Tensor
    sse: Tensor
    rate: Tensor
    output: Any


@dataclass(frozen=True)
class About:
    """What a model is built for.

    Attributes:
        shape: (channels, height, width) of an image.
        latent: size of a latent.
        beta: the trial's.
        train_images: their number.
        spec: the sweep's networks.
        seed: the trial's.
    """

    shape: Shape
    latent: int
    beta: float
    train_images: int
    spec: ModelSpec
    seed: int

    @property
    def n(self) -> int:
        """Values in an image."""
        return math.prod(self.shape)

    def network(self, outputs: int = 1) -> GaussianNetwork:
        """Return the sweep's encoder and decoder, with the initial weights of every variant of this seed.

        The decoder gives ``outputs`` values for each value of an image, as so many times the channels: 2 for
        a mean and a variance.
        """
        return networks.build(self.spec, self.shape, generator(self.seed, "init"), outputs)


class Model(torch.nn.Module):
    """A VAE: by default the reference networks, a standard normal prior, and sse + beta rate as its loss.

    A variant overrides what differs. All methods take batches; a latent has ``about.latent`` values.
    What changes in training must be a parameter, a registered buffer or in torch's ``get_extra_state``:
    checkpoints keep nothing else.

    Attributes:
        gaussian: the posterior is a diagonal Gaussian and the prior standard normal, as the metrics ``iwae``
            and ``latents`` need. Set it to False where that is not so.
        rate_free: the model is deterministic: rate and ELBO have no meaning.
        encodes: it has an encoder. Without, its posterior is the prior, its rate 0.
        decodes: ``decode`` can be called on any latents, as pictures of prior samples need.
        capturable: a training step is the same work on the device each time. ``forward`` and ``loss`` read
            no tensor on the host (``item``, ``if``), make none from numbers (``torch.tensor``), draw nothing
            from torch's global generators, and depend on no plain attribute that changes. Then a GPU records
            the step once and replays it, and trains several trials side by side. Write ``capturable = True``
            in the class that is declared as the variant; ``rdbench check`` tells whether it holds.
    """

    gaussian = True
    rate_free = False
    encodes = True
    decodes = True
    capturable = False

    def __init__(self, about: About) -> None:
        super().__init__()
        self.about = about
        self.network = about.network()

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the posterior q(z|x): mean and log variance, each (batch, latent)."""
        return self.network.encode(images)

    def sample(self, posterior: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Return latents from q(z|x), given standard normal ``noise``; both (batch, latent)."""
        mean, log_var = posterior
        return mean + noise * (log_var / 2).exp()

    def decode(self, latents: Tensor) -> Any:
        """Return the decoder's output: its mean, (batch, channels, height, width), or more than that."""
        return self.network.decode(latents)

    def mean(self, output: Any) -> Tensor:
        """Return the decoder's mean, shaped as images, from what :meth:`decode` returned."""
        mean: Tensor = output
        return mean

    def rate(self, posterior: tuple[Tensor, ...], latents: Tensor) -> Tensor:
        """Return KL(q(z|x) || p(z)) of each image in nats, (batch,); an unbiased estimate will do."""
        return kl_standard_normal(*posterior)

    def prior(self, count: int, generator: Generator) -> Tensor:
        """Return latents from p(z), (count, latent), on the generator's device."""
        return torch.randn(count, self.about.latent, generator=generator, device=generator.device)

    def log_prior(self, latents: Tensor) -> Tensor:
        """Return ln p(z) in nats, (batch,), which the metric ``ais`` differentiates.

        A class that replaces :meth:`prior` replaces this too, or ``ais`` is not defined for it.
        """
        constant = latents.shape[1] / 2 * math.log(2 * math.pi)
        return -latents.square().sum(1) / 2 - constant

    def distortion(self, images: Tensor, terms: Terms) -> Tensor | None:
        """Return -ln p(x|z) of each image in nats, (batch,), if the model has its own likelihood."""
        return None

    def loss(self, images: Tensor, terms: Terms, beta: float) -> Tensor:
        """Return what training minimises, of each image, (batch,)."""
        distortion = self.distortion(images, terms)
        return (terms.sse if distortion is None else distortion) + beta * terms.rate

    def before_step(self) -> None:
        """Do the host's part of a training step, which is not captured: it is called before each one.

        Such as to draw a number and ``fill_`` a buffer with it, which ``forward`` then reads.
        """

    def solve(self, images: Callable[[], Iterable[Tensor]]) -> str | None:
        """Set the weights of a variant declared with closed_form=True, which is not trained.

        Args:
            images: gives a pass over the training images each time it is called: batches (batch, channels,
                height, width), float32, on the model's device, as the trial's protocol measures them.

        Returns:
            Why there is no solution; None if there is one.
        """
        raise NotImplementedError(
            f"{type(self).__name__} is declared with closed_form=True: give it a method solve(self, images),"
            " which sets the weights"
        )

    def forward(self, images: Tensor, noise: Tensor) -> Terms:
        """Encode, sample with ``noise`` (batch, latent), decode."""
        posterior = self.encode(images)
        latents = self.sample(posterior, noise)
        output = self.decode(latents)
        mean = self.mean(output)
        sse = (images - mean).square().flatten(1).sum(1)
        return Terms(mean, posterior, latents, sse, self.rate(posterior, latents), output)


def has_density(model: Model) -> bool:
    """Tell whether ``log_prior`` is the density of what ``prior`` draws, as far as its class shows."""
    return type(model).prior is Model.prior or type(model).log_prior is not Model.log_prior


class Standard(Model):
    """The reference network as a model, trained on an objective (sse, rate, beta, n) -> loss, if any."""

    capturable = True

    def __init__(
        self, about: About, network: GaussianNetwork, objective: Callable[..., Tensor] | None = None
    ) -> None:
        torch.nn.Module.__init__(self)
        self.about = about
        self.network = network
        self.objective = objective

    def loss(self, images: Tensor, terms: Terms, beta: float) -> Tensor:
        """Return the objective of each image, (batch,)."""
        if self.objective is None:
            return super().loss(images, terms, beta)
        # A tensor: the objectives of old were given one. Filled on the device, as a captured step has to.
        return self.objective(terms.sse, terms.rate, terms.sse.new_full((), beta), self.about.n)


def about(trial: Trial, shape: Shape, train_images: int) -> About:
    """Return what a trial's model is built for."""
    return About(shape, trial.model.latent, trial.beta, train_images, trial.model, trial.seed)


def build(trial: Trial, shape: Shape, train_images: int) -> Model:
    """Return the trial's model, untrained; its author's random numbers follow from the trial's seed."""
    variant = variants.get(trial.variant)
    context = about(trial, shape, train_images)
    if variant.declaration.kind == "objective":
        objective = functools.partial(variant.objective, **trial.variant.options)
        return Standard(context, context.network(), objective)
    if variant.declaration.kind == "trial":
        return Standard(context, context.network())
    with seeded(trial, torch.device("cpu")):
        model: Model = variant.target(context, **trial.variant.options)
    return model


@contextlib.contextmanager
def seeded(trial: Trial, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which only authors of variants use, for a trial; then restore them."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(generator(trial.seed, "variant").initial_seed())
        yield


def stored(model: Model) -> torch.nn.Module:
    """Return the part of a model whose values are kept, in checkpoints and with the results."""
    return model.network if isinstance(model, Standard) else model


def to_bytes(model: Model) -> bytes:
    """Return a model's values in the safetensors format."""
    # Copies: the format refuses tensors that share memory, as those of a module with two names do.
    state = stored(model).state_dict()
    return safetensors.torch.save({name: value.cpu().contiguous().clone() for name, value in state.items()})


def from_bytes(trial: Trial, shape: Shape, train_images: int, content: bytes, device: torch.device) -> Model:
    """Return the model that :func:`to_bytes` wrote, in evaluation mode.

    ValueError: the bytes are not those of such a model. SpecError: only its trial function could build it.
    """
    if variants.get(trial.variant).declaration.kind == "trial":
        raise SpecError(
            f"variant {trial.variant.name} builds its model within its trial function, so its metrics are"
            " measured there only: name them in the sweep file and run the sweep again"
        )
    model = build(trial, shape, train_images)
    try:
        stored(model).load_state_dict(safetensors.torch.load(content))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"not the weights of this model ({str(error).splitlines()[0]})") from None
    return model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]
