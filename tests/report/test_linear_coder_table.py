"""Against the linear coder: how much more rate a variant needs, and how long it was trained."""

import numpy as np
import pandas as pd
import pytest

from rdbench.numerics.likelihood import READINGS
from rdbench.report.sections import Section
from rdbench.report.tables import claims, linear_coder

ERRORS = np.geomspace(0.02, 0.6, 9)
RATES = 10 * np.log(0.7 / ERRORS)


def section(factors, seeds=(0, 1, 2), noise=0.0, train_images=None):
    """Curves that need a factor more rate than the linear coder, each of seeds that differ by ``noise``."""
    generator = np.random.default_rng(0)
    rows = [
        {"variant": variant, "beta": float(place), "seed": seed, "split": split, "reading": reading,
         "trial": f"{variant}/{place}/{seed}", "native": False, "mse": error, "sse": 64 * error,
         "rate": factor * rate * (1 + noise * generator.normal()),
          "distortion": 50 * error, "elbo": 0.0, "psnr_of_mse": 0.0, "density_bits_per_dim": 0.0,
          "n_images": n}
        for variant, factor in factors.items() for seed in seeds
        for place, (rate, error) in enumerate(zip(RATES, ERRORS, strict=True))
        for split, n in (("train", 1437), ("test", 360)) for reading in READINGS
    ]  # fmt: skip
    settings = {"dataset": {"name": "digits", "train_images": train_images}, "protocol": "clean",
                "train": {"epochs": 20}}  # fmt: skip
    points = pd.DataFrame(rows)
    names = ["variant", "beta", "seed"]
    trials = points[names].drop_duplicates().assign(status="done")
    return Section(
        settings, None, READINGS, points=points, trials=trials, missing=pd.DataFrame(columns=names)
    )


def rows(own):
    ((_, table, _),) = claims.verdicts([own])
    return {row[0].text: row for row in table.rows}


def test_a_curve_above_the_linear_coders_is_told_so_with_the_length_of_its_training():
    found = rows(section({"linear_coder": 1, "above": 1.5, "below": 0.8}, noise=0.01))
    assert list(found) == ["above", "below"]
    assert [found["above"][place].text for place in (1, 3)] == [
        "did not hold",
        "its opposite is shown over seeds",
    ]
    assert found["above"][1].mark == "warning"
    figures = found["above"][4]
    assert figures.text.startswith(("needs 49.", "needs 50.", "needs 51."))
    assert "% more rate than the linear coder (95% interval " in figures.text
    assert figures.text.endswith(
        "over 100% of the errors either reaches; trained for 20 epochs of 1,437 images"
    )
    assert figures.value == pytest.approx(50, abs=1)
    assert [found["below"][place].text for place in (1, 3)] == ["held", "shown over seeds"]
    assert "% less rate than the linear coder" in found["below"][4].text


def test_a_codec_which_is_not_trained_is_not_told_to_be():
    found = rows(section({"linear_coder": 1, "a": 2, "codec": 2, "codec (format=webp)": 2}))
    assert list(found) == ["a"]


def test_a_lead_within_the_spread_of_seeds_is_none():
    found = rows(section({"linear_coder": 1, "near": 0.999}, noise=0.05))
    assert found["near"][1].text != "held"


def test_a_subset_of_the_training_images_is_what_it_was_trained_on():
    assert (
        "20 epochs of 1,000 images"
        in rows(section({"linear_coder": 1, "a": 2}, train_images=1000))["a"][4].text
    )


def test_a_linear_coder_with_options_counts_and_without_one_there_is_no_table():
    assert "a" in rows(section({"linear_coder (components=4)": 1, "a": 2}))
    assert claims.verdicts([section({"a": 1, "beta_vae": 2})])[0][1] is None
    assert linear_coder.comparisons(Section({}, None)) == []


def test_its_verdicts_share_the_correction_of_the_page():
    own = section({"linear_coder": 1, "a": 0.97}, noise=0.01)
    alone, beside = (claims.verdicts([own] * copies)[0][1].rows[0] for copies in (1, 20))
    assert beside[2].value == pytest.approx(min(1, 20 * alone[2].value))
