"""The report: results folders in, one HTML file out that works offline.

``gather`` puts trials that may be compared into one section; ``series``, ``curves`` and ``bd_rate`` make of
its rows what is compared; modules of their own make each chart (:mod:`rdbench.report.charts.chart`) and each table
(:mod:`rdbench.report.tables.table`). ``contents`` collects them, ``page`` shows them, ``export`` writes them as
files. ``compare`` holds two sets of results against each other. None of them needs torch or ray.
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
) -> "Place":
    """Write the report of one or more results folders.

    Args:
        results: folders that sweeps wrote, ``results/<name>`` or an address. Trials of one dataset, protocol
            and set of settings share a section, whichever folder they came from; others never meet in a
            table or curve.
        out: the HTML file to write, see :func:`rdbench.storage.outputs.output`; one that is there is replaced.
        title: the page's heading; by default it names the sweeps.

    Returns:
        The place of ``out``. The same results give the same bytes.

    Raises:
        ResultsError: no folder is given, one is not a results folder, or ``out`` cannot be written.
    """
    from rdbench.report.page import write_page
    from rdbench.storage.outputs import output
    from rdbench.storage.places import place

    return write_page([place(each) for each in results], output(out), title)
