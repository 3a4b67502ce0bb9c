"""A number that is known as a bound only is shown as one: on the page, in charts, and in every export."""

import csv
import io
import json
import math

import pytest
from report_builders import make_sweep, report, section_of, visible, write

from rdbench.report.charts.beta import beta_chart
from rdbench.report.statistics.series import proxies
from rdbench.report.tables.measured import proxy_metrics
from rdbench.report.tables.write import to_csv, to_json, to_latex, to_markdown
from rdbench.results.store import ResultsFolder
from rdbench.spec.plan import plan

LIMIT = math.log(10_000)


def row(trial, quantity, value, **settings):
    settings = {"images": None, "samples": 1, "quantity": quantity, "n_images": 10_000} | settings
    return {"name": "latents", "value": value, "standard_error": 0.001, "settings": json.dumps(settings),
            "protocol": trial.protocol}  # fmt: skip


@pytest.fixture(params=["flagged", "of before the flag"])
def root(request, tmp_path):
    """At beta 1 the information is saturated, of one seed by a hair; at beta 10 it is not."""
    sweep = make_sweep(seeds=[0, 1])
    write(tmp_path / "study", sweep)
    for trial in plan(sweep).trials:
        full = trial.beta == 1
        information = LIMIT - 0.002 - trial.seed / 1e4 if full else 3 + trial.seed / 8
        bounds = [{"ln_images": LIMIT, "lower": information, "upper": 14.0 if full else information},
                  {"lower": 0.0 if full else 2.0, "upper": 4.79 if full else 2.0}]  # fmt: skip
        if full and request.param == "flagged":
            bounds = [one | {"bound": kind} for one, kind in zip(bounds, ("lower", "upper"), strict=True)]
        rows = [
            row(trial, "mutual_information", information, **bounds[0]),
            row(trial, "marginal_kl", bounds[1]["upper"], **bounds[1]),
        ]
        folder = ResultsFolder(tmp_path / "study")
        folder.commit(trial.id, {"metrics": rows, "trials": folder.trial_tables(trial.id)["trials"]})
    return tmp_path / "study"


def test_the_table_says_so_and_gives_no_interval(root, tmp_path):
    table = proxy_metrics(section_of(root))
    cells = {(cells[0].text, cells[1].text): cells[2:] for cells in table.rows}
    kl, information = cells["beta_vae", "1"]
    assert (information.text, information.sign, information.half_width) == ("≥ 9.208", "≥", None)
    assert (kl.text, kl.sign) == ("≤ 4.790", "≤")
    assert information.value == pytest.approx(LIMIT - 0.00205)
    kl, information = cells["beta_vae", "10"]
    assert (kl.text, kl.sign, information.sign) == ("2.000 ± 0", "", "")
    assert information.text == "3.06 ± 0.79"
    assert "known as a bound only" in table.method
    assert "≥ 9.208" in visible(report(tmp_path, root))


def test_every_export_says_so(root):
    table = proxy_metrics(section_of(root))
    lines = list(csv.DictReader(io.StringIO(to_csv(table))))
    heading = "latents mutual_information"
    assert [line[f"{heading} bound"] for line in lines] == ["≥", "", "≥", ""]
    assert [bool(line[f"{heading} half_width"]) for line in lines] == [False, True, False, True]
    assert float(lines[0][heading]) == pytest.approx(LIMIT - 0.00205)
    cells = to_json(table)["rows"][0]
    assert [cell.get("bound") for cell in cells] == [None, None, "≤", "≥"]
    assert "≥ 9.208" in to_markdown(table)
    assert r"{\ensuremath{\geq}} 9.208" in to_latex(table)


def test_the_chart_says_so_in_its_sentence_and_beside_each_point(root):
    section = section_of(root)
    name = next(one.name for one in proxies(section) if "mutual" in one.name)
    chart = beta_chart(section, ["beta_vae", "bs_vae"])
    assert "beta_vae ≥ 9.208 at β = 1 to 3.062 at β = 10" in chart.views[f"{name}/beta"]["description"]
    spec = json.dumps(chart.views[f"{name}/beta"])
    field = next(field for field in chart.data["means"][0] if field != "beta" and f"datum['{field}']" in spec)
    assert spec.count(f"(datum.signs['{field}'] || '') + format(datum['{field}']") == 2  # means and seeds
    for rows in chart.data.values():
        for each in rows:
            assert each["signs"].get(field, "") == ("≥ " if each["beta"] == 1 else "")
            assert each.get(f"{field}_low") is None or each["beta"] == 10
