"""The features that FID is defined by: Inception's last pooling layer, after one of two ways of resizing.

How images are brought to 299x299 moves FID by whole points (Parmar, Zhang & Zhu, "On aliased resizing and
surprising subtleties in GAN evaluation", CVPR 2022), so both ways are clean-fid's functions, image by image:
``clean`` is Pillow's antialiased bicubic filter in float32, ``legacy_pytorch`` what pytorch-fid did, bilinear
without antialiasing. Each mode has the weights that clean-fid uses with it, in a local file.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rdbench.machine import usable_cores
from rdbench.metrics.features import Features
from rdbench.metrics.features.weights import Mode, WeightsError, identify
from rdbench.numerics.precision import exact_float32

SIDE = 299  # of the images that the network takes
BATCH = 32  # takes 450 MB on a CPU

Resizer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Network = Callable[[Tensor], Tensor]


def load(mode: Mode, weights: Path, device: torch.device) -> Features:
    """Return Inception's features, computed on a device.

    Args:
        mode: the resizing, and the kind of weights.
        weights: a TorchScript file for ``clean``, a state dict for ``legacy_pytorch``, published or not.
        device: where to compute.

    Raises WeightsError: the file cannot be read or holds no such network.
    """
    digest, published = identify(mode, weights)
    open_network = {"clean": _torchscript, "legacy_pytorch": _state_dict}[mode]
    try:
        network = open_network(weights, device)
        size = _size(network, device)
    except Exception as error:  # torch raises nearly any type, over many lines
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(f"{weights} holds no Inception network for mode {mode!r}: {reason}") from None
    resize = _resizer(mode)

    def extract(images: Tensor) -> Tensor:
        # A GPU would wait for a single core; on a CPU the network takes most of the time, and others' cores.
        threads = usable_cores() if device.type == "cuda" else torch.get_num_threads()
        with torch.no_grad(), exact_float32():
            return network(_resized(images, resize, threads).to(device).expand(-1, 3, -1, -1))

    settings = {"resizing": mode, "weights": "published" if published else "not the published ones"}
    return Features("inception", size, digest, extract, settings, BATCH)


def _torchscript(weights: Path, device: torch.device) -> Network:
    """Return the network as clean-fid calls it: pixels of 0 to 255 (batch, 3, 299, 299) -> (batch, size)."""
    # By its content, as torch opens no file whose name is not UTF-8.
    with warnings.catch_warnings(), weights.open("rb") as file:
        # Deprecated in favour of formats that these weights are not published in.
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", FutureWarning)
        open_script: Any = torch.jit.load
        layers = open_script(file, map_location=device).eval().layers

    def network(pixels: Tensor) -> Tensor:
        # Unoptimized: what the executor fuses after its first calls would not repeat them bit for bit.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            features: Tensor = layers.forward((pixels - 128) / 128)
        return features.view(len(pixels), -1)

    return network


def _state_dict(weights: Path, device: torch.device) -> Network:
    """Return pytorch-fid's network: pixels of 0 to 255 (batch, 3, 299, 299) -> (batch, 2048).

    It is torchvision's with the blocks that clean-fid patches, whose own function would download the weights.
    """
    from cleanfid import inception_pytorch as patched  # type: ignore[import-untyped]
    from torchvision.models import inception_v3

    inception = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    inception.Mixed_5b = patched.FIDInceptionA(192, pool_features=32)
    inception.Mixed_5c = patched.FIDInceptionA(256, pool_features=64)
    inception.Mixed_5d = patched.FIDInceptionA(288, pool_features=64)
    inception.Mixed_6b = patched.FIDInceptionC(768, channels_7x7=128)
    inception.Mixed_6c = patched.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6d = patched.FIDInceptionC(768, channels_7x7=160)
    inception.Mixed_6e = patched.FIDInceptionC(768, channels_7x7=192)
    inception.Mixed_7b = patched.FIDInceptionE_1(1280)
    inception.Mixed_7c = patched.FIDInceptionE_2(2048)
    inception.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    inception.fc = nn.Identity()  # the layer before it is the feature
    inception.eval().requires_grad_(False).to(device)

    def network(pixels: Tensor) -> Tensor:
        features: Tensor = inception(2 * (pixels / 255) - 1)
        return features

    return network


def _size(network: Network, device: torch.device) -> int:
    with torch.no_grad():
        features = network(torch.zeros(1, 3, SIDE, SIDE, device=device))
    if features.dtype != torch.float32:
        raise TypeError(f"its features are {features.dtype}, not float32")
    return features.shape[1]


def _resizer(mode: Mode) -> Resizer:
    """Return clean-fid's resizing of one image, (height, width, 3) -> (299, 299, 3) of 0 to 255."""
    from cleanfid.resize import build_resizer  # type: ignore[import-untyped]

    with warnings.catch_warnings():  # it turns all warnings off, for the whole process
        resize: Resizer = build_resizer(mode)
    return resize


def _resized(images: Tensor, resize: Resizer, threads: int = 1) -> Tensor:
    """Resize uint8 images (batch, 1 or 3, height, width) to float32 (.., 299, 299) of 0 to 255, on the CPU.

    Channels are resized separately, so three gray images may pass as one of colour: a third of the time.
    Pillow's filter, which releases Python's lock, takes most of it.
    """
    batch, channels, height, width = images.shape
    if images.dtype != torch.uint8 or channels not in (1, 3):
        raise ValueError(
            f"Inception takes uint8 images of 1 or 3 channels, but these are {images.dtype} of {channels}"
        )
    planes = images.cpu().numpy().reshape(-1, height, width)
    filling = np.zeros((-len(planes) % 3, height, width), np.uint8)
    trios = np.concatenate([planes, filling]).reshape(-1, 3, height, width)
    with ThreadPoolExecutor(threads) as pool:
        resized = np.stack(
            list(pool.map(lambda trio: resize(trio.transpose(1, 2, 0)).transpose(2, 0, 1), trios))
        )
    resized = resized.reshape(-1, SIDE, SIDE)[: len(planes)]
    return torch.from_numpy(resized.reshape(batch, channels, SIDE, SIDE))
