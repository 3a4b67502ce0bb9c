"""Real bits beside the KL's curve: whose points they are, where they are drawn, and the BD-rate by them."""

import json
import math

import pandas as pd
import pytest
import vl_convert
from report_builders import make_sweep, section_of, write

from rdbench.report.charts.coded_lines import DATA, SWITCH, coded_rows, with_coded
from rdbench.report.charts.rate import psnr_chart
from rdbench.report.statistics.coded import coded_points
from rdbench.report.tables import bd_rate

POINTS = {0.5: (30.0, 1.0), 1.0: (20.0, 1.5), 2.0: (25.0, 1.7)}  # step -> bits and sse; the last is beaten


def rows(variant, beta, seed, factor=1.0, n_images=100, points=POINTS):
    for step, (bits, sse) in points.items():
        for quantity, value in {"bits": factor * bits / beta, "sse": sse * beta, "psnr": -10.0}.items():
            settings = {"quantity": quantity, "step": step, "n_images": n_images, "fit": 5000}
            yield {"name": "coded", "trial": f"{variant}{beta}{seed}", "variant": variant, "beta": beta,
                   "seed": seed, "value": value, "settings": json.dumps(settings), "feature_hash": None,
                   "protocol": "clean"}  # fmt: skip


@pytest.fixture
def section(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=3)))
    section.metrics = pd.DataFrame(
        row
        for variant, factor in (("beta_vae", 1.0), ("bs_vae", 0.5))
        for beta in (1.0, 10.0)
        for seed in range(3)
        for row in rows(variant, beta, seed, factor * (1 + seed / 100))
    )
    return section


def test_bits_of_the_stream_become_nats_and_the_sum_an_error_of_a_value(section):
    points = coded_points(section)
    first = points[(points["variant"] == "beta_vae") & (points["beta"] == 1) & (points["seed"] == 0)]
    assert first["rate"].tolist() == pytest.approx([bits * math.log(2) for bits, _ in POINTS.values()])
    n = round(section.points["sse"].iloc[0] / section.points["mse"].iloc[0])
    assert first["mse"].tolist() == pytest.approx([sse / n for _, sse in POINTS.values()])


def test_what_was_measured_on_other_images_shares_no_curve(section):
    other = pd.DataFrame(rows("beta_vae", 1.0, 7, n_images=50))
    section.metrics = pd.concat([section.metrics, other], ignore_index=True)
    assert 7 not in set(coded_points(section)["seed"])


def test_the_curve_is_what_no_step_and_beta_beats(section):
    drawn = [(row["beta"], row["step"]) for row in coded_rows(section) if row["variant"] == "beta_vae"]
    assert (1.0, 2.0) not in drawn  # more bits and more error than another size of step
    assert drawn == [(10.0, 1.0), (10.0, 0.5), (1.0, 1.0), (1.0, 0.5)]


def test_it_is_drawn_in_the_colour_of_its_variant_and_switched_off(section):
    variants = ("beta_vae", "bs_vae")
    plain = psnr_chart(section, variants)
    chart = with_coded(plain, section)
    assert chart.switches == (*plain.switches, SWITCH)
    for view in chart.views.values():
        (line,) = (layer for layer in view["layer"] if layer.get("data") == {"name": DATA})
        points = next(layer for layer in view["layer"] if layer.get("name") == "points")
        # Of its axes too: layers of other domains would share none.
        assert all(line["encoding"][name] == points["encoding"][name] for name in ("x", "y", "color"))
        assert line["transform"][0]["filter"].startswith("coded && ")
        assert vl_convert.vegalite_to_vega(view | {"datasets": chart.data})["marks"]


def test_without_the_metric_charts_and_tables_are_as_they_were(tmp_path):
    section = section_of(write(tmp_path / "a", make_sweep(seeds=2)))
    chart = psnr_chart(section, ("beta_vae", "bs_vae"))
    assert with_coded(chart, section) is chart
    assert "MSE, rate as coded into bits" not in {row[0].text for row in bd_rate.table(section).rows}


def test_the_bd_rate_by_real_bits_is_that_of_the_streams(section):
    (row,) = (row for row in bd_rate.table(section).rows if row[0].text == "MSE, rate as coded into bits")
    assert row[2].text == "bs_vae"
    assert row[3].value == pytest.approx(-50)
