"""The section of some results that a caller in Python means: one table or chart is of one section."""

import os
from collections.abc import Sequence

from rdbench.errors import ResultsError
from rdbench.report.across import across
from rdbench.report.sections import Section, gather
from rdbench.report.tables import measured, sources
from rdbench.results.load import Results, load_results
from rdbench.storage.places import Place

OneResult = Results | str | os.PathLike[str] | Place
Source = OneResult | Sequence[OneResult]


def load_all(results: Source) -> list[Results]:
    """Return results as they are loaded: of a folder, its address, loaded ones, or a list of these."""
    several = [results] if isinstance(results, Results | str | os.PathLike | Place) else list(results)
    return [one if isinstance(one, Results) else load_results(one) for one in several]


def sections(results: Source) -> list[tuple[str, Section]]:
    """Return the sections of the report of some results, each after its heading."""
    loaded = load_all(results)
    alone, _ = gather(loaded)
    every = across(alone, [one.sweep for one in loaded]) + alone
    return [(heading, section) for (heading, _), section in zip(sources.headings(every), every, strict=True)]


def choose(results: Source, which: int | None) -> Section:
    """Return one section by its number on the page, from 0; None will do where there is only one.

    Raises:
        ResultsError: there are several, or none, or not so many; the line lists them.
    """
    every = sections(results)
    listed = "; ".join(f"section={index}: {heading}" for index, (heading, _) in enumerate(every))
    if which is None and len(every) == 1:
        return every[0][1]
    if which is None:
        raise ResultsError(f"there are {len(every)} sections; choose one: {listed}" if every else
                           "there is no section: no trial of these results has ended")  # fmt: skip
    if not 0 <= which < len(every):
        raise ResultsError(f"there is no section {which}; choose one: {listed}")
    return every[which][1]


def variants_of(section: Section) -> tuple[str, ...]:
    """Return the variants of a section, in the order that gives each its colour and shape."""
    return tuple(sorted({variant for variant, _ in measured.keys(section)}))
