"""Reconstructions are scored as the papers of PSNR, SSIM and MS-SSIM say, on the images as they are."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.signal import correlate2d

from rdbench import metrics
from rdbench.metrics import reconstruction
from rdbench.metrics.base import TrainedModel
from rdbench.metrics.features.samples import reconstructions, to_uint8
from rdbench.metrics.reconstruction import ReconstructionOptions, ms_ssim, ssim
from rdbench.report.sections import Section
from rdbench.report.statistics.series import proxies

CPU = torch.device("cpu")


def pictures(count: int, channels: int, height: int, width: int, noise: float = 0.1, seed: int = 0):
    """Smooth images, and noisy versions of them, in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phase = random.uniform(0, 6, (count, channels, 1, 1))
    images = 0.5 + 0.5 * np.sin(phase + x / random.uniform(2, 5) + y / random.uniform(2, 5))
    others = np.clip(images + noise * random.standard_normal(images.shape), 0, 1)
    return torch.from_numpy(images).float(), torch.from_numpy(others).float()


def with_decoder(images: torch.Tensor, decode, **changes) -> TrainedModel:
    """A model with a latent of 2 and wide posteriors."""
    model = TrainedModel(
        encode=lambda batch: (batch.flatten(1)[:, :2], torch.zeros(len(batch), 2)),
        decode=decode,
        latent=2,
        data=None,
        test_images=lambda index: images[index],
        n_test=len(images),
        test_sse=np.ones(len(images)),
        beta=1.0,
        seed=3,
        protocol="clean",
        device=CPU,
    )
    return dataclasses.replace(model, **changes)


def that_gives(images: torch.Tensor, others: torch.Tensor) -> TrainedModel:
    """A model whose reconstructions of ``images`` are ``others``: image i's latent is i."""
    at = {image.numpy().tobytes(): number for number, image in enumerate(images)}

    def encode(batch):
        numbers = [at[image.numpy().tobytes()] for image in batch]
        return torch.tensor(numbers).float().unsqueeze(1), torch.full((len(batch), 1), -50.0)

    return with_decoder(images, lambda z: others[z[:, 0].round().long()], encode=encode, latent=1)


def measured(model: TrainedModel, **options) -> dict:
    values = reconstruction.compute(ReconstructionOptions(**options), model)
    return {value.settings["quantity"]: value for value in values}


# The papers' definitions, in float64 and one window at a time


def windowed(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarity, and its contrast and structure alone, of each window of two images (height, width)."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2

    def mean(values):
        return correlate2d(values, window, "valid")

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    structure = (2 * (mean(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
    return (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2) * structure, structure


def of_image(a: np.ndarray, b: np.ndarray, part: int) -> float:
    """Mean of similarity (0) or structure (1) over windows and channels."""
    return float(np.mean([windowed(*channels)[part] for channels in zip(a, b, strict=True)]))


def halved(image: np.ndarray) -> np.ndarray:
    channels, height, width = image.shape
    return image.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))


@pytest.mark.parametrize("shape", [(1, 11, 11), (1, 28, 28), (3, 32, 40)])
def test_ssim_is_the_mean_over_the_windows_within_the_image(shape):
    images, others = pictures(3, *shape)
    expected = [
        of_image(a, b, 0) for a, b in zip(images.double().numpy(), others.double().numpy(), strict=True)
    ]
    assert max(expected) < 0.97
    assert ssim(images, others).numpy() == pytest.approx(np.array(expected), abs=2e-5)


@pytest.mark.parametrize("shape", [(1, 176, 192), (3, 192, 176)])
def test_ms_ssim_is_the_weighted_product_over_five_scales(shape):
    images, others = pictures(2, *shape, noise=0.3)
    for a, b, found in zip(
        images.double().numpy(), others.double().numpy(), ms_ssim(images, others), strict=True
    ):
        product = 1.0
        for weight in (0.0448, 0.2856, 0.3001, 0.2363):
            product *= of_image(a, b, 1) ** weight
            a, b = halved(a), halved(b)
        expected = product * of_image(a, b, 0) ** 0.1333
        assert expected < 0.95
        assert float(found) == pytest.approx(expected, abs=2e-5)


def test_images_that_are_each_others_negative_have_no_multi_scale_similarity():
    images, _ = pictures(1, 1, 176, 176)
    assert float(ms_ssim(images, 1 - images)) == 0


# The values


def test_the_values_are_means_over_images_with_their_standard_errors():
    images, others = pictures(6, 1, 28, 28)
    found = measured(that_gives(images, others))
    error = (images.double() - others.double()).square().mean((1, 2, 3)).numpy()
    for quantity, per_image in {
        "psnr": -10 * np.log10(error),
        "ssim": ssim(images, others).double().numpy(),
    }.items():
        assert found[quantity].value == pytest.approx(per_image.mean(), rel=1e-5)
        assert found[quantity].standard_error == pytest.approx(per_image.std(ddof=1) / math.sqrt(6), rel=1e-3)
        assert found[quantity].settings == {"quantity": quantity, "n_images": 6}
    assert measured(that_gives(images, others), images=1)["psnr"].standard_error is None


@pytest.mark.parametrize(
    ("height", "width", "quantities"),
    [
        (10, 40, ["psnr", "psnr_at_mean"]),
        (11, 11, ["psnr", "psnr_at_mean", "ssim"]),
        (200, 175, ["psnr", "psnr_at_mean", "ssim"]),
        (176, 177, ["psnr", "psnr_at_mean", "ssim", "ms_ssim"]),
    ],
)
def test_what_the_size_does_not_allow_is_not_there(height, width, quantities):
    assert list(measured(that_gives(*pictures(2, 1, height, width)))) == quantities


def test_only_the_measures_asked_for_are_taken_and_share_the_columns_of_the_others():
    split = SimpleNamespace(images=np.zeros((3, 1, 12, 12), np.uint8))
    data = SimpleNamespace(name="waves", shape=(1, 12, 12), test=split)
    model = dataclasses.replace(that_gives(*pictures(3, 1, 12, 12)), data=data)
    every = measured(model)
    assert measured(model, measures=("ssim",)) == {"ssim": every["ssim"]}
    asked = ReconstructionOptions(measures=("ssim",))
    rows = [row | {"variant": "x", "beta": 1.0, "seed": 0} for row in metrics.rows([asked], model)]
    rows += [
        row | {"variant": "y", "beta": 1.0, "seed": 0}
        for row in metrics.rows([ReconstructionOptions()], model)
    ]
    found = proxies(Section({}, None, metrics=pd.DataFrame(rows)))
    assert sorted((one.name, len(one.values)) for one in found) == [
        ("reconstruction_psnr", 1),
        ("reconstruction_psnr_at_mean", 1),
        ("reconstruction_ssim", 2),
    ]
    assert "measures" not in ReconstructionOptions().settings()  # as in rows of before one could choose
    assert metrics.is_measured(asked, rows[:1])
    assert not metrics.is_measured(asked, rows[1:])


def test_what_is_offered_is_what_a_search_may_rest_on():
    options = ReconstructionOptions(measures=("ssim",), features="classifier")
    names = ["reconstruction_ssim", "reconstruction_rfd_classifier"]
    assert metrics.get("reconstruction").value_names(options) == names


def test_a_reconstruction_is_clipped_to_what_an_image_can_be():
    images = torch.ones(2, 1, 4, 4)
    images[1] = 0.5
    images[0, 0, 0, 0] = 0.5
    found = measured(that_gives(images, images + torch.tensor([7.0, 0.1]).reshape(2, 1, 1, 1)))["psnr"]
    assert found.value == pytest.approx((-10 * math.log10(0.25 / 16) + 20) / 2, rel=1e-5)


def test_the_reconstructions_are_those_that_other_metrics_take():
    images, _ = pictures(1200, 1, 3, 3)
    model = with_decoder(images, lambda z: z.sum(1).reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3) / 2)
    rounded = torch.cat(list(reconstructions(model, 100)))
    pairs = list(reconstruction._pairs(model, 703))
    assert torch.equal(torch.cat([image for image, _ in pairs]), images[:703])
    assert torch.equal(to_uint8(torch.cat([other for _, other in pairs]), stretch=False), rounded[:703])


def test_it_does_not_depend_on_how_the_work_is_cut(monkeypatch):
    model = that_gives(*pictures(7, 3, 12, 12))
    whole = measured(model)
    monkeypatch.setattr(reconstruction, "VALUES_AT_ONCE", 1000)
    for quantity, value in measured(model).items():
        assert value.value == pytest.approx(whole[quantity].value, rel=1e-6)


def test_at_the_mean_there_is_no_noise_and_a_decoder_of_noise_alone_gives_the_truth():
    """What is decoded is the latent itself: at a sample it errs by the posterior's noise, too."""
    images = torch.full((2000, 1, 1, 1), 0.5)
    model = dataclasses.replace(
        with_decoder(images, lambda z: z.reshape(-1, 1, 1, 1)), latent=1,
        encode=lambda given: (given.flatten(1) + 0.1, torch.full((len(given), 1), 2 * math.log(0.01))),
    )  # fmt: skip
    found = measured(model)
    assert found["psnr_at_mean"].value == pytest.approx(20, rel=1e-5)  # of the 0.1 that the mean is off
    errors = 0.1 + 0.01 * np.random.default_rng(0).standard_normal(1_000_000)
    expected = float(-10 * np.log10(errors**2).mean())
    assert found["psnr"].value == pytest.approx(expected, abs=5 * found["psnr"].standard_error)
    assert found["psnr"].standard_error > 0
    # The PSNR of the mean error is lower than the mean of the PSNR, as the tables say.
    assert -10 * np.log10((errors**2).mean()) < expected


# What has no value


def test_an_image_without_any_error_is_left_out_of_the_mean_ratio_and_makes_no_other_measure_of_it():
    images, others = pictures(4, 1, 12, 12)
    others[2] = images[2]
    found = measured(that_gives(images, others))
    assert math.isfinite(found["psnr"].value)
    assert found["psnr"].settings == {"quantity": "psnr", "n_images": 4, "without_error": 1}
    beside = measured(that_gives(images, pictures(4, 1, 12, 12)[1]))["psnr"]
    left = {name: value for name, value in found["psnr"].settings.items() if name not in metrics.FINDINGS}
    assert left == beside.settings
    assert found["ssim"].settings["n_images"] == 4
    with pytest.raises(ValueError, match="no reconstruction has any error"):
        measured(that_gives(images, images))


@pytest.mark.parametrize(
    ("image", "decoded", "reason"),
    [(-0.1, 0.5, "not pixels"), (1.1, 0.5, "not pixels"), (0.5, math.nan, "not finite")],
)
def test_what_cannot_be_scored_is_refused(image, decoded, reason):
    images = torch.full((3, 1, 2, 2), 0.5)
    images[1, 0, 0, 0] = image
    model = with_decoder(images, lambda z: torch.full((len(z), 1, 2, 2), decoded))
    with pytest.raises(ValueError, match=reason):
        measured(model)
