"""Opens a feature network of one's own: code or TorchScript to vectors of images, and the hash of both."""

import functools
import hashlib
import importlib
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdbench.datasets.base import Shape
from rdbench.datasets.opened import watched
from rdbench.datasets.write import sha256
from rdbench.errors import SpecError
from rdbench.metrics.features import Features
from rdbench.metrics.features.own import OwnFeatures
from rdbench.numerics.precision import exact_float32
from rdbench.registry import plugins
from rdbench.text import in_words

BATCH = 128
PROBE = 2  # images that a network is tried on

SCALES = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of each channel that ``normalize`` subtracts and divides by."""

Network = Callable[[Tensor], Any]


def load(own: OwnFeatures, shape: Shape, device: torch.device) -> Features:
    """Return a feature network, opened once a process and tried on blank images of a shape.

    Raises SpecError: it cannot be opened; ValueError: it gives no vectors. Both are one line.
    """
    return _load(own, tuple(shape), device)


@functools.lru_cache(maxsize=8)
def _load(own: OwnFeatures, shape: Shape, device: torch.device) -> Features:
    if own.missing:
        raise SpecError(own.missing)
    if own.is_script:  # here, as what its import opens is no weights; it takes longer than torch's
        importlib.import_module("torchvision.transforms.v2.functional")
    with watched() as opened:
        network = _script(own, device) if own.is_script else _own_code(own, device)
        size = _vectors(own, network, torch.zeros(PROBE, *shape, device=device)).shape[1]

    def extract(images: Tensor) -> Tensor:
        return _vectors(own, network, images.to(device).float() / 255)

    digest = hashlib.sha256(own.identity.encode())
    modules = _modules(own, network)
    for module in modules:
        _add_weights(digest, module)
    if not modules:  # the weights are in files that it opened, or nowhere
        for path in sorted(opened):
            if Path(path).is_file():
                digest.update(sha256(Path(path)).encode())
    return Features(own.name, size, digest.hexdigest(), extract, {}, BATCH)


def _modules(own: OwnFeatures, network: Network) -> list[nn.Module]:
    """Return the modules that a network computes with: itself, or what a function finds in its file."""
    if own.is_script:
        return []  # its bytes are hashed
    if isinstance(network, nn.Module):
        return [network]
    seen = {**getattr(network, "__globals__", {}), **_closure(network)}
    return [seen[name] for name in sorted(seen) if isinstance(seen[name], nn.Module)]


def _closure(network: Network) -> dict[str, Any]:
    return dict(inspect.getclosurevars(network).nonlocals) if inspect.isfunction(network) else {}


def _add_weights(digest: Any, module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _own_code(own: OwnFeatures, device: torch.device) -> Network:
    """Return what maps images to vectors: a function of them, or what a function or class makes."""
    plugin = own.plugin
    thing = plugins.runnable(plugin)
    try:
        network = _called(thing, own.options)
    except (Exception, SystemExit) as error:
        raise SpecError(plugin.mistake(error)) from None
    if isinstance(network, nn.Module):
        return network.eval().requires_grad_(False).to(device)
    if not callable(network):
        what = "nothing (None)" if network is None else f"a {type(network).__name__}"
        raise SpecError(
            f"{plugin.line}: {plugin.symbol} gives {what}, which does not map images to vectors; write a"
            " function of images, or one that returns a torch module"
        )
    made: Network = network
    return made


def _called(thing: Any, options: dict[str, Any]) -> Any:
    if isinstance(thing, nn.Module) or not (inspect.isfunction(thing) or inspect.isclass(thing)):
        return thing
    parameters = inspect.signature(thing).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes_images = any(one.kind in positional and one.default is one.empty for one in parameters)
    if inspect.isfunction(thing) and takes_images:
        return functools.wraps(thing)(functools.partial(thing, **options)) if options else thing
    return thing(**options)


def _script(own: OwnFeatures, device: torch.device) -> Network:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
        try:
            open_script: Any = torch.jit.load
            with Path(own.source).open("rb") as file:
                module = open_script(file, map_location=device).eval()
        except Exception as error:  # torch raises nearly any type, over many lines
            raise SpecError(f"{own.source} holds no TorchScript module: {in_words(error)[:200]}") from None
    options = own.options
    scale = SCALES[options["normalize"]]
    mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in scale)

    def network(images: Tensor) -> Any:
        if options["channels"] == 3:
            images = images.expand(-1, 3, -1, -1)
        if options["resize"]:
            from torchvision.transforms.v2 import functional as transforms

            images = transforms.resize(images, [options["resize"]] * 2, antialias=True)
        channels = images.shape[1]
        # Unoptimized: what the executor fuses after its first calls would not repeat them bit for bit.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module((images - mean[:, :channels]) / deviation[:, :channels])

    return network


def _vectors(own: OwnFeatures, network: Network, images: Tensor) -> Tensor:
    """Return a vector of each image, float32 (batch, size). Raises ValueError, in a line."""
    where = Path(own.source).name if own.is_script else f"{own.plugin.path.name}:{own.plugin.node.lineno}"
    try:
        with torch.no_grad(), exact_float32():
            given = network(images)
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise
        shape = "x".join(map(str, images.shape))
        line = f"{where}: {_last(error)}" if own.is_script else own.plugin.mistake(error)
        raise ValueError(f"{line} (of images {shape})") from None
    try:
        vectors = given if isinstance(given, Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        what = "nothing (None)" if given is None else f"a {type(given).__name__}"
        raise ValueError(f"{where}: {own.name} gives {what}; it must give a vector of each image") from None
    vectors = vectors.detach().flatten(1) if vectors.ndim > 1 else vectors.detach()
    if vectors.ndim != 2 or len(vectors) != len(images) or not vectors.is_floating_point():
        kind = str(given.dtype).removeprefix("torch.") if hasattr(given, "dtype") else "values"
        raise ValueError(
            f"{where}: {own.name} gives {kind} of shape {tuple(vectors.shape)} for {len(images)} images; it"
            " must give a vector of floats of each, (images, size)"
        )
    if not bool(vectors.isfinite().all()):
        raise ValueError(f"{where}: {own.name} gives a feature that is not finite")
    return vectors.float().to(images.device)


def _last(error: BaseException) -> str:
    """Return the last line of what TorchScript says, which is the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
