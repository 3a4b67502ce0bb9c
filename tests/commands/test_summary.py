"""The console's table and verdict: one reading for all, and no claim that the seeds do not show."""

import statistics

import pytest
from report_builders import make_sweep, point_rows, section_of, write

from rdbench.commands.summary import summary_lines, table_lines
from rdbench.report import headline
from rdbench.report.statistics.curves import t_quantile
from rdbench.report.tables import claims


def verdict(section):
    return " ".join(claims.verdicts([section])[0].sentences)


def folder_of(tmp_path, monkeypatch, elbo, seeds=3, **changes):
    """A results folder whose test ELBO under every reading comes from the training's MSE alone.

    ``elbo`` gives rate and mse of (variant, beta, seed).
    """

    def rows(trial):
        rate, mse = elbo(trial.variant.name, trial.beta, trial.seed)
        return [
            row | {"rate": rate, "mse": mse, "sse": 64 * mse, "psnr_of_mse": 13.0}
            for row in point_rows(trial)
        ]

    monkeypatch.setattr("report_builders.point_rows", rows)
    return write(tmp_path / "study", make_sweep(seeds=seeds, **changes), mean_image_mse=0.07)


def clear_lead(variant, beta, seed):
    """bs_vae has half of the error at the same rate; seeds differ by little."""
    return 10 / beta + seed / 100, (0.02 if variant == "bs_vae" else 0.04) + seed / 10_000


def test_a_line_a_variant_by_rate_psnr_and_elbo_at_one_reading(tmp_path, monkeypatch):
    heading, first, second = table_lines(section_of(folder_of(tmp_path, monkeypatch, clear_lead)))
    assert (
        " ".join(heading.split())
        == "rate, nats best PSNR of the MSE, dB best ELBO at optimal_train, nats seeds"
    )
    assert first.startswith("bs_vae")  # the higher ELBO first
    assert second.startswith("beta_vae")
    assert "1.010 to 10.01" in first
    assert first.endswith(" 3")


def test_a_clear_lead_is_said_with_its_interval_from_the_paired_differences(tmp_path, monkeypatch):
    section = section_of(folder_of(tmp_path, monkeypatch, clear_lead))
    values = {
        (row.variant, row.seed): row.elbo
        for row in section.points.itertuples()
        if (row.split, row.reading, row.beta) == ("test", "optimal_train", 10.0)
    }
    gaps = [values["bs_vae", seed] - values["beta_vae", seed] for seed in range(3)]
    half = t_quantile(2) * statistics.stdev(gaps) / 3**0.5
    said = verdict(section)
    assert said.startswith("The best ELBO of bs_vae is ")
    assert "higher than that of beta_vae" in said
    shown, shown_half = (
        float(said.split(" is ")[1].split(" nats")[0].split(" ± ")[place]) for place in (0, 1)
    )
    assert shown == pytest.approx(statistics.mean(gaps), abs=0.06)
    assert shown_half == pytest.approx(half, rel=0.06)


def test_what_the_seeds_do_not_show_is_not_said_to_differ(tmp_path, monkeypatch):
    def noise(variant, beta, seed):
        return 10 / beta, 0.03 + (0.01 if (seed + (variant == "bs_vae")) % 2 else -0.01) + beta / 1000

    said = verdict(section_of(folder_of(tmp_path, monkeypatch, noise, seeds=4)))
    assert said.startswith("No difference in ELBO is shown over seeds")


def test_of_single_seeds_the_difference_is_shown_and_called_untested(tmp_path, monkeypatch):
    said = verdict(section_of(folder_of(tmp_path, monkeypatch, clear_lead, seeds=1)))
    assert said.startswith("The best ELBO of bs_vae is ")
    assert "(one seed, untested)" in said


def test_collapsed_and_unstable_models_are_marked_and_nobodys_best(tmp_path, monkeypatch):
    def broken(variant, beta, seed):
        if variant == "bs_vae":
            return (0.001, 0.01) if beta == 10 else (60_000.0, 0.09)
        return clear_lead(variant, beta, seed)

    lines = summary_lines(folder_of(tmp_path, monkeypatch, broken))
    assert next(line for line in lines if line.startswith("bs_vae")).count("all collapsed or unstable") == 2
    assert "1 collapsed (rate below 0.01 nats) and 1 unstable" in lines[-1]
    assert not any(line.startswith("Verdict") for line in lines)  # of one variant alone nothing is to be said


def test_a_codec_and_the_linear_coder_are_no_rivals_of_trained_variants():
    pairs = headline._pairs(
        ["bs_vae", "beta_vae", "codec (format=webp)", "codec", "linear_coder (components=4)"]
    )
    assert [*pairs] == [("bs_vae", "beta_vae")]
    assert [*headline._pairs(["codec", "linear_coder"])] == [("codec", "linear_coder")]
