"""Write a report's charts and tables as files: for a paper, a slide, a spreadsheet or a script."""

import copy
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import rdbench
from rdbench.errors import need
from rdbench.report import references as curve_files
from rdbench.report.charts.chart import Chart
from rdbench.report.contents import Contents, SectionContents, contents
from rdbench.report.references import Reference
from rdbench.report.tables.write import to_csv, to_json, to_latex
from rdbench.storage.outputs import make_folder, write_output
from rdbench.storage.places import Place, place

Format = Literal["svg", "png", "pdf", "vega", "csv", "latex", "json", "curves"]
FORMATS: tuple[Format, ...] = get_args(Format)

SIZE = (620, 400)  # width and height, in pixels, of a chart that takes the page's width
SCALE = 2  # pixels of a PNG for one of the chart's
COLUMN = 3.25  # inches: the width of a column of a paper
PAPER = ("fig3", "psnr")  # charts that a paper prints, drawn to its column
PAPER_HEIGHT = 2.5  # inches
PAPER_FONT = "Times New Roman, Liberation Serif, serif"
PAPER_TEXT = 8 / 72  # inches: 8 points
PIXELS, POINTS = 96, 72  # in an inch

File = tuple[str, str | bytes]


def export(
    results: Sequence[str | os.PathLike[str] | Place],
    out: str | os.PathLike[str] | Place,
    formats: Sequence[Format],
    floor: float | None = None,
    references: Sequence[Reference] = (),
) -> list[Place]:
    """Write charts and tables into a folder, in a sub-folder a section.

    Args:
        results: results folders.
        out: the folder to write; made if missing. Files of the same names are replaced, others are kept.
        formats: "svg", "png" and "pdf": each chart, one file an option of its first control (the others at
            their first option), of a search each view, on white; Fig. 3 and the PSNR to a paper's column of
            ``COLUMN`` inches. "vega": the same as Vega-Lite specs, with their data, to restyle.
            "csv" and "latex": each table. "json": all tables and what the charts show, in ``report.json``.
            "curves": the curves in the forms that are read as references: ``curves.csv``, and CompressAI's
            JSON of each variant, ``curve_<variant>.json``.
        floor: as of :func:`rdbench.report.make_report`.
        references: curves of others' to show and compare with.

    Returns:
        The files, in the order of the page; those of equal results are equal byte for byte.

    Raises:
        ResultsError: a folder is not a results folder, or ``out`` cannot be written.
    """
    need("report")
    report, out = contents([place(one) for one in results], floor, references), place(out)
    written = []
    for name, content in _files(report, formats):
        written.append(out / name)
        make_folder(written[-1].parent)
        write_output(written[-1], content)
    make_folder(out)  # also if there is nothing to write
    return written


def _files(report: Contents, formats: Sequence[Format]) -> Iterator[File]:
    """Yield (path below the folder, content)."""
    sections = report.sections
    names = unique_names(f"{filled.section.dataset}_{filled.section.protocol}" for filled in sections)
    for folder, filled in zip(names, sections, strict=True):
        yield from _charts(folder, filled, formats)
        yield from _tables(folder, filled, formats)
        if "curves" in formats:
            yield from _curves(folder, filled)
    if "json" in formats:
        text = json.dumps(as_data(report), allow_nan=False, ensure_ascii=False, indent=1)
        yield "report.json", f"{text}\n"


def _charts(folder: str, section: SectionContents, formats: Sequence[Format]) -> Iterator[File]:
    views = [(chart, key) for chart in section.charts for key in shown_views(chart)]
    names = unique_names(_stem(chart, key) for chart, key in views)
    for name, (chart, key) in zip(names, views, strict=True):
        if "svg" in formats:
            yield f"{folder}/{name}.svg", draw_svg(chart, key)
        if "png" in formats:
            yield f"{folder}/{name}.png", draw_png(chart, key)
        if "pdf" in formats:
            yield f"{folder}/{name}.pdf", draw_pdf(chart, key)
        if "vega" in formats:
            text = json.dumps(_standalone(chart, key), allow_nan=False, ensure_ascii=False, indent=1)
            yield f"{folder}/{name}.vl.json", f"{text}\n"


def _stem(chart: Chart, key: str) -> str:
    options = key.replace("/", "_") if chart.kind == "search" else key.split("/")[0]
    return f"{chart.name}_{options}" if key else chart.name


def _tables(folder: str, section: SectionContents, formats: Sequence[Format]) -> Iterator[File]:
    names = unique_names(table.name for table in section.tables)
    for name, table in zip(names, section.tables, strict=True):
        if "csv" in formats:
            yield f"{folder}/{name}.csv", to_csv(table)
        if "latex" in formats:
            yield f"{folder}/{name}.tex", to_latex(table, f"{folder}-{name}")


def _curves(folder: str, section: SectionContents) -> Iterator[File]:
    yield f"{folder}/curves.csv", curve_files.to_csv(section.section)
    for name, variant in zip(unique_names(section.variants), section.variants, strict=True):
        if text := curve_files.to_compressai(section.section, variant):
            yield f"{folder}/curve_{name}.json", text


def unique_names(texts: Iterable[str]) -> list[str]:
    """Return a file name for each text: safe on every file system, no two alike whatever the case."""
    names: dict[str, str] = {}  # by itself in lower case
    for text in texts:
        # A leading letter or digit: no hidden file, no option of a command.
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:80].strip("._-") or "unnamed"
        numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        unique = next(unique for unique in numbered if unique.lower() not in names)
        names[unique.lower()] = unique
    return list(names.values())


def shown_views(chart: Chart) -> list[str]:
    """Return the keys of the views to write: one an option of the first control, of a search all."""
    if not chart.controls:
        return [chart.first]
    if chart.kind == "search":
        return list(chart.views)
    keys = []
    for option, _ in chart.controls[0].options:
        key = "/".join([option, *chart.first.split("/")[1:]])
        # An option may lack that view: then its first one.
        views = [view for view in chart.views if view.split("/")[0] == option]
        keys += [key] if key in chart.views else views[:1]
    return keys


def _standalone(chart: Chart, key: str, inch: int = PIXELS) -> dict[str, Any]:
    """Return a view's spec with its data in it, of a fixed size and on white; ``inch`` is in its units."""
    spec = copy.deepcopy(chart.views[key])
    if chart.name in PAPER:
        _for_column(spec, inch)
    for side, length in zip(("width", "height"), SIZE, strict=True):
        if spec.get(side) == "container":
            spec[side] = length
    # White, not transparent: black text would be lost where a viewer's own background is dark.
    return spec | {"datasets": spec.get("datasets", {}) | chart.data, "background": "white"}


def _for_column(spec: dict[str, Any], inch: int) -> None:
    """Give a spec a paper's column width and text; the marks and lines become as small as the text."""
    spec["width"], spec["height"] = round(COLUMN * inch), round(PAPER_HEIGHT * inch)
    size = round(PAPER_TEXT * inch, 1)
    spec["autosize"] = {"type": "fit", "contains": "padding"}
    spec["padding"] = 2
    config = spec.setdefault("config", {})
    config["font"] = PAPER_FONT
    text = {"labelFontSize": size, "titleFontSize": size}
    for part in ("axis", "legend"):
        config[part] = config.get(part, {}) | text
    for layer in spec["layer"]:
        if layer["mark"]["type"] == "text":
            layer["mark"]["fontSize"] = round(0.9 * size, 1)
        if "size" in layer["mark"]:
            layer["mark"]["size"] /= 2
        marks = layer["encoding"].get("size", {})
        for value in (marks, marks.get("condition", {})):
            if "value" in value:
                value["value"] /= 2


def draw_pdf(chart: Chart, key: str) -> bytes:
    """Return a view of a chart as PDF, text as text; nothing is fetched."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_pdf(_standalone(chart, key, POINTS), allowed_base_urls=[]))


def draw_svg(chart: Chart, key: str) -> str:
    """Return a view of a chart as SVG; nothing is fetched."""
    import vl_convert

    return str(vl_convert.vegalite_to_svg(_standalone(chart, key), allowed_base_urls=[]))


def draw_png(chart: Chart, key: str) -> bytes:
    """Return a view of a chart as PNG, with ``SCALE`` pixels for one; nothing is fetched."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(_standalone(chart, key), scale=SCALE, allowed_base_urls=[]))


def as_data(report: Contents) -> dict[str, Any]:
    """Return a report as JSON data: its tables, and what each of its charts shows."""
    return {
        "rdbench": rdbench.__version__,
        "sections": [
            {
                "heading": filled.heading,
                "dataset": filled.section.dataset,
                "protocol": filled.section.protocol,
                "checksum": filled.section.checksum,
                "settings": filled.section.settings,
                "charts": [
                    {"name": chart.name, "title": chart.title, "notes": list(chart.notes),
                     "findings": {key: view.get("description", "") for key, view in chart.views.items()}}
                    for chart in filled.charts
                ],
                "searches": [
                    {"name": search.name, "kind": search.kind, "amounts": search.amounts,
                     "account": list(search.account)}
                    for search in filled.section.searches
                ],
                "tables": [to_json(table) for table in filled.tables],
            }
            for filled in report.sections
        ],
        "problems": list(report.problems),
    }  # fmt: skip
