"""A network that was trained elsewhere, wrapped as a :class:`rdbench.Model`, and tried before it is measured.

These forms are taken: a :class:`rdbench.Model`; encoder and decoder, apart or as the methods ``encode`` and
``decode`` of one module; a decoder alone, as the pair (None, decode); and a module whose forward pass gives
reconstruction, mean and log variance. Each is run on a few test images first, so that a network of other
shapes or another range of values is one line.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rdbench.errors import SpecError, UserError
from rdbench.numerics.likelihood import kl_standard_normal
from rdbench.text import in_words
from rdbench.vae.models import About, Model, Terms

Network = torch.nn.Module | tuple[Callable[..., Any] | None, Callable[..., Any]]
"""A module, or (encode, decode), where encode may be None."""

FORMS = (
    "a module whose forward(images) gives (reconstruction, mean, log_var), or a pair (encode, decode) with"
    " encode(images) giving (mean, log_var) and decode(latents) the reconstruction"
)
OUT_OF_RANGE = 4.0
"""A range of values is refused where another fits the images so many times better in mean squared error."""


@dataclass(frozen=True)
class ValueRange:
    """The range in which a network has images, where rdbench has [0, 1]."""

    low: float = 0.0
    high: float = 1.0

    def to_network(self, images: Tensor) -> Tensor:
        """Return images of [0, 1] in this range."""
        return images if (self.low, self.high) == (0, 1) else self.low + (self.high - self.low) * images

    def from_network(self, images: Tensor) -> Tensor:
        """Return images of this range in [0, 1]."""
        return images if (self.low, self.high) == (0, 1) else (images - self.low) / (self.high - self.low)


class Apart(Model):
    """An encoder and a decoder; latents of any shape are flattened for rdbench."""

    def __init__(self, about: About, pair: Sequence[Callable[..., Any]], values: ValueRange) -> None:
        torch.nn.Module.__init__(self)
        self.about, self.values = about, values
        self.owners = torch.nn.ModuleList(modules_of(tuple(pair)))
        self.pair = tuple(pair)
        self.latent_shape: tuple[int, ...] = (about.latent,)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (batch, latent)."""
        mean, log_var = _posterior(self.pair[0](self.values.to_network(images)), len(images), "encode")
        self.latent_shape = tuple(mean.shape[1:])
        return mean.flatten(1), log_var.flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, in [0, 1]."""
        output = self.pair[1](latents.unflatten(1, self.latent_shape))
        return self.values.from_network(_images(output, (len(latents), *self.about.shape), "decode"))


class DecoderAlone(Model):
    """A decoder of standard normal latents that has no encoder, such as a GAN's generator.

    Its posterior is the prior: what it is measured to send is nothing, at the error of unrelated samples.
    """

    encodes = False

    def __init__(self, about: About, decode: Callable[..., Any], values: ValueRange) -> None:
        torch.nn.Module.__init__(self)
        self.about, self.values, self.decoder = about, values, (decode,)
        self.owners = torch.nn.ModuleList(modules_of(self.decoder))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the prior for every image, each (batch, latent)."""
        zeros = torch.zeros(len(images), self.about.latent, device=images.device)
        return zeros, zeros

    def decode(self, latents: Tensor) -> Tensor:
        """Return the decoder's mean, in [0, 1]."""
        output = self.decoder[0](latents)
        return self.values.from_network(_images(output, (len(latents), *self.about.shape), "decode"))


class Whole(Model):
    """A module whose forward pass draws its own latents: reconstruction, mean and log variance in one."""

    decodes = False

    def __init__(self, about: About, module: torch.nn.Module, values: ValueRange) -> None:
        torch.nn.Module.__init__(self)
        self.about, self.module, self.values = about, module, values

    def forward(self, images: Tensor, noise: Tensor) -> Terms:
        """Run the module; it draws from torch's global generator, and ``noise`` is not used."""
        output = self.module(self.values.to_network(images))
        if not isinstance(output, tuple | list) or len(output) != 3:
            raise SpecError(f"forward returned {_kind(output)}; write {FORMS}")
        mean, log_var = (part.flatten(1) for part in _posterior(output[1:], len(images), "forward"))
        reconstruction = self.values.from_network(_images(output[0], images.shape, "forward"))
        sse = (images - reconstruction).square().flatten(1).sum(1)
        unknown = torch.full_like(mean, torch.nan)  # the latents that were decoded
        rate = kl_standard_normal(mean, log_var)
        return Terms(reconstruction, (mean, log_var), unknown, sse, rate, reconstruction)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each (batch, latent)."""
        mean, log_var = self(images, torch.empty(0)).posterior
        return mean, log_var


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _posterior(output: Any, count: int, method: str) -> tuple[Tensor, Tensor]:
    """Return (mean, log variance), which must be tensors of one shape with a row an image."""
    pair = tuple(output) if isinstance(output, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        raise SpecError(f"{method} returned {_kind(output)} in place of (mean, log_var); write {FORMS}")
    shapes = [tuple(part.shape) for part in pair]
    if shapes[0] != shapes[1] or len(shapes[0]) < 2 or shapes[0][0] != count:
        raise SpecError(
            f"{method}: mean and log_var have shapes {shapes[0]} and {shapes[1]} for {count} images; both"
            " must be (images, latent)"
        )
    return pair[0], pair[1]


def _images(output: Any, shape: Sequence[int], method: str) -> Tensor:
    if not isinstance(output, Tensor) or tuple(output.shape) != tuple(shape):
        raise SpecError(
            f"{method}: the reconstruction is {_kind(output)}, for images of shape {tuple(shape)}; return it"
            " in the shape of the images, (images, channels, height, width)"
        )
    return output


def modules_of(network: Any) -> list[torch.nn.Module]:
    """Return the modules of a network: itself, or those of its pair.

    Of a method it is the module whose method it is; of a function those of its closure.
    """
    parts = network if isinstance(network, tuple | list) else (network,)
    owners: list[Any] = []
    for part in parts:
        cells = getattr(part, "__closure__", None) or ()
        owners += [part, getattr(part, "__self__", None), *(cell.cell_contents for cell in cells)]
    modules = {id(owner): owner for owner in owners if isinstance(owner, torch.nn.Module)}
    return list(modules.values())


@contextmanager
def evaluating(networks: Sequence[Network | Model]) -> Iterator[None]:
    """Have networks in evaluation mode, and restore the mode of each part afterwards."""
    parts = [part for network in networks for owner in modules_of(network) for part in owner.modules()]
    before = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


@torch.no_grad()
def wrap(network: Network, about: About, images: Tensor, values: ValueRange) -> Model:
    """Return a network as a model, tried on ``images`` (batch, channels, height, width) in [0, 1].

    The network is in evaluation mode, on the device of the images. ``about.latent`` is that of the network
    in the model returned; the one given does not matter.

    Raises:
        SpecError: it is in none of the :data:`FORMS`, does not fit the images, or has them in another range.
    """
    if isinstance(network, Model):
        return network
    model = _form(network, about, images, values)
    mean, log_var = (part.detach() for part in _run(lambda: model.encode(images), images))
    model.about = About(about.shape, mean.shape[1], about.beta, about.train_images, about.spec, about.seed)
    terms = _reconstructed(model, images, 0)
    if not all(bool(part.isfinite().all()) for part in (terms.reconstruction, mean, log_var)):
        raise SpecError("the network's output is not finite on the test images; look at its weights")
    if float(log_var.min()) > 0.01:
        raise SpecError(
            "log_var is above 0 for every image and latent, a posterior wider than the prior: probably a"
            " standard deviation; return the logarithm of the variance"
        )
    if not model.decodes:
        again = _reconstructed(model, images, 1).reconstruction
        if torch.equal(terms.reconstruction, again) and float(terms.rate.mean()) > 0:
            raise SpecError(
                "forward decodes the posterior's mean in evaluation mode, whose squared error is not that of"
                " a sample; give the pair (encode, decode), from which rdbench draws the sample"
            )
    return model


def _form(network: Network, about: About, images: Tensor, values: ValueRange) -> Model:
    if isinstance(network, tuple | list):
        if len(network) != 2 or not callable(network[1]) or not (network[0] is None or callable(network[0])):
            raise SpecError(f"{_kind(network)} is no network; give {FORMS}")
        if network[0] is None:
            return DecoderAlone(about, network[1], values)
        return Apart(about, (network[0], network[1]), values)
    if not isinstance(network, torch.nn.Module):
        raise SpecError(f"{type(network).__name__} is no network; give {FORMS}")
    encode, decode = getattr(network, "encode", None), getattr(network, "decode", None)
    if callable(encode) and callable(decode):
        apart = Apart(about, (encode, decode), values)
        try:  # methods of these names may mean other things
            with torch.no_grad():
                apart(images, torch.zeros_like(apart.encode(images)[0]))
        except Exception:
            return Whole(about, network, values)
        return apart
    return Whole(about, network, values)


def _run(function: Callable[[], Any], images: Tensor) -> Any:
    try:
        with torch.no_grad():
            return function()
    except UserError:
        raise
    except Exception as error:  # the code is another's
        shape = "x".join(map(str, images.shape[1:]))
        raise SpecError(
            f"the network does not take images of {shape}, a batch of shape {tuple(images.shape)}, float32:"
            f" {in_words(error)}; give {FORMS}, for such images"
        ) from None


def _reconstructed(model: Model, images: Tensor, seed: int) -> Terms:
    """Return one pass through a model, with noise of this seed."""
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        noise = torch.randn(len(images), model.about.latent, device=images.device)
        terms: Terms = _run(lambda: model(images, noise), images)
    return terms


@torch.no_grad()
def check_values(model: Model, network: Network, images: Tensor) -> None:
    """Refuse a network that has images in another range of values than it was given them in.

    SpecError: its reconstructions fit the ``images`` several times better, and better than their mean image
    does, if it is taken to work in [-1, 1] or [0, 255], or its output to be logits.
    """
    if isinstance(network, Model) or not isinstance(model, Apart | Whole):
        return
    values = model.values
    reconstruction = _reconstructed(model, images, 0).reconstruction
    error = _mse(images, reconstruction)
    others = {"its output were logits; apply a sigmoid to it": _mse(images, reconstruction.sigmoid())}
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if (low, high) != (values.low, values.high):
            model.values = ValueRange(low, high)
            fits = _mse(images, _reconstructed(model, images, 0).reconstruction)
            others[f"it worked in [{low:g}, {high:g}]; give value_range=({low:g}, {high:g})"] = fits
    model.values = values
    told, best = min(others.items(), key=lambda item: item[1])
    if best < error / OUT_OF_RANGE and best < _mse(images, images.mean(0, keepdim=True)):
        raise SpecError(
            f"its reconstructions have a mean squared error of {error:.3g} in [{values.low:g},"
            f" {values.high:g}], and of {best:.3g} if {told}"
        )


def _mse(images: Tensor, reconstruction: Tensor) -> float:
    return float((images - reconstruction).double().square().mean())


def digest(network: Network, model: Model, images: Tensor) -> str:
    """Return 16 hexadecimal digits that tell a network from others: of its weights and range of values.

    Of functions, whose weights are not seen, they are of what they answer for some images.
    """
    code = hashlib.sha256(repr(getattr(model, "values", None)).encode())
    states = [module.state_dict() for module in modules_of(network)]
    if not any(states):
        states = [{"output": _reconstructed(model, images, 0).reconstruction}]
    for state in states:
        for name, value in state.items():
            if isinstance(value, Tensor):
                code.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
                raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                code.update(raw.numpy().tobytes())
    return code.hexdigest()[:16]
