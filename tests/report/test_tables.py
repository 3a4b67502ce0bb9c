"""The report's tables: the right number in each cell, and a reason where there is none."""

import pytest
from report_builders import make_sweep, point_rows, report, section_of, visible, write

from rdbench.report.run_line import run_line
from rdbench.report.tables import costs, measured
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan


def cells(table, **names):
    """The cells of the one row whose key columns read as ``names`` say, by group and heading."""
    heads = [" ".join(filter(None, (column.group, column.heading))) for column in table.columns]
    rows = [dict(zip(heads, row, strict=True)) for row in table.rows]
    (row,) = [row for row in rows if all(row[head].text == text for head, text in names.items())]
    return row


def test_the_table_holds_mean_interval_best_and_native(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 4, 8], readings=["half", "optimal"])))
    table = measured.elbo(section)
    assert [(c.group, c.heading, c.badge) for c in table.columns[1:]] == [
        ("σ² = 1/2", "beta_vae", "native"),
        ("σ² = 1/2", "bs_vae", ""),
        ("σ² optimal for each image, fitted to it", "beta_vae", ""),
        ("σ² optimal for each image, fitted to it", "bs_vae", "native"),
    ]
    # Seeds 0, 4, 8 give 101, 102, 103: deviation 1, t(0.975, 2) = 4.302653, over sqrt(3): 2.484.
    first, second = table.rows
    assert [cell.text for cell in first] == ["1", *["−102.0 ± 2.5"] * 2, *["−302.0 ± 2.5"] * 2]
    assert [(cell.value, cell.n) for cell in first[1:3]] == [(-102.0, 3)] * 2
    assert first[1].half_width == pytest.approx(2.4841, abs=1e-4)
    assert all(cell.mark == "best" for cell in first[1:])
    # 9 nats lower, with a deviation of 1: clearly told apart.
    assert not any(cell.mark for cell in second)
    assert "over n = 3 seeds" in table.caption


def test_under_beta_half_a_variant_of_another_loss_is_not_shown(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2, readings=["half", "beta_half"])))
    better = (section.points["variant"] == "bs_vae") & (section.points["reading"] == "beta_half")
    section.points.loc[better, "elbo"] += 50
    table = measured.elbo(section)
    row = cells(table, β="1")
    assert "σ² = β/2 bs_vae" not in row
    assert row["σ² = β/2 beta_vae"].mark == "best"
    shown = measured.points(section, "beta_half")
    assert {cells[0].text for cells in shown.rows} == {"beta_vae"}
    assert "only variants that declare it are shown" in shown.method
    assert row["σ² = 1/2 bs_vae"].mark == "best"
    assert "only variants that declare it are shown" in table.method


def test_what_cannot_be_told_from_the_best_is_marked(tmp_path):
    # At beta 1 the seeds give 101, 102, 103; at 1.5 half a nat less, but for one that gives 0.7 more.
    section = section_of(write(tmp_path / "a", make_sweep(seeds=[0, 4, 8], beta=[1, 1.5], readings=["half"])))
    odd = (section.points["beta"] == 1.5) & (section.points["seed"] == 4)
    section.points.loc[odd, "elbo"] += 1.2
    first, second = measured.elbo(section).rows
    assert [cell.mark for cell in first[1:]] == ["best", "best"]
    assert [cell.mark for cell in second[1:]] == ["close", "close"]


def test_with_one_seed_nothing_is_called_close(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(beta=[1, 1.0001], readings=["half"])))
    assert [cell.mark for row in measured.elbo(section).rows for cell in row[1:]] == ["best", "best", "", ""]


def test_one_seed_shows_no_interval_and_says_so(tmp_path):
    text = visible(report(tmp_path, write(tmp_path / "a", make_sweep())))
    assert "±" not in text
    assert "n = 1" in text
    assert "−101.0" in text


def test_the_line_of_what_was_run_counts_what_became_of_it(tmp_path):
    def lost(trial):
        return ("diverged", "NaN") if (trial.variant.name, trial.beta) == ("beta_vae", 1.0) else None

    section = section_of(write(tmp_path / "a", make_sweep(readings=["half"]), lost=lost))
    assert run_line(section).split(" · ") == [
        "digits", "beta_vae, bs_vae", "2 β from 1 to 10", "1 seed",
        "scored on plain test images (protocol clean)",
        "trained for 50 epochs of 100 images", "3 of 4 trainings done, 1 diverged",
    ]  # fmt: skip


def test_a_missing_number_is_a_dash_with_its_reason(tmp_path):
    def lost(trial):
        return ("diverged", "loss is NaN") if (trial.variant.name, trial.beta) == ("beta_vae", 1.0) else None

    sweep = make_sweep(beta=[1, 10, 100], readings=["half"])
    root = write(tmp_path / "a", sweep, lost=lost, skip=lambda trial: trial.beta == 100)
    elbo = measured.elbo(section_of(root))
    assert cells(elbo, β="1")["σ² = 1/2 beta_vae"] == Cell("–", "1 diverged")
    assert [cell.note for cell in cells(elbo, β="100").values()] == ["", *["1 not trained yet"] * 2]
    missing = measured.missing_trials(section_of(root))
    assert missing.title == "2 trials not trained yet"
    assert [[cell.text for cell in row] for row in missing.rows] == [
        ["beta_vae", "100", "0"],
        ["bs_vae", "100", "0"],
    ]


def test_psnr_that_has_no_meaning_is_a_dash_with_its_reason(tmp_path):
    root = write(tmp_path / "a", make_sweep(beta=[1], variants=["bs_vae"]))
    trial = plan(make_sweep(beta=[1], variants=["bs_vae"])).trials[0]
    rows = [row | {"psnr_of_mse": None, "density_bits_per_dim": None} for row in point_rows(trial)]
    ResultsFolder(root).commit(
        trial.id, {"points": rows, "trials": [{"status": "done", "spec": trial.to_json()}]}
    )
    row = cells(measured.points(section_of(root), "half"), variant="bs_vae")
    assert row["test PSNR of the MSE, dB"] == Cell("–", "defined for images in [0, 1] only")
    assert row["train ELBO"].text == "−100.0"
    assert row["test MSE"].text == "0.05000"


def test_diverged_and_failed_trials_are_listed_with_their_reason_and_draw_no_point(tmp_path):
    def lost(trial):
        return {1.0: ("diverged", "loss is NaN at epoch 3"), 10.0: None}[trial.beta]

    root = write(tmp_path / "a", make_sweep(), lost=lost)
    text = visible(report(tmp_path, root))
    assert "2 trials without a result" in text
    assert text.count("loss is NaN at epoch 3") == 2


def test_the_reason_of_a_traceback_is_its_last_line_and_the_rest_is_kept(tmp_path):
    root = write(
        tmp_path / "a", make_sweep(), lost=lambda trial: ("failed", "Traceback:\n  line 3\nBoom: no")
    )
    table = measured.failed_trials(section_of(root))
    reason = cells(table, variant="bs_vae", β="10")["reason"]
    assert (reason.text, reason.long) == ("Boom: no", "Traceback:\n  line 3\nBoom: no")
    assert measured.failed_trials(section_of(write(tmp_path / "b", make_sweep()))) is None


def test_the_cost_is_the_sum_over_trials_and_the_median_of_one(tmp_path):
    root = write(tmp_path / "a", make_sweep(variants=["bs_vae"], beta=[1, 10, 100], seeds=2), seconds=2.0)
    row = cells(costs.table(section_of(root)), variant="bs_vae")
    assert (row["trials"].value, row["time, all trials"].value) == (6, 12.0)
    assert (row["time a trial, median"].text, row["memory, median"].text) == ("2.0 s", "1.00 GiB")
    assert row["images/s, median"].text == "50"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="'odd' has a row of another length"):
        Table("odd", "", "", (Column("a"), Column("b")), ((Cell("1"),),))


def test_unreadable_tables_are_named(tmp_path):
    root = write(tmp_path / "a", make_sweep())
    trials = plan(make_sweep()).trials
    (root / "points" / f"{trials[0].id}.parquet").write_bytes(b"junk")
    (root / "trials" / f"{trials[1].id}.parquet").write_bytes(b"junk")
    text = visible(report(tmp_path, root))
    assert f"{trials[0].id}.parquet: left out" in text
    assert f"{trials[1].id}.parquet: left out" in text
    assert "its table of points is not there or cannot be read" in text
    assert "1 trial not trained yet" in text


def test_bits_of_8_bit_pixels_stand_beside_the_densitys_and_old_results_have_none(tmp_path):
    root = write(tmp_path / "a", make_sweep(seeds=2))
    old = measured.points(section_of(root), "optimal_train")
    column = [head.heading for head in old.columns].index("test bits/dim of 8-bit pixels")
    assert all(row[column].value is None and "not measured" in repr(row[column]) for row in old.rows)
    folder = ResultsFolder(root)
    for trial in plan(make_sweep(seeds=2)).trials:
        tables = folder.trial_tables(trial.id)
        for row in tables["points"]:
            row["binned_bits_per_dim"] = None if row["split"] == "train" else 2.5 + trial.seed
        folder.commit(trial.id, tables)
    now = measured.points(section_of(root), "optimal_train")
    assert {row[column].value for row in now.rows} == {3.0}
    assert "of 8-bit pixels" not in " ".join(
        h.heading for h in measured.points(section_of(root), "half").columns
    )
