"""Exports: the tables and charts of the page as files, in which no text from a user does anything."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest
from PIL import Image
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker
from report_builders import HOSTILE, make_sweep, write

from rdbench.errors import ResultsError
from rdbench.report import export as exports
from rdbench.report.charts.chart import Chart, Control
from rdbench.report.contents import contents
from rdbench.report.export import export, shown_views, unique_names
from rdbench.report.numbers import Estimate
from rdbench.report.tables.table import Cell, Column, Table, estimate_cell
from rdbench.report.tables.write import LONG, headings, latex_text, to_csv, to_json, to_latex, to_markdown

LATEX = r"\input{/etc/passwd} 50% & $x_1^2$ #1 ~ {a} \\ [2cm] | << ?` --"
MARKDOWN = "a|b\n| c | *d* _e_ `f` <b>g</b> @team #12 https://example.org [x](y) $m$"


def table(cell):
    return Table("t", "Title", "Caption.", (Column("c"),), ((cell,),))


def parsed(text):
    return list(csv.reader(io.StringIO(text, newline="")))


SPEC = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": {"name": "d"}, "mark": "point",
        "encoding": {"x": {"field": "x", "type": "nominal"}}}  # fmt: skip

MEASURED = Table(
    "elbo",
    "ELBO",
    "Nats.",
    (Column("variant", kind="key"), Column("β", kind="key"),
     Column("vae", "half", badge="native"), Column("vae", "optimal")),
    (
        (Cell("bs_vae"), Cell("1", value=1.0), estimate_cell(Estimate(-1234.5678, 1.25, 3), mark="best"),
         estimate_cell(Estimate(2.0, None, 1), mark="close", lost="2 diverged")),
        (Cell("beta_vae"), Cell("10", value=10.0), estimate_cell(None, lost="3 diverged"),
         Cell("x", mark="warning")),
    ),
    notes=("A note.",),
)  # fmt: skip


# CSV


def test_csv_holds_numbers_in_full_and_their_intervals_beside_them():
    head, one, other = parsed(to_csv(MEASURED))
    assert head == ["variant", "β", "half, vae (native)", "half, vae (native) half_width",
                    "half, vae (native) n", "half, vae (native) note", "optimal, vae", "optimal, vae n",
                    "optimal, vae note"]  # fmt: skip
    assert one == ["bs_vae", "1", "-1234.5678", "1.25", "3", "", "2", "1", "2 diverged"]
    assert other == ["beta_vae", "10", "", "", "", "3 diverged", "x", "", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "'quoted", "\r=1"])
def test_no_text_is_a_formula_to_a_spreadsheet_and_it_can_be_had_back(text):
    columns = (Column(text.strip(), kind="key"), Column("n"))
    found = Table("t", "", "", columns, ((Cell(text, note=text), Cell("−1", value=-1.0)),))
    head, row = parsed(to_csv(found))
    text = text.replace("\r", "\n")  # a line break is a line break
    assert row == [f"'{text}", f"'{text}", "-1"]
    assert all(name[0] == "'" for name in head[:2])


def test_a_hostile_name_survives_csv():
    text = HOSTILE + ',"\n;' + LATEX
    assert parsed(to_csv(table(Cell(text))))[1] == [text]


def test_columns_of_one_heading_get_names_of_their_own():
    columns = (Column("a"), Column("a"), Column("a (2)"), Column("a", "g"))
    assert headings(Table("t", "", "", columns, ())) == ["a", "a (2)", "a (2) (2)", "g, a"]


# JSON


def test_json_holds_what_the_page_shows_and_the_numbers_behind_it():
    found = json.loads(json.dumps(to_json(MEASURED), allow_nan=False))
    assert found["rows"][0][2] == {"value": -1234.5678, "half_width": 1.25, "n": 3, "text": "−1,234.6 ± 1.2",
                                   "note": "", "mark": "best"}  # fmt: skip
    assert found["rows"][1][2]["value"] is None
    assert found["rows"][1][2]["note"] == "3 diverged"
    assert [column["name"] for column in found["columns"]][2] == "half, vae (native)"


def test_json_has_no_number_that_json_does_not_have():
    assert to_json(table(Cell("inf", value=float("inf"))))["rows"][0][0]["value"] is None


# Markdown


def test_markdown_sets_the_best_in_bold_and_lists_the_notes():
    text = to_markdown(MEASURED)
    assert "| **−1,234.6 ± 1.2** |" in text
    assert "2.000 ≈ <sup>1</sup> |" in text
    assert "| – <sup>2</sup> |" in text
    assert "<sup>2</sup> 3 diverged" in text
    assert "A note." in text


def test_hostile_text_does_nothing_in_markdown():
    rows = ((Cell(MARKDOWN, note=HOSTILE), Cell(HOSTILE)),)
    text = to_markdown(Table("t", MARKDOWN, HOSTILE, (Column(MARKDOWN), Column("b")), rows))
    bare = re.sub(r"\\[\\`*_\[\]<>|~$&]", "", text).replace("<!-- -->", "\0")
    for row in (line for line in bare.splitlines() if line.startswith("|")):
        assert row.count("|") == 3  # two cells
    allowed = re.sub(r"</?sup>", "", bare).replace("**", "")
    assert not re.search(r"[<>`*\[\]$]|@\w|#\w|https://|(?<!\w)_", allowed)


# LaTeX


def brackets_balance(text):
    text = re.sub(r"\\[\\{}]", "", text)
    depth = 0
    for sign in re.findall(r"[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    return depth == 0


def cells_of(text):
    """The cells of a table's body, as the file has them."""
    body = text.split(r"\endfoot" if "{longtable}" in text else r"\midrule")[-1]
    body = body.split(r"\bottomrule")[0].split(r"\end{longtable}")[0]
    rows = [row for row in re.split(r"\\\\\n", body.strip() + "\n") if row.strip()]
    return [re.split(r" & ", row) for row in rows]


def test_latex_has_booktabs_rules_groups_and_marks():
    text = to_latex(MEASURED)
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"\multicolumn{2}{c}{} & \multicolumn{1}{c}{half} & \multicolumn{1}{c}{optimal} \\" in text
    assert r"\cmidrule(lr){3-3}\cmidrule(lr){4-4}" in text
    assert r"\textbf{{\ensuremath{-}}1,234.6 {\ensuremath{\pm}} 1.2}" in text
    assert r"\textsuperscript{\textdagger}" in text.split(r"\midrule")[1]
    assert r"\textdagger: not distinguishable" in text
    assert r"\label{tab:elbo}" in text
    assert r"{{\ensuremath{\beta}}}" in text
    assert r"\textsuperscript{2} 3 diverged" in text


@pytest.mark.parametrize(
    "hostile", [HOSTILE, LATEX, MARKDOWN, "\\end{tabular}", "[2cm]", "*", "% gone", "}{", "é β 🙂 中"]
)
@pytest.mark.parametrize("amount", [1, LONG + 1])
def test_hostile_text_is_text_in_latex(hostile, amount):
    cells = (Cell(hostile, note=hostile), Cell(hostile, mark="best"))
    found = Table("t", hostile, hostile, (Column(hostile, hostile, badge=hostile), Column("b", "g")),
                  (cells,) * amount, notes=(hostile,))  # fmt: skip
    text = to_latex(found, hostile)
    assert text.isascii()
    assert brackets_balance(text)
    nodes = LatexWalker(text, tolerant_parsing=False).get_latex_nodes()[0]
    names = [node.environmentname for node in nodes if isinstance(node, LatexEnvironmentNode)]
    assert names == (["longtable"] if amount > LONG else ["table"])
    rows = cells_of(text)
    assert [len(row) for row in rows] == [2] * amount
    assert not any(row[0].lstrip().startswith(("[", "*")) for row in rows)
    for macro in ("input", "end{tabular}\n & "):
        assert rf"\{macro}" not in text
    unescaped = re.sub(r"\\[A-Za-z]+|\\.", "", "".join(cell for row in rows for cell in row))
    assert not re.search(r"[%#$&_^~]", unescaped)


def test_latex_ligatures_do_not_change_a_name():
    assert latex_text("a--b''") == "a-{}-b'{}'"
    assert latex_text("x|y") == r"x{\textbar}y"


def test_control_characters_do_not_reach_a_file():
    for text in (to_latex(table(Cell("a\x1b[31m\x00b"))), to_markdown(table(Cell("a\x1b[31m\x00b")))):
        assert "\x1b" not in text
        assert "\x00" not in text
    assert "\x00" not in to_csv(table(Cell("a\x00b")))


# Files


def test_names_are_safe_and_unlike_whatever_the_case():
    found = unique_names(["a/b", "A b", "../..", "", "-rf", ".hidden", "x" * 300, "é"])
    assert found[:3] == ["a-b", "A-b_2", "unnamed"]
    assert found[4:6] == ["rf", "hidden"]
    assert len({name.lower() for name in found}) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}", name) for name in found)


def test_each_option_of_the_first_control_is_written_once():
    controls = (Control("y", (("mse", "MSE"), ("psnr", "PSNR"), ("bits", "Bits"))),
                Control("x", (("linear", ""), ("log", ""))))  # fmt: skip
    views = {key: {} for key in ("mse/linear", "mse/log", "psnr/linear", "psnr/log", "bits/log")}
    assert shown_views(Chart("c", "", (), controls, (), views, {})) == [
        "mse/linear",
        "psnr/linear",
        "bits/log",
    ]
    assert shown_views(Chart("c", "", (), (), (), {"": {}}, {})) == [""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    return write(root / "a", make_sweep(seeds=2, beta=[1, 3, 10]))


def test_every_table_and_chart_is_written(folder, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(exports, "draw_png", lambda chart, key: drawn.append((chart.name, key)) or b"png")
    monkeypatch.setattr(exports, "draw_svg", lambda chart, key: "<svg/>")
    monkeypatch.setattr(exports, "draw_pdf", lambda chart, key: b"pdf")
    files = export([folder], tmp_path / "out", exports.FORMATS)
    (section,) = contents([folder]).sections
    below = {str(path.relative_to(tmp_path / "out")) for path in files}
    assert {f"digits_clean/{table.name}.{end}" for table in section.tables for end in ("csv", "tex")} <= below
    assert drawn == [(chart.name, key) for chart in section.charts for key in shown_views(chart)]
    assert "digits_clean/rate_distortion_mse.svg" in below
    curves = 1 + len(section.variants)
    assert len(below) == len(files) == 2 * len(section.tables) + 4 * len(drawn) + curves + 1
    assert all(path.is_file() for path in files)
    data = json.loads((tmp_path / "out/report.json").read_text())
    names = [table["name"] for table in data["sections"][0]["tables"]]
    assert names == [table.name for table in section.tables]
    finding = data["sections"][0]["charts"][0]["findings"][section.charts[0].first]
    assert finding == section.charts[0].finding


def test_what_is_there_is_replaced_and_equal_results_give_equal_bytes(folder, tmp_path):
    first = {path: path.read_bytes() for path in export([folder], tmp_path, ["csv", "json"])}
    (tmp_path / "report.json").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    assert {path: path.read_bytes() for path in export([folder], tmp_path, ["csv", "json"])} == first
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not list(tmp_path.rglob("*.tmp"))


def test_charts_are_drawn_on_white_with_their_data_and_nothing_is_fetched(folder):
    (section,) = contents([folder]).sections
    chart = section.charts[0]
    svg = exports.draw_svg(chart, chart.first)
    root = ET.fromstring(svg)
    assert root[0].attrib["fill"] == "white"
    assert "bs_vae" in svg
    assert not re.search(r"(href|src)=.https?:", svg)
    image = Image.open(io.BytesIO(exports.draw_png(chart, chart.first)))
    assert image.size[0] == pytest.approx(2 * float(root.attrib["width"]), abs=2)
    assert image.getpixel((0, 0)) == (255, 255, 255, 255)
    colours = image.convert("RGB").getcolors(1 << 20)
    assert any(colour == (0xD5, 0x5E, 0x00) for _, colour in colours), "no point of bs_vae is drawn"


@pytest.mark.parametrize("name", ["fig3", "psnr"])
def test_what_a_paper_prints_has_the_width_of_its_column(folder, name):
    (section,) = contents([folder]).sections
    found = {chart.name: chart for chart in section.charts}
    if name not in found:
        pytest.skip("the results have no such chart")
    chart = found[name]
    root = ET.fromstring(exports.draw_svg(chart, chart.first))
    assert float(root.attrib["width"]) / 96 == pytest.approx(3.25, abs=0.02)
    box = re.search(rb"/MediaBox\s*\[([^]]*)\]", exports.draw_pdf(chart, chart.first))
    width = float(box[1].split()[2]) - float(box[1].split()[0])
    assert width / 72 == pytest.approx(3.25, abs=0.02)


@pytest.mark.parametrize("draw", [exports.draw_svg, exports.draw_png, exports.draw_pdf])
def test_a_chart_that_asks_for_data_from_elsewhere_is_refused(draw):
    spec = SPEC | {"data": {"url": "http://127.0.0.1:9/x.json"}}
    with pytest.raises(ValueError, match="not allowed"):
        draw(Chart("c", "", (), (), (), {"": spec}, {}), "")


def test_text_from_a_user_is_text_in_a_drawing():
    svg = exports.draw_svg(Chart("c", "", (), (), (), {"": SPEC}, {"d": [{"x": HOSTILE}]}), "")
    tags = {element.tag.split("}")[1] for element in ET.fromstring(svg).iter()}
    assert not tags & {"script", "img", "image", "foreignObject"}
    assert "alert(1)" in svg


def test_sections_have_folders_of_their_own(folder, tmp_path):
    other = write(tmp_path / "b", make_sweep(train={"epochs": 7}))
    files = export([folder, other], tmp_path / "out", ["csv"])
    assert {path.parent.name for path in files} == {"digits_clean", "digits_clean_2"}


def test_results_without_a_finished_trial_have_tables_still(tmp_path):
    root = write(tmp_path / "a", make_sweep(), lost=lambda trial: ("diverged", HOSTILE))
    files = export([root], tmp_path / "out", ["svg", "csv", "latex", "json"])
    assert any(path.name == "failures.csv" for path in files)
    assert all(brackets_balance(path.read_text()) for path in files if path.suffix == ".tex")


def test_an_error_is_one_clear_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"file/.* cannot be written \(.*\)"):
        export([folder], tmp_path / "file", ["csv"])
    with pytest.raises(ResultsError, match="not a results folder"):
        export([tmp_path], tmp_path / "out", ["csv"])
