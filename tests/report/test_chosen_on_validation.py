"""What is best is chosen on the validation images and scored on the test images; without any, it is said."""

import pytest

from rdbench.report import headline
from rdbench.report.charts.beta import finding
from rdbench.report.statistics.series import elbo, series
from rdbench.report.tables import ranking
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from tests.helpers.report_builders import make_sweep, section_of, write

BETAS = [1, 10, 100]


@pytest.fixture
def sections(tmp_path):
    """Without validation images, and with some on which beta 10 is best; on the test images it is beta 1."""
    plain = make_sweep(beta=BETAS)
    held_out = make_sweep(beta=BETAS, dataset={"name": "digits", "validation": 100})
    for name, sweep in (("plain", plain), ("held_out", held_out)):
        write(tmp_path / name, sweep)
    folder = ResultsFolder(tmp_path / "held_out")
    for trial in plan(held_out).trials:
        tables = folder.trial_tables(trial.id)
        better = 50.0 if trial.beta == 10 else 0.0
        for row in [row for row in tables["points"] if row["split"] == "test"]:
            shifted = {name: row[name] + better for name in ("elbo", "psnr_of_mse")}
            tables["points"].append(row | shifted | {"split": "validation"})
        folder.commit(trial.id, tables)
    return section_of(tmp_path / "plain"), section_of(tmp_path / "held_out")


def test_the_best_beta_is_that_of_the_validation_images_and_its_value_that_of_the_test_images(sections):
    plain, held_out = (elbo(section, "half") for section in sections)
    assert plain.best("bs_vae") == ("bs_vae", 1)
    assert held_out.best("bs_vae") == ("bs_vae", 10)
    assert held_out.estimates == plain.estimates
    assert held_out.top[1] == plain.top[1] == 1  # bold is what a reader sees to be the best
    psnr = next(one for one in series(sections[1]) if one.name == "psnr")
    assert psnr.best("beta_vae") == ("beta_vae", 10)


def test_every_sentence_of_a_best_says_on_which_images_it_was_chosen(sections):
    said = [
        [
            ranking.table(section).method,
            " ".join(headline.sentences(section, headline.statements(section), [0.5])),
            finding(elbo(section, "half"), ["beta_vae", "bs_vae"]),
        ]
        for section in sections
    ]
    assert all("chosen on the test images" in sentence for sentence in said[0])
    assert all("chosen on the validation images" in sentence for sentence in said[1])
    assert "bs_vae is best at β = 10, with −110.0, behind β = 1 with −101.0 (not tested)" in said[1][-1]
