"""Read a results folder into pandas frames."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rdbench.results import parquet, readings
from rdbench.results.parquet import TABLES
from rdbench.results.store import ResultsFolder
from rdbench.results.table_files import Problems
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place, place

if TYPE_CHECKING:
    import pandas as pd


_FIX = "; the next 'rdbench sweep' into this folder sets it aside and runs what it needs again"


@dataclass(frozen=True)
class Results:
    """A results folder as pandas frames; ``problems`` names the files that were left out.

    Columns and their units: docs/reference/tables.md; their types: :data:`rdbench.results.parquet.TABLES`.
    ``points`` has rows that no file holds: those of the reading ``optimal_train``, which follow from others.
    ``sweep`` names that reading too where it asks for all those that results of an older rdbench have.
    """

    root: Place
    sweep: Sweep
    points: "pd.DataFrame"
    history: "pd.DataFrame"
    images: "pd.DataFrame"
    metrics: "pd.DataFrame"
    per_image: "pd.DataFrame"
    trials: "pd.DataFrame"
    problems: list[str] = field(default_factory=list)


def load_results(path: str | os.PathLike[str] | Place, tables: Iterable[str] = tuple(TABLES)) -> Results:
    """Load a results folder into pandas frames.

    Args:
        path: the folder a sweep wrote, ``results/<name>``, or its address, ``s3://bucket/prefix``.
        tables: which to read besides ``trials``; the others stay empty.

    Returns:
        The tables, each with the columns of :data:`TABLES`. Rows of trials that are not committed are left
        out; files that cannot be read are named in ``problems``.

    Raises:
        ResultsError: the folder is not a results folder.
        StorageError: it cannot be read now.
    """
    root = place(path)
    folder = ResultsFolder(root)
    sweep = folder.sweep()
    problems: Problems = {}
    trials = folder.table("trials").read(None, problems)
    ids, wanted = trials["trial"].to_pylist(), set(tables)
    frames = {"trials": parquet.to_pandas(trials)}
    for table in [name for name in TABLES if name != "trials"]:
        empty = parquet.schema(table).empty_table()
        rows = folder.table(table).read(ids, problems) if table in wanted else empty
        frames[table] = parquet.to_pandas(rows)
    frames["points"] = readings.with_likelihood(frames["points"])
    return Results(root, readings.shown(sweep), **frames, problems=left_out(problems))


def left_out(problems: Problems) -> list[str]:
    """Return a line for each file that cannot be read: the reason, and the fix."""
    return [
        f"{file}: left out, {problem}{'' if isinstance(problem, parquet.NewerFileError) else _FIX}"
        for file, problem in problems.items()
    ]
