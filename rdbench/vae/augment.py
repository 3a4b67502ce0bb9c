"""Training augmentation of whole batches, on the device where the images are.

Each kind is what torchvision does to one image at a time (``RandomRotation``, ``RandomResizedCrop``,
``RandomHorizontalFlip`` on float tensors), so results compare with recipes written for it. :func:`draw` makes
the random parameters of many images from a generator, one float32 row an image (:data:`COLUMNS`);
:func:`apply` uses them.

Source of the recipes: Kim & Lee, "Beta-Sigma VAE", ICPR 2024, and the code released with it.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

if TYPE_CHECKING:
    from rdbench.datasets import Augmentation

COLUMNS: dict[str, tuple[str, ...]] = {
    "none": (),
    "flip": ("flip",),  # 1 where the image is mirrored
    "rotate_crop": ("degrees", "top", "left", "height", "width"),  # counter-clockwise; the box in pixels
}
FLIP_PROBABILITY = 0.5
DEGREES = (-10.0, 10.0)
SCALE = (0.9, 1.0)  # of the crop's area to the image's
RATIO = (0.9, 1.1)  # of the crop's width to its height
Bounds = tuple[float, float]
ATTEMPTS = 10  # torchvision's: then the crop is the largest central one


def draw(kind: "Augmentation", count: int, height: int, width: int, generator: Generator) -> Tensor:
    """Return random parameters with torchvision's distributions, float32 (count, len(COLUMNS[kind])).

    Of images of a height and width in pixels; ``generator`` is the only source of randomness, and the
    parameters are on its device. ValueError: no such kind.
    """
    if kind == "none":
        return torch.empty(count, 0, device=generator.device)
    if kind == "flip":
        return (_uniform((count, 1), (0.0, 1.0), generator) < FLIP_PROBABILITY).float()
    if kind == "rotate_crop":
        degrees = _uniform((count,), DEGREES, generator)
        return torch.stack([degrees, *draw_crop(count, height, width, SCALE, RATIO, generator)], dim=1)
    raise ValueError(f"no augmentation named {kind!r}; there are {', '.join(COLUMNS)}")


def apply(kind: "Augmentation", images: Tensor, parameters: Tensor) -> Tensor:
    """Return the images augmented by parameters of :func:`draw`; ``none`` returns its argument.

    ``images`` are float32 or float64 (batch, channels, height, width), values in [0, 1]; ``parameters``
    (batch, len(COLUMNS[kind])) are on their device. ValueError: no such kind, or parameters of another shape.
    """
    if kind not in COLUMNS:
        raise ValueError(f"no augmentation named {kind!r}; there are {', '.join(COLUMNS)}")
    expected, given = (len(images), len(COLUMNS[kind])), tuple(parameters.shape)
    if given != expected:
        raise ValueError(
            f"augmentation {kind!r} of {len(images)} images takes parameters {expected}, not {given}"
        )
    if kind == "none":
        return images
    if kind == "flip":
        return torch.where(parameters[:, :, None, None] > 0, images.flip(-1), images)
    degrees, top, left, height, width = parameters.unbind(1)
    size = (images.shape[-2], images.shape[-1])
    return resized_crop(rotate(images, degrees), top, left, height, width, size)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image about its centre: nearest pixel, same size, zeros where there was nothing.

    As ``torchvision.transforms.functional.rotate`` on a float tensor, with its arithmetic and its order
    of operations: a pixel half way between two would otherwise come from the other one. ``images`` are
    float32 or float64 (batch, channels, height, width), ``degrees`` (batch,), counter-clockwise.
    """
    height, width = images.shape[-2:]
    # In float64, as Python's own functions: an angle rounded once more would move pixels near a border.
    radians = torch.deg2rad(degrees.double())
    cos, sin = (value.to(images.dtype)[:, None, None] for value in (radians.cos(), radians.sin()))
    like: dict[str, Any] = {"dtype": images.dtype, "device": images.device}
    x = torch.linspace((1 - width) / 2, (width - 1) / 2, width, **like)
    y = torch.linspace((1 - height) / 2, (height - 1) / 2, height, **like)[:, None]
    half_width, half_height = 0.5 * width, 0.5 * height
    source_x = x * (cos / half_width) + y * (-sin / half_width)
    source_y = x * (sin / half_height) + y * (cos / half_height)
    grid = torch.stack([source_x, source_y], dim=-1)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def resized_crop(
    images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut a box out of each image and scale it to ``size``: bilinear, antialiased where it shrinks.

    As ``torchvision.transforms.functional.resized_crop`` on a float tensor. The resampling is separable: two
    batched matrix products, with the weights of each image's rows and columns. On a GPU that is allowed TF32
    they are as exact as that is (about 5e-4 of the pixel).

    ``images`` are float32 or float64 (batch, channels, H, W). Each box lies inside its image: its first row
    is ``top``, its first column ``left``, it has ``height`` rows and ``width`` columns, >= 1, all (batch,).
    ``size`` is the height and width of the result.
    """
    rows = _resampling_weights(top, height, images.shape[-2], size[0]).to(images.dtype)
    columns = _resampling_weights(left, width, images.shape[-1], size[1]).to(images.dtype)
    with torch.autocast(images.device.type, enabled=False):  # bf16 would cost the pixels' last bits
        return rows[:, None] @ images @ columns[:, None].mT


def _resampling_weights(start: Tensor, length: Tensor, source: int, target: int) -> Tensor:
    """Return the weights (batch, target, source) that resample ``length`` pixels from ``start`` on.

    Pixel i of the result is centred on c = (i + 1/2) length/target in the box. It sees the pixels around
    c under a triangle of half-width max(length/target, 1), cut off at the box and normalised.
    """
    start, scale = start.float()[:, None, None], (length.float() / target)[:, None, None]
    pixel = torch.arange(source, device=start.device) - start
    centre = (torch.arange(target, device=start.device)[:, None] + 0.5) * scale
    weights = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel >= 0) & (pixel < length[:, None, None]))
    return weights / weights.sum(-1, keepdim=True)


def _uniform(shape: tuple[int, ...], bounds: Bounds, generator: Generator) -> Tensor:
    return torch.empty(shape, device=generator.device).uniform_(*bounds, generator=generator)


def draw_crop(
    count: int, height: int, width: int, scale: Bounds, ratio: Bounds, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, height and width of random crops, each float32 (count,) of whole numbers.

    As ``torchvision.transforms.RandomResizedCrop`` draws them: an area uniform in ``scale`` (of the image's)
    and a log-uniform ``ratio`` (of width to height), rounded to pixels and tried again while the box does not
    fit; then a uniform place. After ten misses the largest central crop within ``ratio``.
    """
    # All ten attempts at once: a loop until every box fits would wait for the device each time.
    area = height * width * _uniform((ATTEMPTS, count), scale, generator).double()
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    aspect = _uniform((ATTEMPTS, count), log_ratio, generator).exp().double()
    widths, heights = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.int().argmax(0, keepdim=True)
    fitted = fits.any(0)

    central_height, central_width = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
    box_height = torch.where(fitted, heights.gather(0, first)[0], central_height)
    box_width = torch.where(fitted, widths.gather(0, first)[0], central_width)

    # A float32 number below 1 times a whole number stays below it in float64: the floor is never one too far.
    place = _uniform((2, count), (0.0, 1.0), generator).double()
    top = torch.where(fitted, (place[0] * (height - box_height + 1)).floor(), (height - central_height) // 2)
    left = torch.where(fitted, (place[1] * (width - box_width + 1)).floor(), (width - central_width) // 2)
    return top.float(), left.float(), box_height.float(), box_width.float()
