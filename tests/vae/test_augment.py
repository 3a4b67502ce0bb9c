"""Claims about augmentation; the independent truth is torchvision, one image at a time."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop, RandomRotation
from torchvision.transforms import functional as reference
from torchvision.transforms.v2 import functional as reference_v2

from rdbench.vae import augment

SIZES = [(28, 28), (32, 32), (17, 23), (8, 8)]
KINDS = ("none", "flip", "rotate_crop")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, channels: int, height: int, width: int) -> Tensor:
    """White noise: a pixel from a wrong place shows at once."""
    return torch.rand(count, channels, height, width, generator=generator(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rotation_is_torchvisions_pixel_for_pixel(height, width, channels):
    images = noise(200, channels, height, width)
    degrees = torch.empty(200).uniform_(-180, 180, generator=generator())
    degrees[:100] /= 18  # the range in use
    result = augment.rotate(images, degrees)
    for rotate in (reference.rotate, reference_v2.rotate):
        expected = torch.stack(
            [rotate(image, angle) for image, angle in zip(images, degrees.tolist(), strict=True)]
        )
        moved = (result != expected).any(1)
        # A coordinate's last bit may differ between machines, and half way between two pixels it decides.
        assert moved.sum() <= (half_way(degrees, height, width) & moved).sum() <= 3


def half_way(degrees: Tensor, height: int, width: int) -> Tensor:
    """Where the source of a pixel lies within 1e-4 pixels of half way between two, by geometry in float64."""
    angle = torch.deg2rad(degrees.double())[:, None, None]
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)[:, None]
    sources = (
        x * angle.cos() - y * angle.sin() + (width - 1) / 2,
        x * angle.sin() + y * angle.cos() + (height - 1) / 2,
    )
    return torch.stack([((source % 1) - 0.5).abs() < 1e-4 for source in sources]).any(0)


def test_a_rotation_by_zero_changes_nothing_and_by_ninety_turns_counter_clockwise():
    images = noise(2, 3, 9, 9)
    result = augment.rotate(images, torch.tensor([0.0, 90.0]))
    torch.testing.assert_close(result[0], images[0], rtol=0, atol=0)
    torch.testing.assert_close(result[1], images[1].rot90(1, (1, 2)), rtol=0, atol=0)


def random_boxes(count: int, height: int, width: int) -> list[Tensor]:
    """Any box that fits, down to one pixel, with the whole image among them."""
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(1, height + 1, count), rng.integers(1, width + 1, count)
    heights[0], widths[0] = height, width
    tops, lefts = rng.integers(0, height - heights + 1), rng.integers(0, width - widths + 1)
    return [torch.from_numpy(values).float() for values in (tops, lefts, heights, widths)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    "target", [None, (5, 9), (40, 13), (1, 1)], ids=["same", "smaller", "mixed", "point"]
)
def test_resized_crop_is_torchvisions_also_where_it_shrinks(height, width, channels, target):
    size = target or (height, width)
    images, boxes = noise(150, channels, height, width), random_boxes(150, height, width)
    result = augment.resized_crop(images, *boxes, size)
    assert result.shape == (150, channels, *size)
    for image, mine, *box in zip(images, result, *boxes, strict=True):
        top, left, box_height, box_width = (int(value) for value in box)
        expected = reference.resized_crop(image, top, left, box_height, box_width, list(size), antialias=True)
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6)


def test_a_crop_of_the_whole_image_changes_no_bit():
    images = noise(4, 3, 17, 23)
    box = [torch.full((4,), float(value)) for value in (0, 0, 17, 23)]
    torch.testing.assert_close(augment.resized_crop(images, *box, (17, 23)), images, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rotate_crop_is_torchvisions_rotation_then_crop_with_the_same_parameters(height, width, channels):
    images = noise(300, channels, height, width)
    parameters = augment.draw("rotate_crop", 300, height, width, generator())
    result = augment.apply("rotate_crop", images, parameters)
    assert result.shape == images.shape
    wrong = 0
    for image, mine, (degrees, top, left, box_height, box_width) in zip(
        images, result, parameters.tolist(), strict=True
    ):
        rotated = reference.rotate(image, degrees, fill=[0.0] * channels)
        expected = reference.resized_crop(
            rotated, int(top), int(left), int(box_height), int(box_width), [height, width]
        )
        wrong += not torch.allclose(mine, expected, rtol=0, atol=1e-6)
    assert wrong <= 1  # an image in which one pixel lay half way


def test_flip_mirrors_the_images_it_drew_and_no_others():
    images = noise(1000, 3, 5, 7)
    parameters = augment.draw("flip", 1000, 5, 7, generator())
    result = augment.apply("flip", images, parameters)
    for image, mine, (flip,) in zip(images, result, parameters.tolist(), strict=True):
        torch.testing.assert_close(mine, reference.hflip(image) if flip else image, rtol=0, atol=0)
    assert scipy.stats.binomtest(int(parameters.sum()), 1000).pvalue > 0.01


def test_none_returns_the_images():
    images = noise(3, 1, 4, 4)
    assert augment.apply("none", images, augment.draw("none", 3, 4, 4, generator())) is images


def test_angles_are_drawn_as_torchvision_draws_them():
    torch.manual_seed(0)
    expected = [RandomRotation.get_params([-10.0, 10.0]) for _ in range(4000)]
    drawn = augment.draw("rotate_crop", 20_000, 28, 28, generator())[:, 0]
    assert scipy.stats.ks_2samp(drawn.numpy(), expected).pvalue > 0.01
    assert -10 <= drawn.min() < -9.99
    assert 9.99 < drawn.max() <= 10


def same_distribution(drawn: np.ndarray, expected: np.ndarray) -> float:
    """The p-value of a chi-square test that two samples of rows come from one distribution."""
    values, which = np.unique(np.concatenate([drawn, expected]), axis=0, return_inverse=True)
    counts = np.stack(
        [np.bincount(part, minlength=len(values)) for part in np.split(which.ravel(), [len(drawn)])]
    )
    frequent = counts.sum(0) >= 40
    table = np.column_stack([counts[:, frequent], counts[:, ~frequent].sum(1)])
    return float(scipy.stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (28, 28, augment.SCALE, augment.RATIO),  # half of the attempts do not fit
        (12, 15, (0.3, 1.0), (0.5, 2.0)),
        (10, 14, (0.6, 1.0), (0.9, 1.1)),  # many fall back to the central crop
    ],
)
def test_boxes_are_drawn_as_torchvision_draws_them(height, width, scale, ratio):
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    expected = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(6000)])
    boxes = augment.draw_crop(24_000, height, width, scale, ratio, generator())
    drawn = torch.stack(boxes, 1).numpy().astype(int)
    assert same_distribution(drawn[:, 2:], expected[:, 2:]) > 0.01  # sizes
    assert same_distribution(drawn[:, [0, 2]], expected[:, [0, 2]]) > 0.01  # rows
    assert same_distribution(drawn[:, [1, 3]], expected[:, [1, 3]]) > 0.01  # columns
    assert same_distribution(drawn[:, :2], expected[:, :2]) > 0.01  # places
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, :2] + drawn[:, 2:] <= (height, width)).all()
    assert np.allclose(drawn.mean(0), expected.mean(0), atol=5 * expected.std(0).max() / 6000**0.5)


def test_the_crops_of_rotate_crop_are_of_the_papers_scale_and_ratio():
    torch.manual_seed(0)
    image = torch.empty(1, 28, 28)
    expected = np.array([RandomResizedCrop.get_params(image, [0.9, 1.0], [0.9, 1.1]) for _ in range(6000)])
    drawn = augment.draw("rotate_crop", 24_000, 28, 28, generator())[:, 1:].numpy().astype(int)
    assert same_distribution(drawn[:, 2:], expected[:, 2:]) > 0.01
    assert same_distribution(drawn[:, :2], expected[:, :2]) > 0.01


@pytest.mark.parametrize(("height", "width"), [(17, 40), (40, 17), (1, 9)])
def test_where_no_box_fits_the_crop_is_torchvisions_central_one(height, width):
    torch.manual_seed(0)
    expected = RandomResizedCrop.get_params(torch.empty(1, height, width), [0.9, 1.0], [0.9, 1.1])
    boxes = torch.stack(augment.draw_crop(50, height, width, (0.9, 1.0), (0.9, 1.1), generator()), 1)
    assert (boxes == torch.tensor(expected)).all()


def test_every_place_of_a_small_crop_is_as_likely():
    top, left, _, _ = augment.draw_crop(20_000, 8, 8, (0.25, 0.25), (1.0, 1.0), generator())
    counts = np.histogram2d(top.numpy(), left.numpy(), bins=np.arange(6))[0]
    assert counts.sum() == 20_000  # tops and lefts from 0 to 4, both included
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_depend_on_the_generator_alone_and_a_batch_uses_its_rows(kind):
    torch.manual_seed(1)
    first = augment.draw(kind, 50, 12, 12, generator(3))
    torch.manual_seed(2)
    assert torch.equal(first, augment.draw(kind, 50, 12, 12, generator(3)))
    assert first.shape == (50, len(augment.COLUMNS[kind]))
    images = noise(50, 3, 12, 12)
    whole = augment.apply(kind, images, first)
    order = torch.randperm(50, generator=generator())[:20]
    torch.testing.assert_close(
        augment.apply(kind, images[order], first[order]), whole[order], rtol=0, atol=1e-6
    )
    if kind != "none":
        assert not torch.equal(first, augment.draw(kind, 50, 12, 12, generator(4)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_keep_their_type_range_and_layout_in_memory_does_not_matter(kind, dtype):
    images = noise(40, 3, 20, 20).to(dtype)
    parameters = augment.draw(kind, 40, 20, 20, generator())
    result = augment.apply(kind, images, parameters)
    assert result.dtype == dtype
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    other = augment.apply(kind, images.contiguous(memory_format=torch.channels_last), parameters)
    torch.testing.assert_close(other, result, rtol=0, atol=1e-6)


def test_autocast_does_not_round_the_pixels():
    images, boxes = noise(8, 1, 12, 12), random_boxes(8, 12, 12)
    expected = augment.resized_crop(images, *boxes, (12, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(augment.resized_crop(images, *boxes, (12, 12)), expected, rtol=0, atol=0)


def test_a_kind_that_does_not_exist_and_parameters_of_another_batch_are_refused():
    images = noise(4, 1, 8, 8)
    with pytest.raises(ValueError, match="'mixup'; there are none, flip, rotate_crop"):
        augment.draw("mixup", 4, 8, 8, generator())
    with pytest.raises(ValueError, match="'mixup'; there are none, flip, rotate_crop"):
        augment.apply("mixup", images, torch.empty(4, 0))
    for wrong in (
        augment.draw("flip", 4, 8, 8, generator()),
        augment.draw("rotate_crop", 5, 8, 8, generator()),
    ):
        with pytest.raises(ValueError, match=r"takes parameters \(4, 5\), not"):
            augment.apply("rotate_crop", images, wrong)
