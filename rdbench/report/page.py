"""Assemble the page: one HTML file that loads nothing."""

import contextlib
import functools
import importlib.metadata
import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

import rdbench
from rdbench.errors import StorageError
from rdbench.report import numbers, pictures
from rdbench.report.charts.chart import Chart
from rdbench.report.contents import SectionContents, contents
from rdbench.report.statistics.series import READING_NAMES
from rdbench.report.tables import measured
from rdbench.spec.sweep import dump_sweep
from rdbench.storage import paths
from rdbench.storage.outputs import is_standard_output, write_output
from rdbench.storage.places import Place, Remote, write_atomically

PICTURE_BYTES = 1_500_000
"""What all pictures of a page may take, so that it can go by mail; more where many trainings stored some:"""
PICTURE_BYTES_MORE = 30_000
"""for each of them,"""
PICTURE_BYTES_MOST = 6_000_000
"""up to this."""


def write_page(results: Sequence[Place], out: Place, title: str = "") -> Place:
    """Write the report; see :func:`rdbench.report.make_report`."""
    write_output(out, render(results, out, title))
    return out


def render(results: Sequence[Place], out: Place, title: str = "") -> str:
    """Return the page as text."""
    found = contents(results)
    with_pictures = sum(each.section.images["trial"].nunique() for each in found.sections)
    budget = min(PICTURE_BYTES_MOST, max(PICTURE_BYTES, PICTURE_BYTES_MORE * with_pictures))
    charts = {each.key: {chart.name: _for_script(chart) for chart in each.charts} for each in found.sections}
    charts = {key: own for key, own in charts.items() if own}
    names = dict.fromkeys(item.sweep.name for item in found.loaded)
    titled = ["--title", title] if title else []
    return _environment().get_template("page.html.j2").render(
        title=title or "Rate-distortion report: " + ", ".join(names),
        sections=[section_view(each, budget // len(found.sections)) for each in found.sections],
        problems=found.problems,
        sweeps=[(str(item.root), dump_sweep(item.sweep)) for item in found.loaded],
        command=shlex.join(["rdbench", "report", *map(str, results), "--out", _written(out), *titled]),
        readings=[(key, name) for key, name in READING_NAMES.items()
                  if any(key in each.section.readings for each in found.sections)],
        version=rdbench.__version__,
        charts=as_json(charts),
        vega=_vega() if charts else "",
    )  # fmt: skip


def _written(out: Place) -> str:
    """Return where a page went, as it tells others: a folder of the machine it was made on is not theirs."""
    if is_standard_output(out):
        return "-"
    return str(out) if isinstance(out, Remote) else out.name


def section_view(found: SectionContents, budget: int) -> dict[str, Any]:
    """Return what the template shows of a section."""
    by_name = {table.name: table for table in found.tables}
    return {
        "key": found.key,
        "heading": found.heading,
        "differs": found.differs,
        "variants": found.variants,
        "progress": measured.progress(found.section),
        "findings": measured.findings(found.section),
        # A chart or table without content is not there, which the template may ask.
        "charts": defaultdict(lambda: None, {chart.name: chart for chart in found.charts}),
        "tables": defaultdict(lambda: None, by_name),
        "searches": found.searches,
        "bound": found.section.dataset == "gaussian",
        "paired": [table for name, table in by_name.items() if name.startswith("paired_")],
        "measured": [table for name, table in by_name.items() if name.startswith("measured_")],
        "pictures": pictures.choose(found.section, found.variants, budget),
        "has_images": len(found.section.images) > 0,
    }


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


def _vega() -> Markup:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed, as vl-convert ships them.

    Putting it together takes a second or two, so it is kept in the cache, by vl-convert's version.
    """
    kept = paths.cache_root() / "report" / f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Markup(kept.read_text(encoding="utf-8"))
    import vl_convert

    bundle = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    bundle = bundle.replace("</script", "<\\/script")
    with contextlib.suppress(StorageError):  # a cache that cannot be written to costs time, not the report
        write_atomically(kept, bundle.encode())
    return Markup(bundle)


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("rdbench.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )

    def own(name: str) -> Markup:
        """Return a file of ours, which holds no data: it goes in as it is."""
        return Markup(loader.get_source(environment, name)[0])

    environment.globals |= {"style": own("page.css") + own("charts.css"), "script": own("page.js")}
    environment.filters |= {"count": numbers.count}
    return environment
