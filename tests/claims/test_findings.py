"""The sentences that a study's findings are written by say what its tables hold."""

import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from report_builders import make_sweep, section_of, write

CURVE = pd.DataFrame({"rate": [3.0, 1.0], "sse": [math.exp(2), math.exp(4)]})


@pytest.fixture(scope="module")
def findings():
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "reports/findings.py")))


def test_a_curve_is_straight_in_the_log_of_its_error_and_ends_where_its_rates_do(findings):
    points = pd.DataFrame({"rate": [2.0, 0.5, 3.1], "sse": [math.exp(2)] * 3})
    found = findings.beside(points, CURVE)
    assert found.loc[0, "theirs"] == pytest.approx(math.exp(3))
    assert found.loc[0, "above"] == pytest.approx(-1)
    assert found.loc[[1, 2], ["theirs", "above"]].isna().all(axis=None)


def test_a_ratio_has_its_interval_in_per_cent_and_is_shown_where_that_leaves_zero_out(findings):
    # mean -0.2 and deviation 0.1 of two: t(0.975, 1) = 12.706 standard errors of 0.1 / sqrt(2)
    text, certain = findings.per_cent(pd.Series([-0.2 + 0.1 / math.sqrt(2), -0.2 - 0.1 / math.sqrt(2)]))
    low, high = (100 * math.expm1(-0.2 + sign * 12.7062 * 0.1 / math.sqrt(2)) for sign in (-1, 1))
    assert text == f"-18.1 ({low:.1f} to {high:.1f})"
    assert certain == "not shown"
    assert findings.per_cent(pd.Series([-0.2, -0.201]))[1] == "shown by itself"
    assert findings.per_cent(pd.Series([-0.2])) == ("-18.1 (one seed)", "not tested")


@pytest.fixture
def section(tmp_path):
    """bs_vae at beta 1, whose latents a coder takes 2 nats for, and a codec of 1 and 3 nats."""
    section = section_of(write(tmp_path / "a", make_sweep(variants=["bs_vae"], beta=[1.0], seeds=2)))
    half = section.points[(section.points["split"] == "test") & (section.points["reading"] == "half")]
    codec = half.iloc[[0, 0]].assign(variant="codec (format=jpeg)", beta=[1.0, 10.0], **CURVE.to_dict("list"))
    section.points = pd.concat([section.points, codec], ignore_index=True)
    bits = {"bits": 2 / math.log(2), "sse": math.exp(2)}
    section.metrics = pd.DataFrame(
        {"name": "coded", "variant": "bs_vae", "beta": 1.0, "seed": seed, "value": value * (1 + seed / 1e5),
         "settings": json.dumps({"quantity": name, "step": step, "n_images": 100, "fit": 5000})}
        for seed in (0, 1) for step in (1.0, 2.0) for name, value in bits.items()
    )  # fmt: skip
    return section


def test_a_real_code_stands_beside_its_kl_and_a_codec_of_the_same_rate(findings, section):
    kl = section.points[section.points["variant"].eq("bs_vae")]["rate"].iloc[0]
    table = findings.real_codes(section)
    assert table.columns[-1].heading == "off codec (format=jpeg), %"
    one, two = ([cell.text for cell in row] for row in table.rows)
    assert one[:4] == ["bs_vae", "1", "1", "2.0 (2.0 to 2.0)"]
    assert one[4].startswith(f"{kl:.1f} (")
    assert one[5:] == ["7.39 (7.39 to 7.39)", "-63.2 (-63.2 to -63.2)"]
    assert two[2] == "2"


@pytest.mark.parametrize("rate", [2.5, 1.5])
def test_outside_a_codecs_rates_nothing_is_compared(findings, section, rate):
    """Of 1 and 3 nats: 2 lie below the lowest, then above the highest."""
    section.points.loc[section.points["rate"].eq(1.0 if rate > 2 else 3.0), "rate"] = rate
    assert {row[-1].text for row in findings.real_codes(section).rows} == {"–"}
