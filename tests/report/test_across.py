"""Of a grid each combination is a series of its own: in one section beside the others, and in its own."""

import math

import pytest

from rdbench.commands.sample import find
from rdbench.errors import ResultsError
from rdbench.report.contents import contents
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan
from tests.helpers.report_builders import make_sweep, report, visible, write


def grid(**changes):
    return make_sweep(grid={"train.epochs": [20, 60]}, seeds=2, **changes)


def of(root):
    return contents([root]).sections


def test_no_two_combinations_are_pooled(tmp_path):
    write(tmp_path, grid())
    together, *alone = of(tmp_path)
    assert together.variants == (
        "beta_vae, epochs 20",
        "beta_vae, epochs 60",
        "bs_vae, epochs 20",
        "bs_vae, epochs 60",
    )
    assert [section.variants for section in alone] == [("beta_vae", "bs_vae")] * 2
    trials = together.section.points.groupby("variant")["trial"].unique()
    for variant, names in trials.items():
        epochs = int(variant.rpartition(" ")[2])
        expected = {
            trial.id
            for trial in plan(grid()).trials
            if (trial.variant.name, trial.train.epochs) == (variant.partition(",")[0], epochs)
        }
        assert set(names) == expected
    assert sum(len(section.section.trials) for section in alone) == len(together.section.trials) == 16


def test_the_heading_names_what_varies_and_its_values(tmp_path):
    write(tmp_path, grid())
    together, *alone = of(tmp_path)
    assert together.heading == "digits, protocol clean, train.epochs [20, 60]"
    assert [section.heading.rpartition(", ")[2] for section in alone] == [
        "train.epochs 20",
        "train.epochs 60",
    ]
    assert together.section.settings["train"]["lr"] == alone[0].section.settings["train"]["lr"]


def test_sections_stand_in_the_order_of_their_numbers(tmp_path):
    write(tmp_path, grid().model_copy(update={"grid": {"train.epochs": [20, 100, 60]}}))
    assert [section.section.settings["train"]["epochs"] for section in of(tmp_path)[1:]] == [20, 60, 100]


def test_a_single_combination_needs_no_section_of_all(tmp_path):
    write(tmp_path, grid(), skip=lambda trial: trial.train.epochs == 60)
    assert not any(section.section.varied for section in of(tmp_path))


def test_a_sweep_without_a_grid_has_none(tmp_path):
    write(tmp_path, make_sweep())
    assert [section.section.varied for section in of(tmp_path)] == [()]


def test_the_page_says_that_nothing_is_averaged_over_the_grid(tmp_path):
    write(tmp_path, grid(), images=True)
    page = visible(report(tmp_path, tmp_path))
    assert page.count("A curve for each variant at each combination of train.epochs") == 1
    assert page.count("Pictures") >= 2


def gap(trial):
    """bs_vae leads by 10 nats at 20 epochs, 2 at 60, and a little by seed and beta."""
    lead = {20: 10.0, 60: 2.0}[trial.train.epochs]
    own = lead + trial.seed / 10 + trial.beta / 100 if trial.variant.name == "bs_vae" else 0.0
    return -50.0 + own


def test_the_gap_over_the_grid_is_that_of_each_combination(tmp_path):
    sweep = grid()
    write(tmp_path, sweep)
    folder = ResultsFolder(tmp_path)
    for trial in plan(sweep).trials:
        tables = folder.trial_tables(trial.id)
        for row in tables["points"]:
            # Read at sigma^2 = mse of the training split: what makes the ELBO this, is the rate.
            n = 64
            nll = n / 2 * (math.log(2 * math.pi * row["mse"]) + 1)
            row["rate"] = -gap(trial) - nll
        folder.commit(trial.id, tables)
    together = of(tmp_path)[0]
    table = next(table for table in together.tables if table.name == "grid")
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[:2] for row in rows] == [["bs_vae", "mean"], ["bs_vae", "1"], ["bs_vae", "10"]]
    values = [[cell.value for cell in row[2:]] for row in table.rows]
    assert values[1][0] == pytest.approx(10.05 + 0.01)
    assert values[2][2] == pytest.approx(2.05 + 0.10)
    assert values[0][0] == pytest.approx(10.05 + 0.055)
    (note,) = table.notes
    assert "minus that of beta_vae at equal β, with 95% intervals over seeds. bs_vae +10.11 ± " in note
    assert " at epochs 20, +2.11 ± " in note
    assert note.endswith(" at epochs 60 (mean over 2 β).")


def test_a_trial_of_a_grid_is_found_by_what_the_console_calls_it(tmp_path):
    write(tmp_path, grid())
    trial, name = find(tmp_path, "bs_vae beta 1 epochs 60 seed 1")
    assert (trial.train.epochs, trial.seed, name) == (60, 1, "bs_vae beta 1 epochs 60 seed 1")
    with pytest.raises(ResultsError, match="no finished trial is 'bs_vae beta 1 seed 0'; name one of: "):
        find(tmp_path, "bs_vae beta 1 seed 0")
