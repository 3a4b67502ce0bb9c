"""Assemble the page: sections, their charts, tables and pictures, and where the numbers come from."""

import functools
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

import rdbench
from rdbench.errors import ResultsError
from rdbench.report import numbers, paired, pictures, shannon, tables
from rdbench.report.charts import Chart, rate_chart
from rdbench.report.curves import Estimate
from rdbench.report.gather import Section, gather, records
from rdbench.spec import dump_sweep
from rdbench.store import load_results, write_atomically

PICTURE_BYTES = 1_500_000
"""What all pictures of a page may take, so that it can go by mail."""

LONG_TABLE = 24
"""Rows from which on a table starts folded."""

PROTOCOLS = {
    "clean": "clean: train and test images as they are, every image.",
    "paper": "paper: images with the training augmentation, the last partial batch dropped, as the paper's"
    " released code evaluates.",
}


def write_page(results: Sequence[Path], out: Path) -> Path:
    """Write the report; see :func:`rdbench.report.make_report`."""
    if not results:
        raise ResultsError("no results folder is given; name at least one, results/<name>")
    page = render(results, out)
    try:
        write_atomically(out, page.encode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ResultsError(f"{out}: the report cannot be written there ({reason}); name a file") from None
    return out


def render(results: Sequence[Path], out: Path) -> str:
    """Return the page as text."""
    loaded = [load_results(path) for path in results]
    sections, problems = gather(loaded)
    headings = distinguish(sections)
    shown = [
        section_view(section, heading, f"s{index}", PICTURE_BYTES // max(1, len(sections)))
        for index, (section, heading) in enumerate(zip(sections, headings, strict=True))
    ]
    charts = {key: chart for view in shown for key, chart in view["charts"].items()}
    return _environment().get_template("page.html.j2").render(
        names=", ".join(dict.fromkeys(item.sweep.name for item in loaded)),
        sections=shown,
        problems=problems,
        sweeps=[(str(item.root), dump_sweep(item.sweep)) for item in loaded],
        command=shlex.join(["rdbench", "report", *map(str, results), "--out", str(out)]),
        version=rdbench.__version__,
        charts=as_json({key: _for_script(chart) for key, chart in charts.items()}),
        vega=_vega() if charts else "",
    )  # fmt: skip


def section_view(section: Section, heading: str, key: str, budget: int) -> dict[str, Any]:
    """Return what the template shows of a section; ``key`` names it on the page."""
    variants = tuple(sorted({variant for variant, _ in tables.keys(section)}))
    asked = [(reading, "distortion", tables.READING_NAMES[reading]) for reading in section.readings]
    # The squared error does not depend on the reading: any will do.
    asked.append(("half", "mse", "Squared error, no reading"))
    references = [shannon.reference(section, reading, measure) for reading, measure, _ in asked]
    drawn = [
        rate_chart(section.points, *what, variants=variants, reference=reference)
        for what, reference in zip(asked, references, strict=True)
    ]
    return {
        "key": key,
        "heading": heading,
        "progress": tables.progress(section),
        "findings": tables.findings(section),
        "charts": {f"{key}c{index}": chart for index, chart in enumerate(drawn) if chart is not None},
        "why_no_charts": "no training has finished, so there is no point to draw",
        "shannon": any(reference is not None for reference in references),
        "theory": shannon.table(section),
        "elbo": tables.elbo_table(section),
        "fitted": any(reading.startswith("optimal") for reading in section.readings),
        "elbo_groups": [(tables.READING_NAMES[reading], len(variants)) for reading in section.readings],
        "details": [(tables.READING_NAMES[r], tables.details(section, r)) for r in section.readings],
        "detail_names": [name for name, _, _ in tables.DETAILS],
        "paired": [
            (tables.READING_NAMES[r], paired.paired_differences(section.per_image, section.points, r))
            for r in section.readings
        ]
        if len(section.per_image)
        else [],
        "metrics": tables.metrics(section),
        "pictures": pictures.choose(section, budget),
        "has_images": len(section.images) > 0,
        "failures": records(tables.failures(section)),
        "missing": tables.missing(section),
        "missing_count": len(section.missing),
        "settings": flatten(section.settings),
        "provenance": provenance(section),
    }


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted keys with their values as text."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def distinguish(sections: Sequence[Section]) -> list[str]:
    """Return a heading for each section: dataset, protocol, and whatever else tells it from the others."""
    flat = [flatten(section.settings) for section in sections]
    keys = sorted({key for settings in flat for key in settings} - {"dataset.name", "protocol"})
    headings = []
    for section, settings in zip(sections, flat, strict=True):
        like = [other for other, rival in zip(flat, sections, strict=True)
                if (rival.dataset, rival.protocol) == (section.dataset, section.protocol)]  # fmt: skip
        differing = [key for key in keys if len({other.get(key) for other in like}) > 1]
        parts = [f"{section.dataset}, protocol {section.protocol}"]
        parts += [f"{key} {settings.get(key, 'not set')}" for key in differing]
        if like.count(settings) > 1:
            parts.append(f"data {(section.checksum or 'unknown')[:12]}")
        headings.append(", ".join(parts))
    return headings


def provenance(section: Section) -> list[tuple[str, list[str]]]:
    """Return (what, its distinct values) of the trials that were run, commonest first."""
    trials = section.trials
    if not len(trials):
        return []
    started = pd.to_datetime(trials["started"], utc=True).dropna()
    dates = (
        [f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (started.min(), started.max())] if len(started) else []
    )
    skipped = trials["skipped_files"].dropna()
    entries = {
        "protocol": [PROTOCOLS.get(section.protocol, section.protocol)],
        "dataset checksum": [section.checksum] if section.checksum else [],
        "files left out of the dataset": [f"{int(skipped.max()):,}"] if len(skipped) else [],
        "images": _image_counts(section.points),
        "parameters of a model": _tally(f"{int(p):,}" for p in trials["parameters"].dropna()),
        "versions": _tally(map(_versions, _texts(trials["versions"], "not recorded"))),
        "commit": _tally(_texts(trials["commit"], "not run from a git checkout")),
        "device": _tally(_texts(trials["device"], "not recorded")),
        "host": _tally(_texts(trials["host"], "not recorded")),
        "started": [" to ".join(dict.fromkeys(dates))] if dates else [],
        "time, all trainings": [numbers.seconds(trials["seconds"].sum(min_count=1))],
    }
    return [(what, values or [f"{numbers.ABSENT} not recorded"]) for what, values in entries.items()]


def _image_counts(points: pd.DataFrame) -> list[str]:
    if not len(points):
        return []
    counts = points.groupby("split")["n_images"].agg(["min", "max"]).astype(int)
    return [f"{split} {' to '.join(f'{n:,}' for n in dict.fromkeys(row))}"
            for split, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)]  # fmt: skip


def _texts(column: "pd.Series[Any]", absent: str) -> list[str]:
    """Return a column's texts; one without any text has no string type, so it is not ``fillna``'s."""
    return [value if isinstance(value, str) else absent for value in column]


def _tally(values: Iterable[str]) -> list[str]:
    counter = Counter(values)
    if len(counter) < 2:
        return list(counter)
    return [f"{value} ({numbers.count(amount, 'trial')})" for value, amount in counter.most_common()]


def _versions(text: str) -> str:
    try:
        found = json.loads(text)
        return ", ".join(f"{name} {version}" for name, version in found.items())
    except (ValueError, AttributeError):
        return text


def as_json(value: object) -> Markup:
    """Return JSON that is safe inside a script element: no text in it can end the element or open one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _for_script(chart: Chart) -> dict[str, Any]:
    return {"linear": chart.linear, "log": chart.log, "data": chart.data}


@functools.cache
def _vega() -> Markup:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed, as vl-convert ships them."""
    import vl_convert

    return Markup(
        str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")
    )


@functools.cache
def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("rdbench.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.globals |= {
        # Our own files, which hold no data: they go in as they are.
        "style": Markup(loader.get_source(environment, "page.css")[0]),
        "script": Markup(loader.get_source(environment, "page.js")[0]),
        "LONG_TABLE": LONG_TABLE,
    }
    environment.filters |= {
        "plain": numbers.plain,
        "count": numbers.count,
        "with_error": lambda pair: numbers.interval(Estimate(pair[0], pair[1], n=2)),
    }
    return environment
