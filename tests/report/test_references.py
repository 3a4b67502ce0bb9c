"""Reference curves from files: both forms, what is wrong with one, and where they are shown and compared."""

import json
import math

import pytest
import vl_convert

import rdbench as package
from rdbench.errors import ResultsError
from rdbench.report import references
from rdbench.report.compare.compare import compare
from rdbench.report.contents import contents
from rdbench.report.export import draw_svg, export, shown_views
from rdbench.report.sections import gather
from rdbench.results.load import load_results

JPEG = {
    "name": "JPEG",
    "description": "of digits",
    "results": {"psnr-rgb": [12.0, 14.0, 16.5], "ms-ssim-rgb": [0.8, 0.9, 0.95], "bpp": [0.05, 0.1, 0.2]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two curves in closed form on digits."""
    results = package.run(
        package.Sweep(
            name="curves",
            dataset={"name": "digits", "train_images": 256, "test_images": 100},
            variants=["linear_coder", {"name": "linear_coder", "components": 3}],
            beta=[0.05, 0.1, 0.2, 0.4, 0.8],
            seeds=2,
            train={"batch_size": 64},
            model={"name": "linear", "latent": 8},
        ),
        tmp_path_factory.mktemp("references") / "r",
        scheduler="serial",
    )
    return results.root


@pytest.fixture
def section(root):
    ((section,), _) = gather([load_results(root)])
    return section


@pytest.fixture
def jpeg(tmp_path):
    file = tmp_path / "jpeg.json"
    file.write_text(json.dumps(JPEG))
    return file


def test_bits_per_pixel_and_decibels_become_nats_and_squared_errors(section, jpeg):
    (curve,) = references.read(jpeg)
    row = curve.rows(section)[1]
    assert row["reference"] == "JPEG"
    assert row["rate"] == pytest.approx(0.1 * 64 * math.log(2))
    assert row["bits_per_pixel"] == pytest.approx(0.1)
    assert row["mse"] == pytest.approx(10**-1.4)


def test_every_unit_of_a_csv_is_read(section, tmp_path):
    file = tmp_path / "c.csv"
    file.write_text(
        "rate,unit,distortion,unit,name\n"
        "2,bits per image,13,dB,a\n1,nats per image,12,dB,b\n"
        '0.5,nats per image,0.02,MSE,"c, d"\n3,nats per image,-8.5,nats per image at optimal_train,e\n'
    )
    curves = {curve.name: curve.rows(section)[0] for curve in references.read(file)}
    assert curves["a"]["rate"] == pytest.approx(2 * math.log(2))
    assert curves["c, d"]["psnr"] == pytest.approx(-10 * math.log10(0.02))
    assert curves["e"]["distortion_optimal_train"] == -8.5
    assert "mse" not in curves["e"]


def test_what_is_exported_is_read_again_and_needs_the_same_rate(root, section, tmp_path):
    files = export([root], tmp_path / "out", ["curves"])
    assert {file.name for file in files} == {
        "curves.csv",
        "curve_linear_coder.json",
        "curve_linear_coder-components-3.json",
    }
    means = section.points.query("split == 'test' and reading == 'half' and variant == 'linear_coder'")
    means = means.groupby("beta")[["rate", "mse", "psnr_of_mse"]].mean().sort_values("rate")
    by_csv = [one for one in references.read(tmp_path / "out/digits_clean/curves.csv")
              if (one.name, one.quantity) == ("linear_coder", "mse")]  # fmt: skip
    by_json = references.read(tmp_path / "out/digits_clean/curve_linear_coder.json")
    for (curve,), rel in ((by_csv, 1e-12), (by_json, 1e-12)):
        rows = curve.rows(section)
        assert [row["rate"] for row in rows] == pytest.approx(means["rate"].tolist(), rel=rel)
    assert [row["psnr"] for row in by_json[0].rows(section)] == pytest.approx(means["psnr_of_mse"].tolist())
    (table,) = [
        one for one in contents([root], references=by_csv).sections[0].tables if one.name == "bd_rate"
    ]
    own = [row for row in table.rows if (row[1].text, row[2].text) == ("linear_coder", "linear_coder")]
    assert own
    assert [row[3].value for row in own] == pytest.approx([0], abs=1e-6)


WRONG = {
    "not there": (None, "cannot be read"),
    "no JSON": ('{"name": ', "is no JSON"),
    "a list": ("[1, 2]", "has no results"),
    "no psnr": ('{"results": {"bpp": [1]}}', "bpp and psnr are needed, and it has bpp"),
    "lengths": ('{"results": {"bpp": [1, 2], "psnr": [30]}}', "2 values of bpp and 1 of psnr"),
    "text": ('{"results": {"bpp": [1, "x"], "psnr": [30, 31]}}', r"bpp\[1\]: 'x' is no finite number"),
    "NaN": ('{"results": {"bpp": [1, NaN], "psnr": [30, 31]}}', r"bpp\[1\]: nan is no finite number"),
    "truth": ('{"results": {"bpp": [true], "psnr": [31]}}', r"bpp\[0\]: True is no finite number"),
    "empty": ('{"results": {"bpp": [], "psnr": []}}', "has no point"),
    "negative": ('{"name": "J", "results": {"bpp": [-1], "psnr": [3]}}', "J: a rate of -1"),
    "no heading": ("1,2,3\n", "the first line is '1,2,3'; write rate,unit,distortion,unit,name"),
    "nothing": ("", "the first line is ''"),
    "no line": ("rate,unit,distortion,unit,name\n", "has no point"),
    "short line": ("rate,unit,distortion,unit,name\n1,nats per image,3\n", "line 2: has 3 values"),
    "unit": (
        "rate,unit,distortion,unit,name\n1,bpp,3,dB,a\n",
        "line 2: unit of the rate: 'bpp' is not known",
    ),
    "other unit": (
        "rate,unit,distortion,unit,name\n1,nats per image,3,db,a\n",
        "line 2: unit of the distortion: 'db' is not known",
    ),
    "name": ("rate,unit,distortion,unit,name\n1,nats per image,3,dB, \n", "line 2: the curve has no name"),
    "number": ("rate,unit,distortion,unit,name\n1,nats per image,x,dB,a\n", "line 2: distortion: 'x' is no"),
    "bytes": (b"\xff\xfe\x00", "is not UTF-8"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_holds_no_curve_is_one_line(wrong, tmp_path, rdbench, root):
    content, says = WRONG[wrong]
    file = tmp_path / "curve"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ResultsError, match=says) as raised:
        references.read(file)
    assert "\n" not in str(raised.value)
    ended = rdbench("report", root, "--out", tmp_path / "p.html", "--reference", file)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert not (tmp_path / "p.html").exists()


def test_two_curves_of_one_name_are_refused(jpeg):
    with pytest.raises(ResultsError, match="two reference curves are named 'JPEG'"):
        references.read_all([jpeg, jpeg])


def test_the_page_draws_it_over_the_rate_and_compares_with_it(root, jpeg):
    (section,) = contents([root], references=references.read_all(jpeg)).sections
    charts = {chart.name: chart for chart in section.charts}
    for name in ("psnr", "rate_distortion"):
        for key in shown_views(charts[name]):
            drawn = "JPEG" in draw_svg(charts[name], key)
            assert drawn == (name == "psnr" or key.startswith(("psnr", "mse")))
    (table,) = [table for table in section.tables if table.name == "bd_rate"]
    against = [row for row in table.rows if row[1].text == "JPEG"]
    assert {row[2].text for row in against} == set(section.variants)
    assert "JPEG" in table.title
    without = contents([root]).sections[0]
    assert all("references" not in chart.data for chart in without.charts)


def test_points_beyond_the_axes_are_there_for_who_asks_for_all(root, tmp_path):
    far = tmp_path / "far.csv"
    far.write_text("rate,unit,distortion,unit,name\n1,nats per image,12,dB,f\n500,nats per image,60,dB,f\n")
    (section,) = contents([root], references=references.read_all(far)).sections
    (chart,) = [chart for chart in section.charts if chart.name == "psnr"]
    points = next(layer for layer in chart.views[chart.first]["layer"] if layer.get("name") == "points")
    for channel, value in (("x", 500), ("y", 60)):
        high = points["encoding"][channel]["scale"]["domain"][1]["expr"]
        whole, fit = high.removeprefix("outside ? ").split(" : ")
        assert float(fit) < value <= float(whole)


def test_the_command_and_python_take_files(root, jpeg, tmp_path, rdbench):
    ended = rdbench("report", root, "--out", tmp_path / "p.html", "--reference", jpeg)
    assert ended.returncode == 0
    assert "JPEG" in (tmp_path / "p.html").read_text()
    page = package.write_report(root, tmp_path / "q.html", reference=jpeg)
    assert page.read_text().replace("q.html", "p.html") == (tmp_path / "p.html").read_text()
    ended = rdbench("report", root, "--format", "curves", "--out", tmp_path)
    assert "3 files written" in ended.stdout


def test_a_comparison_holds_both_sides_against_it(root, jpeg, tmp_path, rdbench):
    (pair,) = compare([root], [root], references.read_all(jpeg)).pairs
    assert {(side, rate.baseline) for side, _, rate in pair.references} == {("A", "JPEG"), ("B", "JPEG")}
    values = {(side, rate.variant): rate.percent for side, _, rate in pair.references}
    assert values["A", "linear_coder"] == values["B", "linear_coder"] is not None
    ended = rdbench("compare", root, root, "--reference", jpeg)
    assert "BD-rate against reference curves" in ended.stdout


def test_a_chart_of_ones_own_has_it_where_the_quantity_is_the_same(root, jpeg):
    chart = package.plot.rate_distortion(root, y="psnr", reference=jpeg)
    assert "JPEG" in vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])
    chart = package.plot.rate_distortion(root, reference=[jpeg])
    assert "JPEG" not in json.dumps(chart.to_dict())
