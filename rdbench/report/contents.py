"""What a report holds, section by section: its charts and tables. The page shows it, exports write it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rdbench.errors import ResultsError
from rdbench.report.across import across
from rdbench.report.charts.amortisation import amortisation_chart
from rdbench.report.charts.beta import beta_chart
from rdbench.report.charts.chart import Chart
from rdbench.report.charts.coded_lines import with_coded
from rdbench.report.charts.decoders import decoders_chart
from rdbench.report.charts.fig3 import fig3
from rdbench.report.charts.latents import latents_chart
from rdbench.report.charts.rate import psnr_chart, rate_chart
from rdbench.report.charts.reference_lines import with_references
from rdbench.report.charts.search import search_chart
from rdbench.report.charts.training import training_chart
from rdbench.report.references import Reference
from rdbench.report.searches import SearchView
from rdbench.report.sections import Section, gather
from rdbench.report.statistics.bd_rate import LEAST_RATE
from rdbench.report.tables import (
    bd_rate,
    claims,
    costs,
    decoders,
    grid,
    measured,
    paired,
    proposals,
    ranking,
    shannon,
    sources,
    training_progress,
    weights,
)
from rdbench.report.tables.table import Table
from rdbench.report.tables.table1 import table1
from rdbench.results.load import Results, load_results
from rdbench.storage.places import Place


@dataclass(frozen=True)
class SearchContents:
    """One search, ready to be shown; its chart and table are also among those of the section."""

    view: SearchView
    chart: Chart | None = None  # of its proposals; None of a search by beta alone, and without a result
    table: Table | None = None  # of its proposals; None of a search by beta alone


@dataclass(frozen=True)
class SectionContents:
    """One section, ready to be shown: what has content, in the order of the page."""

    key: str  # its name on the page, "s0"
    heading: str  # dataset, protocol, and what distinguishes it from the others
    differs: str  # further settings that distinguish it from the others, or ""
    section: Section
    variants: tuple[str, ...]  # all of them, in the order that gives each its colour and shape
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]
    searches: tuple[SearchContents, ...] = ()
    verdict: tuple[str, ...] = ()  # what its trials show, in a few sentences


@dataclass(frozen=True)
class Contents:
    """A whole report: its sections, the folders they come from, and what was left out and why."""

    sections: tuple[SectionContents, ...]
    loaded: tuple[Results, ...]
    problems: tuple[str, ...]


def contents(
    results: Sequence[Place], floor: float | None = None, references: Sequence[Reference] = ()
) -> Contents:
    """Return what a report of these results folders holds.

    Args:
        results: the folders.
        floor: rates up to it are left out where curves are compared, nats; default: ``LEAST_RATE``.
        references: curves of others' to show and compare with.

    Raises:
        ResultsError: no folder is given, or one is not a results folder, or the floor is no rate.
    """
    floor = LEAST_RATE if floor is None else floor
    if not 0 <= floor < math.inf:
        raise ResultsError(f"the floor of the rate is {floor:g} nats; give 0 or more, such as {LEAST_RATE:g}")
    if not results:
        raise ResultsError("no results folder is given; name at least one, results/<name>")
    loaded = tuple(load_results(path) for path in results)
    sections, problems = gather(loaded)
    # One correction over the verdicts of the whole page; a grid's are those of its combinations.
    verdicts = claims.verdicts(sections, floor)
    grids = across(sections, [results.sweep for results in loaded])
    sections, verdicts = grids + sections, [claims.Verdicts()] * len(grids) + verdicts
    filled = []
    for index, (section, names) in enumerate(zip(sections, sources.headings(sections), strict=True)):
        variants = tuple(sorted({variant for variant, _ in measured.keys(section)}))
        searches = tuple(_searches(section))
        drawing = (fig3, psnr_chart, rate_chart, beta_chart, training_chart, latents_chart, decoders_chart,
                   amortisation_chart)  # fmt: skip
        drawn = [
            with_references(with_coded(draw(section, variants), section), section, references)
            for draw in drawing
        ]
        drawn += [search.chart for search in searches]
        charts = tuple(chart for chart in drawn if chart is not None)
        told = verdicts[index]
        tables = [told.claims, told.linear_coder, *_tables(section, searches, floor, references)]
        if section.varied:  # what each lead becomes over the grid
            told = told._replace(sentences=next((table.notes for table in tables if table), ()))
        filled.append(SectionContents(f"s{index}", *names, section, variants, charts,
                                      tuple(filter(None, tables)), searches, told.sentences))  # fmt: skip
    return Contents(tuple(filled), loaded, tuple(problems))


def tables_of(sections: Sequence[Section], floor: float = LEAST_RATE) -> list[list[Table]]:
    """Return the tables of each section, in the order of the page; ``floor`` as of :func:`contents`."""
    verdicts = iter(claims.verdicts([section for section in sections if not section.varied], floor))
    return [
        [
            table
            for table in (
                *(() if section.varied else next(verdicts)[:2]),  # the tables, not the sentences
                *_tables(section, tuple(_searches(section)), floor),
            )
            if isinstance(table, Table)
        ]
        for section in sections
    ]


def _searches(section: Section) -> Iterable[SearchContents]:
    """Yield the section's searches; those with proposals are numbered in the names of charts and tables."""
    number = 0
    for view in section.searches:
        if view.study is None:
            yield SearchContents(view)
            continue
        number += 1
        suffix = f"_{number}" if number > 1 else ""
        chart = search_chart(view.study, f"search{suffix}")
        yield SearchContents(view, chart, proposals.table(view.study, f"proposals{suffix}"))


def _tables(
    section: Section,
    searches: Sequence[SearchContents],
    floor: float,
    references: Sequence[Reference] = (),
) -> Iterable[Table | None]:
    """Yield the section's further tables in the order of the page."""
    if section.varied:  # each combination has a section of its own, with all its tables
        yield grid.table(section.parts)
        yield measured.elbo(section)
        yield costs.table(section)
        yield sources.settings(section)
        return
    yield bd_rate.table(section, floor, references=references)
    yield bd_rate.envelope_table(section)
    yield shannon.table(section)
    yield from (search.table for search in searches)
    yield table1(section)
    yield ranking.table(section)
    yield measured.elbo(section)
    yield weights.table(section)
    yield decoders.table(section)
    yield measured.proxy_metrics(section)
    yield from (paired.table(section, reading) for reading in section.readings)
    yield from (measured.points(section, reading) for reading in section.readings)
    yield training_progress.table(section)
    yield costs.table(section)
    yield measured.failed_trials(section)
    yield measured.missing_trials(section)
    yield sources.settings(section)
    yield sources.provenance(section)
