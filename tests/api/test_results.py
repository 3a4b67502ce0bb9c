"""Results in Python: tables as frames, BD-rate, LaTeX, charts that can be layered, what notebooks show."""

import altair as alt
import pandas as pd
import pytest
import vl_convert

import rdbench
from rdbench.errors import ResultsError
from rdbench.report.contents import contents
from rdbench.report.tables.write import to_csv, to_latex

SETTINGS = {
    "name": "curves",
    "dataset": {"name": "digits", "train_images": 256, "test_images": 100},
    "variants": ["beta_vae", "bs_vae", "linear_coder"],
    "beta": [0.01, 0.1, 1],
    "seeds": 2,
    "train": {"epochs": 40, "batch_size": 64, "lr": 1e-2},
    "model": {"name": "linear", "latent": 6},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return rdbench.run(rdbench.Sweep(**SETTINGS), tmp_path_factory.mktemp("r") / "r", scheduler="serial")


@pytest.fixture(scope="module")
def exported(results):
    """The tables of an export, by name."""
    (section,) = contents([results.root]).sections
    return {table.name: table for table in section.tables}


@pytest.mark.parametrize("name", ["likelihood", "bd_rate", "envelope", "settings", "cost"])
def test_a_table_is_that_of_the_export(name, results, exported, tmp_path):
    frame = results.table(name)
    table = exported[name]
    (tmp_path / "t.csv").write_text(to_csv(table))
    expected = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert list(frame.columns) == list(expected.columns)
    for column in frame.select_dtypes("number"):
        pd.testing.assert_series_equal(
            frame[column].astype(float), pd.to_numeric(expected[column]).astype(float), check_index=False
        )
    assert frame.attrs["caption"] == table.caption


def test_the_folders_own_tables_are_the_attributes(results):
    assert results.table("trials") is results.trials
    pd.testing.assert_frame_equal(results.table("testelbo"), results.table("test_elbo"))


def test_latex_is_that_of_the_export(results, exported):
    assert results.to_latex("bd_rate") == to_latex(exported["bd_rate"])


def test_bd_rate_is_against_any_variant(results):
    frame = results.bd_rate(baseline="bs_vae")
    assert set(frame["against"]) == {"bs_vae"}
    assert set(frame["variant"]) == {"beta_vae", "linear_coder"}
    report = results.table("bd_rate").query("against == 'linear_coder' and variant == 'bs_vae'")
    mine = results.bd_rate("linear_coder").query("variant == 'bs_vae'")
    assert mine["BD-rate, %"].tolist() == report["BD-rate, %"].tolist()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda r: r.table("likelyhood"), "no table 'likelyhood'; did you mean 'likelihood'"),
        (lambda r: r.bd_rate("beta"), "no variant 'beta'; did you mean 'beta_vae'"),
        (lambda r: r.table("bd_rate", section=3), "section 3 has no table 'bd_rate'; choose from 0"),
        (lambda r: rdbench.plot.rate_distortion(r, y="snr"), "did you mean 'psnr'"),
        (lambda r: rdbench.plot.rate_distortion(r, reading="optima"), "did you mean 'optimal'"),
        (lambda r: rdbench.plot.over_beta(r, "fdi"), "no measure 'fdi' was taken"),
        (lambda r: rdbench.plot.training(r, "los"), "did you mean 'loss'"),
        (lambda r: rdbench.plot.training(r, variant="x"), "no variant 'x' was trained; choose from"),
        (
            lambda r: rdbench.plot.training(r, section=1),
            "there is no section 1; choose one: section=0: digits",
        ),
    ],
)
def test_a_wrong_name_is_one_line(ask, says, results):
    with pytest.raises(ResultsError, match=says) as raised:
        ask(results)
    assert "\n" not in str(raised.value)


CHARTS = {
    "distortion": lambda r: rdbench.plot.rate_distortion(r),
    "psnr": lambda r: rdbench.plot.rate_distortion(r, y="psnr"),
    "elbo": lambda r: rdbench.plot.rate_distortion(r, y="elbo", reading="half"),
    "fig3": rdbench.plot.fig3,
    "over_beta": rdbench.plot.over_beta,
    "training": rdbench.plot.training,
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_drawn_alone_and_below_ones_own(name, results):
    chart = CHARTS[name](results)
    own = alt.Chart(pd.DataFrame({"x": [1.0], "y": [2.0]})).mark_point().encode(x="x:Q", y="y:Q")
    for drawn in (chart, chart + own):
        svg = vl_convert.vegalite_to_svg(drawn.to_dict(), allowed_base_urls=[])
        assert svg.count("<path") > 5


def data(chart, mark):
    """The rows that a chart's marks of one kind are of."""
    spec = chart.to_dict()
    (layer,) = [one for one in spec["layer"] if one["mark"]["type"] == mark]
    return layer.get("data", spec.get("data"))["values"]


def test_the_points_of_a_chart_are_the_means_over_seeds(results):
    chart = rdbench.plot.rate_distortion(results, y="psnr")
    rows = [row for row in data(chart, "point") if row["variant"] == "bs_vae"]
    points = results.points.query("split == 'test' and reading == 'half' and variant == 'bs_vae'")
    expected = points.groupby("beta")[["rate", "psnr_of_mse"]].mean()
    assert [row["beta"] for row in rows] == expected.index.tolist()
    for name, column in {"rate": "rate", "psnr": "psnr_of_mse"}.items():
        assert [row[name] for row in rows] == pytest.approx(expected[column].tolist(), rel=1e-5)


def test_the_lines_of_training_are_the_history(results):
    rows = pd.DataFrame(data(rdbench.plot.training(results, "sse", variant="beta_vae"), "line"))
    history = results.history.merge(results.trials[["trial", "variant", "beta"]], on="trial")
    expected = history.query("variant == 'beta_vae'").groupby(["beta", "epoch"])["sse"].mean()
    assert rows.set_index(["beta", "epoch"])["value"].tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_several_sections_are_told_apart_by_number(results, tmp_path):
    short = rdbench.Sweep(**SETTINGS | {"beta": [1], "seeds": 1, "name": "other"})
    other = rdbench.run(short, tmp_path / "o", train={"epochs": 1}, scheduler="serial")
    with pytest.raises(ResultsError, match=r"there are 2 sections; choose one: section=0: digits.*section=1"):
        rdbench.plot.training([results, other])
    chart = rdbench.plot.training([results, other], section=0)
    assert {row["epoch"] for row in data(chart, "line")} == {1}


def test_notebooks_show_results_sweep_and_plan(results, tmp_path):
    html = results._repr_html_()
    assert "18 done" in html
    assert "<td>bs_vae</td>" in html
    assert "<rdbench.Results of curves: 18 done" in repr(results)
    sweep = rdbench.Sweep(**SETTINGS)
    assert "linear_coder" in sweep._repr_html_()
    plan = rdbench.plan(sweep, results.root)
    assert plan.todo == []
    assert "0 trainings left to do" in plan._repr_html_()
    assert len(rdbench.plan(sweep, tmp_path / "new", beta=[1, 10]).todo) == 12
