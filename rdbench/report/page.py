"""Assemble the page: one HTML file that loads nothing."""

import functools
import importlib.metadata
import json
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jinja2
from markupsafe import Markup

import rdbench
from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report import numbers, pictures
from rdbench.report.charts.chart import Chart
from rdbench.report.charts.marks import marks
from rdbench.report.charts.templates import in_cache
from rdbench.report.contents import SectionContents, contents
from rdbench.report.glossary import mark_terms
from rdbench.report.references import read_all
from rdbench.report.run_line import run_line
from rdbench.report.tables import measured
from rdbench.report.tables.table1 import published
from rdbench.spec.sweep import dump_sweep
from rdbench.storage.cache import cached
from rdbench.storage.outputs import is_standard_output
from rdbench.storage.places import Place, Remote

PICTURE_BYTES = 1_500_000  # of all pictures of a page, so that it can go by mail; more where many trainings
PICTURE_BYTES_MORE = 30_000  # stored some: for each of them,
PICTURE_BYTES_MOST = 6_000_000  # up to this


def render(
    results: Sequence[Place],
    out: Place,
    title: str = "",
    floor: float | None = None,
    references: Sequence[Place] = (),
) -> str:
    """Return the page as text; see :func:`rdbench.report.make_report`."""
    with ThreadPoolExecutor(1) as beside:  # the bundling needs no Python, so it costs no time there
        beside.submit(_vega)
        report = contents(results, floor, read_all(references))
    sections = report.sections
    with_pictures = sum(section.section.images["trial"].nunique() for section in sections)
    budget = min(PICTURE_BYTES_MOST, max(PICTURE_BYTES, PICTURE_BYTES_MORE * with_pictures))
    names = dict.fromkeys(item.sweep.name for item in report.loaded)
    readings = {reading for section in sections for reading in section.section.readings}
    command = ["rdbench", "report", *map(str, results), "--out", _written(out)]
    command += [] if floor is None else ["--rate-floor", f"{floor:g}"]
    command += [word for one in references for word in ("--reference", _written(one))]
    return filled(
        "page.html.j2",
        {section.key: section.charts for section in sections},
        title=title or ", ".join(names),
        many=len(sections) > 1,
        sections=[section_view(section, budget // len(sections)) for section in sections],
        problems=report.problems,
        sweeps=[(str(item.root), dump_sweep(item.sweep)) for item in report.loaded],
        command=shlex.join([*command, "--title", title] if title else command),
        readings=[(reading, name) for reading, name in READING_NAMES.items() if reading in readings],
        version=rdbench.__version__,
    )


def filled(template: str, charts: Mapping[str, Sequence[Chart]], **view: Any) -> str:
    """Return a page: of a template, the charts of each section by its key, and what else it shows."""
    parts = {key: {chart.name: _for_script(chart) for chart in own} for key, own in charts.items() if own}
    page = _environment().get_template(template)
    return page.render(charts=as_json(parts), vega=_vega() if parts else "", **view)


def _written(out: Place) -> str:
    """Return the place of a page for other readers: without the folder of this machine."""
    if is_standard_output(out):
        return "-"
    return str(out) if isinstance(out, Remote) else out.name


def section_view(own: SectionContents, budget: int) -> dict[str, Any]:
    """Return what the template shows of a section; ``budget`` is the bytes its pictures may take."""
    section, tables = own.section, own.tables
    view: dict[str, Any] = {
        "varied": section.varied,
        "run": run_line(section),
        "progress": measured.progress(section),
        "papers": section.dataset in published(),
        # A chart or table without content is None in the template.
        "charts": defaultdict(lambda: None, {chart.name: chart for chart in own.charts}),
        "tables": defaultdict(lambda: None, {table.name: table for table in tables}),
        "marks": marks(own.charts),
        "bound": section.dataset == "gaussian",
        "paired": [table for table in tables if table.name.startswith("paired_")],
        "measured": [table for table in tables if table.name.startswith("measured_")],
        "pictures": pictures.choose(section, own.variants, budget),
        "has_images": len(section.images) > 0,
    }
    return vars(own) | view


def as_json(value: object) -> Markup:
    """Return JSON that is safe inside a script element: no text in it can end the element or open one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _for_script(chart: Chart) -> dict[str, Any]:
    return {
        "controls": [[key for key, _ in control.options] for control in chart.controls],
        "switches": {switch.parameter: switch.on for switch in chart.switches},
        "views": chart.views,
        "data": chart.data,
    }


@functools.cache
def _vega() -> Markup:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed, as vl-convert ships them.

    Bundling takes a second or two, so the bundle is cached, by the version. Python runs on meanwhile.
    """

    def bundle() -> str:
        import vl_convert

        script = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        return script.replace("</script", "<\\/script")

    return cached(in_cache(f"vega-{importlib.metadata.version('vl-convert-python')}.js"), bundle, Markup)


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("rdbench.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )

    def asset(name: str) -> Markup:
        """Return a file that ships with rdbench: it holds no data, so it goes in unescaped."""
        return Markup(loader.get_source(environment, name)[0])

    environment.globals |= {"style": asset("page.css") + asset("charts.css"), "script": asset("page.js")}
    environment.filters |= {"count": numbers.count, "betas": pictures.betas, "mark_terms": mark_terms}
    return environment
