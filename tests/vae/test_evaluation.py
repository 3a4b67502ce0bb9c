"""Evaluation measures every image once and reads the measurement in four ways."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from rdbench.numerics.seeding import generator
from rdbench.vae import models
from rdbench.vae.evaluation import Measurement, measure, measure_splits, picture_rows, point_rows

CPU = torch.device("cpu")


@pytest.fixture
def network(trial, data):
    return models.build(trial, data.shape, len(data.train.images)).eval()


def paper(trial, batch_size):
    settings = trial.train.model_copy(update={"batch_size": batch_size})
    return trial.model_copy(update={"protocol": "paper", "train": settings})


def test_squared_error_and_rate_are_those_of_the_definition(trial, data, network):
    measured = measure(network, trial, data, "test", CPU)
    images = torch.from_numpy(np.array(data.test.images)).float() / 255
    noise = torch.randn(len(images), 4, generator=generator(trial.seed, "evaluate/noise/test"))
    with torch.no_grad():
        mean, log_var = (part.double() for part in network.encode(images))
        reconstruction = network.decode((mean + noise * (log_var / 2).exp()).float())
    sse = [((x.double() - y.double()) ** 2).sum().item() for x, y in zip(images, reconstruction, strict=True)]
    rate = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    np.testing.assert_allclose(measured.sse, sse, rtol=1e-4)
    np.testing.assert_allclose(measured.rate, rate, rtol=1e-4)


def test_clean_measures_every_image_and_paper_drops_the_last_partial_batch(trial, data, network):
    assert len(measure(network, trial, data, "test", CPU).sse) == 100
    assert len(measure(network, paper(trial, 64), data, "test", CPU).sse) == 64
    assert len(measure(network, paper(trial, 64), data, "train", CPU).sse) == 256


def test_paper_augments_the_test_images_and_clean_does_not(trial, data, network):
    flipped = dataclasses.replace(data, augmentation="flip")
    plain, clean = (measure(network, trial, which, "test", CPU) for which in (data, flipped))
    np.testing.assert_array_equal(plain.sse, clean.sse)
    without, augmented = (measure(network, paper(trial, 50), which, "test", CPU) for which in (data, flipped))
    changed = ~np.isclose(without.sse, augmented.sse, rtol=1e-6)
    assert 25 < changed.sum() < 75  # about half of the hundred are flipped


def test_the_binned_likelihood_is_the_probability_of_the_bins_at_the_training_variance(trial, data, network):
    splits = measure_splits(network, trial, data, CPU)
    train, test = splits["train"], splits["test"]
    assert train.binned is None
    images = torch.from_numpy(np.array(data.test.images)).double() / 255
    noise = torch.randn(len(images), 4, generator=generator(trial.seed, "evaluate/noise/test"))
    with torch.no_grad():
        mean, log_var = network.encode(images.float())
        reconstruction = network.decode(mean + noise * (log_var / 2).exp()).double()
    sigma = math.sqrt(train.sse.mean() / math.prod(data.shape))
    decoder = torch.distributions.Normal(reconstruction, sigma)
    upper, lower = decoder.cdf(images + 1 / 510), decoder.cdf(images - 1 / 510)
    upper[images == 1], lower[images == 0] = 1.0, 0.0
    np.testing.assert_allclose(test.binned, -(upper - lower).log().flatten(1).sum(1), rtol=1e-5)


def test_the_binned_bits_are_those_of_likelihood_and_rate_and_of_every_reading_the_same():
    measured = Measurement(np.array([2.0]), np.array([1.5]), binned=np.array([7.0]))
    rows = point_rows(measured, "test", 4.0, 10, "half", True)
    assert [row["binned_bits_per_dim"] for row in rows] == [pytest.approx(8.5 / 10 / math.log(2))] * len(rows)
    assert (
        point_rows(Measurement(np.ones(1), None, binned=np.ones(1)), "test", 1.0, 10, None, True)[0][
            "binned_bits_per_dim"
        ]
        is None
    )


def test_only_stored_8_bit_images_have_bins(trial, data, network):
    assert measure_splits(network, paper(trial, 50), data, CPU)["test"].binned is None
    made = dataclasses.replace(
        data,
        **{name: dataclasses.replace(split, images=split.images.astype(np.float32) / 255)
           for name, split in (("train", data.train), ("test", data.test))},
    )  # fmt: skip
    assert measure_splits(network, trial, made, CPU)["test"].binned is None


def test_held_out_images_are_a_split_of_their_own_with_noise_of_its_own(trial, data, network):
    held_out = dataclasses.replace(data, validation=data.test)
    splits = measure_splits(network, trial, held_out, CPU)
    assert list(splits) == ["train", "validation", "test"]
    validation, test = splits["validation"], splits["test"]
    np.testing.assert_array_equal(test.sse, measure(network, trial, data, "test", CPU).sse)
    assert not np.array_equal(validation.sse, test.sse)
    np.testing.assert_allclose(validation.rate, test.rate)


def test_measuring_changes_nothing(trial, data, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = measure(network, trial, data, "test", CPU)
    second = measure(network, trial, data, "test", CPU)
    np.testing.assert_array_equal(first.sse, second.sse)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_point_row_holds_means_and_standard_errors_of_each_reading():
    measured = Measurement(sse=np.array([2.0, 4.0, 9.0]), rate=np.array([1.0, 3.0, 2.0]))
    rows = {row["reading"]: row for row in point_rows(measured, "test", 4.0, 10, "half", True)}
    # half: sse + n/2 ln(pi); beta_half at beta 4: sse/4 + n/2 ln(4 pi)
    assert rows["half"]["distortion"] == pytest.approx(5 + 5 * math.log(math.pi))
    assert rows["beta_half"]["distortion"] == pytest.approx(5 / 4 + 5 * math.log(4 * math.pi))
    optimal = [5 * (math.log(2 * math.pi * sse / 10) + 1) for sse in (2, 4, 9)]
    assert rows["optimal"]["distortion"] == pytest.approx(np.mean(optimal))
    assert rows["optimal_shared"]["distortion"] == pytest.approx(5 * (math.log(2 * math.pi * 0.5) + 1))
    elbos = [-(sse + 5 * math.log(math.pi) + rate) for sse, rate in zip((2, 4, 9), (1, 3, 2), strict=True)]
    assert rows["half"]["elbo"] == pytest.approx(np.mean(elbos))
    assert rows["half"]["elbo_se"] == pytest.approx(np.std(elbos, ddof=1) / math.sqrt(3))
    assert rows["half"]["native"]
    assert not rows["optimal"]["native"]
    for row in rows.values():
        assert row["elbo"] == pytest.approx(-(row["rate"] + row["distortion"]))
        assert row["rate"] == 2
        assert row["rate_se"] == pytest.approx(1 / math.sqrt(3))
        assert row["mse"] == pytest.approx(0.5)
        assert row["psnr_of_mse"] == pytest.approx(-10 * math.log10(0.5))
        assert row["density_bits_per_dim"] == pytest.approx(
            (row["distortion"] + row["rate"]) / math.log(2) / 10
        )
        assert row["n_images"] == 3


def test_an_image_without_any_error_has_an_unbounded_likelihood_and_no_standard_error():
    measured = Measurement(sse=np.array([2.0, 0.0]), rate=np.array([1.0, 3.0]))
    rows = {row["reading"]: row for row in point_rows(measured, "test", 1.0, 4, "half", True)}
    assert rows["optimal"]["elbo"] == math.inf
    assert rows["optimal"]["elbo_se"] is None
    assert math.isfinite(rows["half"]["elbo"])


def test_one_image_has_no_standard_error_and_other_values_no_psnr():
    row = point_rows(Measurement(np.array([2.0]), np.array([1.0])), "test", 1.0, 4, "half", False)[0]
    assert row["elbo_se"] is None
    assert row["psnr_of_mse"] is None


def test_pictures_are_clipped_and_never_stretched(trial, data, network):
    rows = picture_rows(network, trial, data, CPU)
    assert {(row["kind"], row["index"]) for row in rows} == {
        (kind, index) for kind in ("original", "reconstruction", "sample") for index in range(16)
    }
    original = next(row for row in rows if row["kind"] == "original" and row["index"] == 3)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(original["png"]))), data.test.images[3, 0])
