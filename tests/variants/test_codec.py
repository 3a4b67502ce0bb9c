"""codec: its rate is the length of the file, its errors are those of the images that come out of it."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from rdbench import datasets, machine
from rdbench.errors import SpecError
from rdbench.spec.plan import plan
from rdbench.spec.sweep import Sweep
from rdbench.trial.run import run_trial
from rdbench.variants import codec

CPU = torch.device("cpu")


def run(tmp_path, options, dataset="digits", **settings):
    asked = {"name": "t", "dataset": dataset, "variants": [{"name": "codec", **options}], "beta": [0.01, 1]}
    (trial,) = plan(Sweep.model_validate(asked | settings)).trials
    tables = run_trial(trial, datasets.load(trial.dataset, tmp_path), CPU)
    return {(row["beta"], row["split"]): row for row in tables["points"] if row["reading"] == "half"}


def pictures(count, channels=3, height=20, width=12):
    y, x = np.mgrid[:height, :width]
    phase = np.random.default_rng(0).uniform(0, 6, (count, channels, 1, 1))
    return np.rint(127.5 + 127.5 * np.sin(phase + x / 3 + y / 5)).astype(np.uint8)


@pytest.mark.parametrize("layout", ["mosaic", "single"])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_gives_every_image_back_and_its_rate_is_the_length_of_the_files(channels, layout):
    images = pictures(7, channels)
    coded = codec._coded(images, "png", 100, layout)
    assert np.array_equal(coded.sse, np.zeros(7))
    mosaics = [codec._picture(*mosaic) for mosaic in codec._mosaics(images, layout)]
    files = [codec._file(mosaic, "png", 100) for mosaic in mosaics]
    assert len(files) == (1 if layout == "mosaic" else 7)
    assert coded.rate.sum() == pytest.approx(8 * sum(map(len, files)) * math.log(2))


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif", "jpeg2000"])
@pytest.mark.parametrize("channels", [1, 3])
def test_errors_are_those_of_the_decoded_mosaic_image_by_image(format, channels):
    images = pictures(11, channels)
    quality = codec.QUALITIES[format][3]
    ((part, (rows, columns)),) = codec._mosaics(images, "mosaic")
    content = codec._file(codec._picture(part, (rows, columns)), format, quality)
    mode = "L" if channels == 1 and format != "webp" else "RGB"
    decoded = Image.open(io.BytesIO(content))
    assert decoded.mode == mode
    expected = []
    for place, image in enumerate(images):
        top, left = place // columns * 20, place % columns * 12
        cut = np.asarray(decoded.crop((left, top, left + 12, top + 20)), float).reshape(20, 12, -1)
        difference = image.transpose(1, 2, 0) - cut[:, :, :channels]
        expected.append((difference**2).sum() / 255**2)
    coded = codec._coded(images, format, quality, "mosaic")
    assert coded.sse == pytest.approx(np.array(expected))
    assert coded.sse.min() > 0


def test_a_large_set_takes_several_mosaics_and_every_image_is_in_one(monkeypatch):
    monkeypatch.setattr(codec, "SIDE", 40)
    images = pictures(13)
    parts = list(codec._mosaics(images, "mosaic"))
    assert [len(part) for part, _ in parts] == [6, 6, 1]
    assert np.array_equal(np.concatenate([part for part, _ in parts]), images)
    assert np.array_equal(codec._coded(images, "png", 100, "mosaic").sse, np.zeros(13))


def test_each_beta_has_the_quality_with_the_least_cost_on_the_training_images(tmp_path):
    points = run(tmp_path, {"format": "jpeg"})
    assert points[0.01, "test"]["rate"] > points[1.0, "test"]["rate"]
    assert points[0.01, "test"]["sse"] < points[1.0, "test"]["sse"]
    data = datasets.load(Sweep.model_validate({"name": "t", "dataset": "digits", "variants": ["beta_vae"],
                                               "beta": [1]}).dataset, tmp_path)  # fmt: skip
    train = [codec._coded(data.train.images, "jpeg", one, "mosaic") for one in codec.QUALITIES["jpeg"]]
    for beta in (0.01, 1.0):
        least = min(float((one.sse + beta * one.rate).mean()) for one in train)
        row = points[beta, "train"]
        assert row["sse"] + beta * row["rate"] == pytest.approx(least)


def test_headers_rule_on_single_files_and_the_layout_tells_them_apart(tmp_path):
    few = {"name": "digits", "train_images": 200}  # each is a file of its own at every quality
    mosaic, single = (
        run(tmp_path, {"layout": layout}, few, train={"batch_size": 64}) for layout in ("mosaic", "single")
    )
    assert single[1.0, "test"]["rate"] > 5 * mosaic[1.0, "test"]["rate"]
    trials = [plan(Sweep.model_validate({"name": "t", "dataset": "digits", "beta": [1],
                                         "variants": [{"name": "codec", "layout": layout}]})).trials[0].id
              for layout in ("mosaic", "single")]  # fmt: skip
    assert trials[0] != trials[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "gaussian"}, "codes 8-bit images"),
        ({"protocol": "paper", "train": {"batch_size": 64}}, "use protocol: clean"),
    ],
)
def test_what_no_codec_can_code_is_told_in_one_line(settings, message, tmp_path):
    with pytest.raises(SpecError, match=message):
        run(tmp_path, {}, **settings)


def test_the_versions_of_the_encoders_are_part_of_a_trials_provenance():
    assert {"pillow", "libjpeg", "libwebp", "libavif", "openjpeg"} <= machine.versions().keys()
