"""Results as Python has them: the frames of a results folder, and the tables of its report."""

import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rdbench.errors import ResultsError, need
from rdbench.results import load
from rdbench.results.parquet import TABLES
from rdbench.storage.places import Place
from rdbench.text import choose

if TYPE_CHECKING:
    import pandas as pd

    from rdbench.report.chosen import OneResult
    from rdbench.report.tables.table import Table


class Results(load.Results):
    """A results folder as pandas frames, and the tables of its report.

    Attributes:
        root: the folder, or its address.
        sweep: what was asked for.
        points: rate, distortion and ELBO, a row a trial, split and reading of sigma^2.
        history: a row an epoch.
        images: PNG bytes.
        metrics: a row a value of a proxy metric.
        per_image: a row a test image.
        trials: a row a trial: status, error, settings, time, provenance.
        problems: the files that were left out, and why.
    """

    def table(
        self, name: str, section: int | None = None, beside: "Sequence[OneResult]" = ()
    ) -> "pd.DataFrame":
        """Return a table of the report, or of the results folder.

        Args:
            name: of the report, as its exports name them: "test_elbo", "likelihood", "bd_rate",
                "proxy_metrics", "table_1" of the paper's data, ...; or "trials", "points" and so on, which
                are the attributes.
            section: number of the section on the page, from 0, where several have that table.
            beside: further results, or their folders, to be in the table with these.

        Returns:
            Numbers in full precision. Beside a column stand "<column> half_width" of the 95% interval,
            "<column> n" and "<column> note" where it has any; ``attrs`` has title, caption and notes.

        Raises:
            ResultsError: there is no such table or section; the line lists those there are.
        """
        from rdbench.report.tables.write import to_frame

        if name in TABLES:
            frame: pd.DataFrame = getattr(self, name)
            return frame
        return to_frame(self._table(name, section, beside))

    def to_latex(
        self, name: str = "test_elbo", section: int | None = None, beside: "Sequence[OneResult]" = ()
    ) -> str:
        """Return a table of the report as LaTeX, for the packages booktabs and, where long, longtable.

        Arguments and errors as of :meth:`table`.
        """
        from rdbench.report.tables.write import to_latex

        need("report", "pylatexenc")

        return to_latex(self._table(name, section, beside))

    def bd_rate(
        self, baseline: str = "beta_vae", section: int | None = None, beside: "Sequence[OneResult]" = ()
    ) -> "pd.DataFrame":
        """Return how much more rate each variant needs than a baseline for the same quality, in per cent.

        Bjontegaard 2001, as the report has it, with a bootstrap interval over seeds: a row a quality (MSE,
        and the distortion under each reading) and variant.

        Args:
            baseline: the name of a variant.
            section: number of the section on the page, from 0, where there are several.
            beside: further results, or their folders, whose variants to compare as well.

        Raises:
            ResultsError: there is no such variant, nothing to compare it with, or no such section.
        """
        from rdbench.report.chosen import choose as section_of
        from rdbench.report.tables import bd_rate
        from rdbench.report.tables.write import to_frame

        chosen = section_of([self, *beside], section)
        variants = sorted(chosen.points["variant"].unique()) if len(chosen.points) else []
        if baseline not in variants:
            fix = choose(baseline, variants) if variants else "no trial has a point"
            raise ResultsError(f"{self.root}: no variant {baseline!r}; {fix}")
        table = bd_rate.table(chosen, against=(baseline,))
        if table is None:
            raise ResultsError(f"{self.root}: {baseline} is the only variant; BD-rate compares two")
        return to_frame(table)

    def _table(self, name: str, section: int | None, beside: "Sequence[OneResult]") -> "Table":
        from rdbench.report.chosen import sections
        from rdbench.report.contents import tables_of

        wanted = _bare(name)
        found: dict[int, Table] = {}
        names: dict[str, None] = {}
        for index, tables in enumerate(tables_of([one for _, one in sections([self, *beside])])):
            names |= dict.fromkeys(table.name for table in tables)
            if named := [table for table in tables if _bare(table.name) == wanted]:
                found[index] = named[0]
        if not found:
            raise ResultsError(f"{self.root}: no table {name!r}; {choose(name, [*TABLES, *names])}")
        if section is None and len(found) > 1:
            raise ResultsError(f"{self.root}: {len(found)} sections have a table {name!r}; choose one by"
                               f" section={next(iter(found))} to {max(found)}")  # fmt: skip
        index = next(iter(found)) if section is None else section
        if index not in found:
            listed = ", ".join(map(str, found))
            raise ResultsError(f"{self.root}: section {index} has no table {name!r}; choose from {listed}")
        return found[index]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: how the trials stand, and a line a variant."""
        from rdbench.commands.summary import table_rows
        from rdbench.report.sections import gather

        parts = [
            f"<p><b>{html.escape(self.sweep.name)}</b>: {self._stand()}, in {html.escape(str(self.root))}</p>"
        ]
        parts += [f"<p>{html.escape(problem)}</p>" for problem in self.problems]
        for section in gather([self])[0]:
            rows, _ = table_rows(section) if len(section.points) else ([], 0)
            parts += [as_html(rows)] if rows else []
        return "\n".join(parts)

    def __repr__(self) -> str:
        return f"<rdbench.Results of {self.sweep.name}: {self._stand()}, in {self.root}>"

    def _stand(self) -> str:
        counts = self.trials["status"].value_counts()
        return ", ".join(f"{count} {status}" for status, count in counts.items()) or "no trial has ended"


def as_html(rows: Sequence[Sequence[str]], heading: bool = True) -> str:
    """Return rows of text as an HTML table, the first as its heading."""
    lines = []
    for number, row in enumerate(rows):
        tag = "th" if heading and number == 0 else "td"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


def load_results(path: str | os.PathLike[str] | Place, tables: Iterable[str] = tuple(TABLES)) -> Results:
    """Load a results folder: pandas frames, and the tables of its report.

    Args:
        path: the folder a sweep wrote, ``results/<name>``, or its address, ``s3://bucket/prefix``.
        tables: which to read besides ``trials``; the others stay empty.

    Raises:
        ResultsError: the folder is not a results folder.
        StorageError: it cannot be read now.
    """
    loaded: Any = load.load_results(path, tables)
    return Results(**{field.name: getattr(loaded, field.name) for field in fields(loaded)})
