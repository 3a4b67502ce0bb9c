"""The report: results folders in, one HTML file out that works offline.

``sections`` puts trials that may be compared together; ``statistics/`` makes of their rows what is compared,
``charts/`` and ``tables/`` what is shown. ``contents`` collects them, ``page`` shows them, ``export`` writes
them as files. ``compare/`` holds two sets of results against each other. May import ``search``, ``results``
and what is below; needs neither torch nor ray. Start with ``contents``.
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
        out: the HTML file to write, see :func:`rdbench.storage.outputs.output`; it may be there already.
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
