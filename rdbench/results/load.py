"""Read a results folder into pandas frames."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rdbench.results import parquet, readings, table_files
from rdbench.results.parquet import STANDING, TABLES
from rdbench.results.spec_file import stored_sweep
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place, place

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


_FIX = "; the next 'rdbench sweep' into this folder sets it aside and runs what it needs again"


@dataclass(frozen=True)
class Results:
    """A results folder as pandas frames; ``problems`` names the files that were left out.

    Columns and their units: README, section "Results"; their types: :data:`rdbench.results.parquet.TABLES`.
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


def _frame(table: "pa.Table") -> "pd.DataFrame":
    """Return a pandas frame; a column of text has that type also where every value is null."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    text = pd.StringDtype(na_value=np.nan)
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.string(): text}.get)
    return frame


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
    sweep = stored_sweep(root)
    problems: table_files.Problems = {}
    trials = table_files.read(root, "trials", None, problems)
    ids, wanted = trials["trial"].to_pylist(), set(tables)
    frames = {"trials": _frame(trials)}
    for table in [name for name in TABLES if name != "trials"]:
        empty = parquet.schema(table).empty_table()
        frames[table] = _frame(table_files.read(root, table, ids, problems) if table in wanted else empty)
    frames["points"] = readings.with_likelihood(frames["points"])
    return Results(root, readings.shown(sweep), **frames, problems=left_out(problems))


def left_out(problems: table_files.Problems) -> list[str]:
    """Return a line for each file that cannot be read: the reason, and the fix."""
    return [
        f"{file}: left out, {problem}{'' if isinstance(problem, parquet.NewerFileError) else _FIX}"
        for file, problem in problems.items()
    ]


def trials_table(root: Place) -> "pd.DataFrame":
    """Return a row for each committed trial, in the columns :data:`STANDING`."""
    return frame(root, "trials", STANDING)


def frame(root: Place, table: str, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """Return all rows of a table, committed or not, in the given columns; by default in all."""
    return _frame(table_files.read(root, table, columns=columns))
