"""The report: results folders in, one offline HTML file out.

``sections`` groups trials that may be compared; ``statistics/`` computes from their rows what is compared,
``charts/`` and ``tables/`` what is shown. ``contents`` collects it, ``page`` shows it, ``export`` writes it
as files. ``compare/`` compares two sets of results. May import ``search``, ``results`` and what is below;
needs neither torch nor ray. Start with ``contents``.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdbench.storage.places import Place


def make_report(
    results: Sequence["str | os.PathLike[str] | Place"],
    out: "str | os.PathLike[str] | Place",
    title: str = "",
    floor: float | None = None,
    references: Sequence["str | os.PathLike[str] | Place"] = (),
) -> "Place":
    """Write the report of one or more results folders.

    Args:
        results: folders that sweeps wrote, ``results/<name>`` or an address. Trials of one dataset, protocol
            and set of settings share a section, from whichever folder; others share no table or curve.
        out: the HTML file to write or replace, see :func:`rdbench.storage.outputs.output`.
        title: the page's heading; default: the names of the sweeps.
        floor: rates up to it are left out where curves are compared, nats; default:
            :data:`rdbench.report.statistics.bd_rate.LEAST_RATE`. The page says it.
        references: files of curves to show and compare with, see :mod:`rdbench.report.references`.

    Returns:
        The place of ``out``. The same results give the same bytes.

    Raises:
        ResultsError: no folder is given, one is not a results folder, ``floor`` is no rate, a file of a
            curve is none, or ``out`` cannot be written.
    """
    from rdbench.errors import need

    need("report")
    from rdbench.report.page import render
    from rdbench.results.store import ResultsFolder
    from rdbench.storage.outputs import output, write_output
    from rdbench.storage.places import place

    folders = [place(each) for each in results]
    for folder in folders:  # first: the page may lie in one that is not there
        ResultsFolder(folder).refuse_others()
    target = output(out)
    write_output(target, render(folders, target, title, floor, [place(one) for one in references]))
    return target
