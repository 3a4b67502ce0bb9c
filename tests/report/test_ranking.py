"""One ranking by likelihood, whatever its family."""

import pandas as pd
import pytest

from rdbench.report.sections import Section
from rdbench.report.statistics import series
from rdbench.report.tables import ranking

# (variant, reading) -> beta -> ELBO of seeds 0 and 1
ELBO = {
    ("beta_vae", "optimal_train"): {1.0: [10.0, 12.0], 2.0: [20.0, 22.0]},
    ("bs_vae", "optimal_train"): {1.0: [40.0, 43.0], 2.0: [30.0, 32.0]},
    ("student_t", "optimal_train"): {1.0: [5.0, 7.0], 2.0: [1.0, 2.0]},
    ("student_t", "own"): {1.0: [35.0, 36.0], 2.0: [50.0, 52.0]},
}


def section(elbo=ELBO):
    points = [
        {"variant": variant, "beta": beta, "seed": seed, "split": "test", "reading": reading, "elbo": value,
         "native": reading == "own", "trial": "t"}
        for (variant, reading), betas in elbo.items() for beta, values in betas.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    readings = ("optimal_train", *(["own"] if ("student_t", "own") in elbo else []))
    return Section({}, None, readings, pd.DataFrame(points))


def test_a_students_own_likelihood_ranks_beside_gaussians_of_the_training_images_variance():
    table = ranking.table(section())
    rows = [[cell.text for cell in cells[:4]] for cells in table.rows]
    assert rows == [
        ["1", "student_t", "2", "the model's own likelihood"],
        ["2", "bs_vae", "1", "σ² of the training images"],
        ["3", "beta_vae", "2", "σ² of the training images"],
    ]
    assert [cells[4].value for cells in table.rows] == [51, 41.5, 21]
    assert [cells[4].mark for cells in table.rows] == ["best", "", ""]
    # bs_vae's seeds are 10 and 9 behind: the mean ± t(0.975, 1) = 12.7062 times 0.5
    assert table.rows[1][5].value == pytest.approx(-9.5)
    assert table.rows[1][5].half_width == pytest.approx(12.7062 / 2, rel=1e-5)
    assert "chosen on the test images, these very ones" in table.method


def test_without_a_likelihood_of_ones_own_it_is_the_readings_series_and_not_shown_twice():
    gaussians = {key: betas for key, betas in ELBO.items() if key[1] != "own"}
    own = section(gaussians)
    assert series.likelihood(own).values == series.elbo(own, "optimal_train").values
    assert [each.name for each in series.series(section())] == [
        "elbo_likelihood", "elbo_optimal_train", "elbo_own"
    ]  # fmt: skip
    alone = section({key: betas for key, betas in gaussians.items() if key[0] == "bs_vae"})
    assert ranking.table(alone) is None
