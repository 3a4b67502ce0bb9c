"""Encoder and decoder apart: the table and the chart of what ``ais`` measured."""

import json

import pandas as pd
import pytest
from report_builders import make_sweep, section_of, write

from rdbench.report.charts.amortisation import amortisation_chart
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
    assert amortisation_chart(section, ["beta_vae", "bs_vae"]) is None


# The amortisation gap over beta

VARIANTS = ["autoencoder", "beta_vae", "bs_vae"]
LACKING = (
    None,
    {"error": "not defined for this variant: a deterministic encoder has no rate", "undefined": True},
)


def test_the_gap_of_each_variant_is_drawn_over_beta_with_its_interval(tmp_path):
    section = section_with(
        tmp_path,
        rows("bs_vae", 1.0, 0, amortisation_gap=2.0),
        rows("bs_vae", 1.0, 1, amortisation_gap=3.0),
        rows("beta_vae", 1.0, 0),
        rows("beta_vae", 10.0, 0, amortisation_gap=-0.5),
        rows("autoencoder", 1.0, 0, amortisation_gap=LACKING),
    )
    chart = amortisation_chart(section, VARIANTS)
    (field,) = (name for name in chart.data["means"][0] if name.startswith("v") and name[1:].isdigit())
    points = {(row["variant"], row["beta"]): row for row in chart.data["means"]}
    assert {key: row[field] for key, row in points.items()} == {
        ("beta_vae", 1.0): 1.0, ("beta_vae", 10.0): -0.5, ("bs_vae", 1.0): 2.5,
    }  # fmt: skip
    high = points["bs_vae", 1.0][f"{field}_high"]
    assert high == pytest.approx(
        2.5 + 12.706 * 0.5, rel=1e-3
    )  # t of one degree of freedom, times s / sqrt(2)
    assert points["beta_vae", 1.0][f"{field}_high"] is None
    assert points["beta_vae", 1.0]["at"] < 1 < points["bs_vae", 1.0]["at"]
    assert "bs_vae 2.5 ± 6.4 at β = 1" in chart.finding
    assert "beta_vae 1.000 at β = 1 to −0.5000 at β = 10" in chart.finding
    assert any(note.startswith("Not drawn: autoencoder") for note in chart.notes)
    low, high = chart.views[chart.first]["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < -0.5 < 0 < 3 < high
    assert not any(row["v0_short"] for row in chart.data["means"])


def test_a_gap_whose_chains_are_too_short_is_ringed_and_said_to_be_a_bound(tmp_path):
    short = (3.0, {"warning": "chains too short: on samples of the model ..."})
    section = section_with(tmp_path, rows("bs_vae", 1.0, 0, gap=short), rows("bs_vae", 10.0, 0))
    chart = amortisation_chart(section, VARIANTS)
    assert {row["beta"]: row["v0_short"] for row in chart.data["means"]} == {1.0: True, 10.0: False}
    assert chart.finding.endswith(
        "Dashed ring: chains too short, so the gap is a lower bound (bs_vae at β = 1)."
    )
    rings = [layer for layer in chart.views[chart.first]["layer"]
             if any("datum.v0_short" in str(step) for step in layer.get("transform", ()))]  # fmt: skip
    assert len(rings) == 1


def test_a_gap_measured_in_two_ways_has_a_view_for_each(tmp_path):
    other = list(rows("bs_vae", 1.0, 0, amortisation_gap=7.0))
    for row in other:
        row["settings"] = json.dumps(json.loads(row["settings"]) | {"levels": 600})
    warned = (3.0, {"warning": "chains too short: on samples of the model ..."})
    section = section_with(tmp_path, rows("bs_vae", 1.0, 0, gap=warned), other)
    chart = amortisation_chart(section, VARIANTS)
    assert len(chart.views) == len(chart.controls[0].options) == 2
    assert sorted(view["description"].split("bs_vae ")[1].split()[0] for view in chart.views.values()) == [
        "1.000", "7.000",
    ]  # fmt: skip
    # Of one way the chains were too short: of the other nothing is said to be a bound.
    ringed = [view["description"].split("bs_vae ")[1].split()[0] for view in chart.views.values()
              if "Dashed ring" in view["description"]]  # fmt: skip
    assert ringed == ["1.000"]
    marks = [
        cell.mark for row in decoders.table(section).rows for cell in row if cell.note == "chains too short"
    ]
    assert marks == ["warning"]
