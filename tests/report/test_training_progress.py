"""How far training had come: from the ends of the two cycles, beside each comparison."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from report_builders import make_sweep, report, section_of, visible, write

from rdbench.report.statistics import training_progress as statistics
from rdbench.report.statistics.training_progress import Progress, end_of_first_cycle
from rdbench.report.tables import paired, training_progress
from rdbench.results.store import ResultsFolder
from rdbench.vae.training import learning_rate

# Of 100 training images, ten steps an epoch; the builders' histories have three epochs: loss 10 / epoch, rate
# epoch, sse 5 / epoch. Of three the first cycle ends within the second epoch, so the first is taken.
TRAIN = {"epochs": 3, "batch_size": 10}


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 50, 51])
@pytest.mark.parametrize("steps", [1, 2, 3, 117])
def test_the_first_cycle_ends_where_the_learning_rate_is_restarted(epochs, steps):
    rates = [learning_rate(1.0, step, epochs * steps) for step in range(epochs * steps)]
    restart = next((step for step in range(1, len(rates)) if rates[step] > rates[step - 1]), len(rates))
    whole = [epoch for epoch in range(1, epochs + 1) if epoch * steps <= restart]
    assert end_of_first_cycle(epochs, steps) == max(whole, default=0)


def test_what_the_elbo_gained_is_that_of_the_readings():
    one = Progress((5, 10), (100.0, 80.0), (8.0, 2.0), (3.0, 7.0), beta=0.5, n=20)
    assert one.fell == 20
    assert one.rose("half") == pytest.approx(6 - 4)
    assert one.rose("beta_half") == pytest.approx(6 / 0.5 - 4)
    for reading in ("optimal_train", "optimal_shared", "optimal"):
        assert one.rose(reading) == pytest.approx(10 * math.log(4) - 4)
    assert one.rose("own") is None
    assert Progress((5, 10), (1.0, 1.0), (8.0, 2.0), (math.nan,) * 2, 0.5, 20).rose("half") is None


def test_each_trial_has_its_own_and_the_table_their_means(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2, train=TRAIN)))
    second = (section.history["seed"] == 1) & (section.history["epoch"] == 3)
    section.history.loc[second, "loss"] = 4.0
    found, reasons = statistics.progress(section)
    assert reasons == {}
    assert {seed: one.fell for seed, one in found["bs_vae", 10.0].items()} == pytest.approx({0: 20 / 3, 1: 6})
    table = training_progress.table(section)
    (cells,) = (row for row in table.rows if (row[0].text, row[1].text) == ("bs_vae", "10"))
    assert [cell.value for cell in cells[2:]] == pytest.approx(
        [10, (10 / 3 + 4) / 2, (20 / 3 + 6) / 2, 32 * math.log(3) - 2]
    )
    assert cells[4].n == 2
    assert "The ends: epochs 1 and 3." in table.method
    assert "odd number of epochs" in table.method


def test_a_variant_that_is_not_trained_is_left_out_beside_those_that_are(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2, train=TRAIN)))
    section.history = section.history[section.history["variant"] != "beta_vae"]
    table = training_progress.table(section)
    assert {row[0].text for row in table.rows} == {"bs_vae"}
    assert table.notes == ("Left out: beta_vae (no history of epochs is kept).",)


def test_a_training_for_all_betas_is_left_out_beside_those_for_one(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2, train=TRAIN)))
    of_all = section.trials["variant"] == "beta_vae"
    section.trials["betas"] = [[1.0, 10.0] if it else None for it in of_all]
    table = training_progress.table(section)
    assert {row[0].text for row in table.rows} == {"bs_vae"}
    assert table.notes == (f"Left out: beta_vae ({statistics.ALL_BETAS}).",)


def test_trials_without_two_cycles_say_why(tmp_path):
    def reasons(**changes):
        train = TRAIN | changes.pop("train", {})
        section = section_of(write(tmp_path / str(len(list(tmp_path.iterdir()))), make_sweep(train=train)))
        for name, value in changes.items():
            setattr(section, name, value(getattr(section, name)))
        found, why = statistics.progress(section)
        assert found == {}
        assert "–" in {cell.text for row in training_progress.table(section).rows for cell in row}
        (reason,) = set(why.values())
        return reason

    assert reasons(history=lambda rows: rows.head(0)) == statistics.NO_HISTORY
    assert reasons(train={"epochs": 1}) == statistics.ONE_CYCLE
    assert "not of the 4 epochs" in reasons(train={"epochs": 4})
    curve = lambda rows: rows.assign(betas=[[1.0, 10.0]] * len(rows))  # noqa: E731
    assert reasons(trials=curve) == statistics.ALL_BETAS


def test_of_a_grid_each_trials_own_epochs_count(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(train=TRAIN)))
    section.settings["train"]["epochs"] = [3, 20]
    assert {key: one[0].epochs for key, one in statistics.progress(section)[0].items()} == dict.fromkeys(
        [(variant, beta) for variant in ("beta_vae", "bs_vae") for beta in (1.0, 10.0)], (1, 3)
    )


def with_images(section, gap):
    """Two variants whose test images' errors differ so that bs_vae leads by ``gap`` nats at sigma^2 = 1/2."""
    images = [
        {"variant": variant, "beta": beta, "seed": 0, "index": index, "sse": 9.0 + index - lead, "rate": 1.0}
        for variant, lead in (("beta_vae", 0.0), ("bs_vae", gap)) for beta in (1.0, 10.0) for index in (0, 1)
    ]  # fmt: skip
    section.per_image = pd.DataFrame(images)
    return section


def test_a_gain_of_training_that_is_more_than_the_difference_is_marked_beside_it(tmp_path):
    # At sigma^2 = 1/2 the histories gain 5 - 5/3 - 2 = 4/3 nats.
    section = section_of(write(tmp_path / "a", make_sweep(train=TRAIN, readings=["half"])))
    for gap, mark in ((1.3, "warning"), (1.4, "")):
        table = paired.table(with_images(section, gap), "half")
        assert [column.group for column in table.columns[-2:]] == [training_progress.RISE] * 2
        for row in table.rows:
            assert row[2].value == pytest.approx(gap)
            assert [cell.value for cell in row[-2:]] == pytest.approx([4 / 3] * 2)
            assert [cell.mark for cell in row[-2:]] == [mark] * 2
    section = dataclasses.replace(section, history=section.history.head(0))
    row = paired.table(with_images(section, 1.0), "half").rows[0]
    assert {(cell.text, cell.note, cell.mark) for cell in row[-2:]} == {("–", statistics.NO_HISTORY, "")}


def test_the_page_says_at_its_head_what_training_still_gained(tmp_path):
    root = write(tmp_path / "a", make_sweep(train=TRAIN))
    gain = 32 * np.log(3) - 2
    text = visible(report(tmp_path, root))
    assert f"ELBO still rose by up to {gain:.1f} nats." in text
    assert "How far training had come" in text
    assert len(ResultsFolder(root).trial_ids()) == 4
