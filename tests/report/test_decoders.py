"""Encoder and decoder apart: the table and the chart of what ``ais`` measured."""

import json

import pandas as pd
import pytest
from report_builders import make_sweep, section_of, write

from rdbench.report.charts.decoders import decoders_chart
from rdbench.report.tables import decoders

ASKED = {"images": 100, "levels": 300, "chains": 8, "leapfrog": 10, "slopes": None, "tolerance": 1.0}
CURVE = [[0.0, 0.0, 6.0], [1.0, 1.5, 4.0], [10.0, 5.0, 3.0]]


def rows(variant, beta, seed, **found):
    """Rows of ``metrics`` of one training; a quantity's value may come with settings that were measured."""
    values = {"log_likelihood": 5.0, "inference_gap": 2.0, "encoder_rate": 4.0, "encoder_sse": 3.5,
              "amortisation_gap": 1.0, "gap": 0.1} | found  # fmt: skip
    for quantity, value in values.items():
        value, further = value if isinstance(value, tuple) else (value, {})
        curve = {"curve": CURVE} if quantity == "log_likelihood" else {}
        settings = {**ASKED, "quantity": quantity, **curve, **further}
        yield {"name": "ais", "variant": variant, "beta": beta, "seed": seed, "value": value,
               "settings": json.dumps(settings), "feature_hash": None, "standard_error": 0.1}  # fmt: skip


def section_with(tmp_path, *measured):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2)))
    frame = pd.DataFrame([row for trial in measured for row in trial])
    section.metrics = frame.assign(protocol="clean", trial=[f"t{i}" for i in range(len(frame))])
    return section


def cells(table, variant, beta):
    heads = [column.heading for column in table.columns]
    return next(dict(zip(heads, row, strict=True)) for row in table.rows
                if (row[0].text, row[1].text) == (variant, beta))  # fmt: skip


def test_elbo_and_the_decoders_rate_are_differences_of_the_same_trainings(tmp_path):
    section = section_with(
        tmp_path,
        rows("bs_vae", 1.0, 0),
        rows("bs_vae", 1.0, 1, log_likelihood=7.0, encoder_rate=6.0),
        rows("beta_vae", 1.0, 0, amortisation_gap=0.25),
    )
    table = decoders.table(section)
    bs_vae, beta_vae = cells(table, "bs_vae", "1"), cells(table, "beta_vae", "1")
    assert bs_vae["ELBO"].value == pytest.approx(4.0)  # (5 - 2 + 7 - 2) / 2
    assert bs_vae["decoder's rate at that error"].value == pytest.approx(4.0)  # (4 - 1 + 6 - 1) / 2
    assert (bs_vae["ELBO"].n, beta_vae["ELBO"].n) == (2, 1)
    assert bs_vae["ELBO"].half_width > 0
    assert beta_vae["amortisation gap"].value == 0.25


def test_chains_too_short_are_marked_and_their_likelihood_is_a_bound(tmp_path):
    words = "chains too short: on samples of the model the bounds of ln p(x) lie 3 nats apart"
    marked = {"bound": "lower", "warning": words}
    section = section_with(
        tmp_path,
        rows("bs_vae", 1.0, 0, log_likelihood=(5.0, marked), gap=(3.0, {"warning": words})),
        rows("bs_vae", 10.0, 0),
    )
    table = decoders.table(section)
    short, long = cells(table, "bs_vae", "1"), cells(table, "bs_vae", "10")
    assert (short["bounds apart"].mark, short["bounds apart"].note) == ("warning", "chains too short")
    assert long["bounds apart"].mark == ""
    assert short["ln p(x) of the decoder"].text.startswith("≥")
    assert not long["ln p(x) of the decoder"].text.startswith("≥")
    assert any("chains too short" in note for note in table.notes)


def test_an_encoder_without_a_rate_has_its_reason_and_a_curve(tmp_path):
    why = "not defined for this variant: a deterministic encoder has no rate"
    lacking = (None, {"error": why, "undefined": True})
    found = rows("bs_vae", 1.0, 0, amortisation_gap=lacking, inference_gap=lacking)
    deterministic = [row for row in found if '"quantity": "encoder_' not in row["settings"]]
    section = section_with(tmp_path, deterministic, rows("beta_vae", 1.0, 0))
    cell = cells(decoders.table(section), "bs_vae", "1")["amortisation gap"]
    assert (cell.value, "deterministic" in cell.note) == (None, True)
    chart = decoders_chart(section, ["beta_vae", "bs_vae"])
    assert [row["kind"] for row in chart.data["variant_1"]] == ["decoder"]


def test_the_chart_holds_a_curve_and_a_point_for_every_training(tmp_path):
    section = section_with(tmp_path, rows("bs_vae", 1.0, 0), rows("bs_vae", 1.0, 1), rows("bs_vae", 10.0, 0))
    chart = decoders_chart(section, ["beta_vae", "bs_vae"])
    assert list(chart.data) == ["variant_1"]
    kinds = [(row["kind"], row["beta"], row["seed"]) for row in chart.data["variant_1"]]
    assert kinds == [(kind, beta, seed) for beta, seed in ((1.0, 0), (1.0, 1), (10.0, 0))
                     for kind in ("decoder", "encoder")]  # fmt: skip
    curve, point = chart.data["variant_1"][:2]
    assert (curve["rate"], curve["sse"]) == ([0, 1.5, 5], [6, 4, 3])
    assert (point["rate"], point["sse"], point["wasted"]) == (4, 3.5, 1)
    assert "bs_vae: the encoder spends from 1.000 nats" in chart.finding


def test_without_ais_there_is_neither(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2)))
    assert decoders.table(section) is None
    assert decoders_chart(section, ["beta_vae", "bs_vae"]) is None
