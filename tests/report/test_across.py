"""Of a grid each combination is a series of its own: in one section beside the others, and in its own."""

from rdbench.report.contents import contents
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
