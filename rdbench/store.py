"""The Parquet tables of a sweep: atomic commit, load; their schemas are in :mod:`rdbench.parquet`.

A results folder holds one folder a table and one file a trial in it::

    results/<sweep>/
      sweep.yaml                  the resolved spec
      variants/                   the author's files that its variants run from
      points/<trial>.parquet      a row per split x reading
      history/<trial>.parquet     a row per epoch
      images/<trial>.parquet      PNG bytes: originals, reconstructions, prior samples
      metrics/<trial>.parquet     a row per proxy metric
      per_image/<trial>.parquet   a row per test image: sse and rate (keep_per_image: true)
      checkpoints/<trial>.safetensors   the trained network (keep_weights: true)
      trials/<trial>.parquet      one row: settings, status, timing, provenance; written last, the commit

(beside them ``resume/``, ``driver.json``, ``search.json`` and ``optuna.journal``, which belong to
:mod:`rdbench.resume`, :mod:`rdbench.lease` and :mod:`rdbench.search`, and ``set_aside/`` with damaged files).

A file is written under a temporary name and renamed, so a reader never sees half of one, and a trial
without its ``trials`` row does not exist. A number that was not measured is null, never 0. Any Parquet
reader opens a table whole: ``pandas.read_parquet("results/x/points")``.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdbench import parquet, paths, places, table_files
from rdbench.errors import ResultsError, SpecError, StorageError
from rdbench.failures import added_up
from rdbench.metrics import MetricOptions, answers, is_measured
from rdbench.parquet import TABLES, Row
from rdbench.places import Place, place, write_atomically
from rdbench.spec import Sweep, dump_sweep, load_sweep
from rdbench.variants import copies
from rdbench.variants.imports import Files
from rdbench.variants.source import find

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def commit(root: Place, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write the tables of one trial; its ``trials`` row, written last, makes the trial exist.

    Args:
        root: the results folder.
        trial: the trial's id.
        tables: name of the table -> its rows; a table that is not given is left as it is. A failure never
            replaces a trial that is done: then nothing is written.

    Raises:
        ValueError: there is no ``trials`` row, or a row names a column the table does not have.
        StorageError: the folder cannot be written now.
    """
    if "trials" not in tables:
        raise ValueError("a trial is committed by its row in 'trials', which is missing")
    if any(row["status"] in ("failed", "stopped") for row in tables["trials"]) and is_done(root, trial):
        return
    write(root, trial, tables)


def write(root: Place, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write tables of one trial, in the order in which a commit needs them.

    Raises:
        ValueError: a row names a column the table does not have.
        StorageError: the folder cannot be written now.
    """
    for table in TABLES:
        if table in tables:
            _write(root, table, trial, tables[table])


def _write(root: Place, table: str, trial: str, values: Iterable[Row]) -> None:
    if table == "metrics":
        values = added_up(values, lambda: table_files.read_one(root, table, trial).to_pylist())
    rows = parquet.from_rows(table, trial, values)
    write_atomically(table_files.own_file(root, table, trial), parquet.encode(table, trial, rows))


def trial_tables(root: Place, trial: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one trial's tables that are there and can be read."""
    found = {table: table_files.read_one(root, table, trial).to_pylist() for table in TABLES}
    return {table: rows for table, rows in found.items() if rows}


def is_done(root: Place, trial: str) -> bool:
    """Tell whether a trial is committed with status done."""
    row = trial_row(root, trial)
    return row is not None and row["status"] == "done"


def trial_row(root: Place, trial: str) -> dict[str, Any] | None:
    """Return the ``trials`` row of a trial; None where it is not committed."""
    rows: list[dict[str, Any]] = table_files.read_one(root, "trials", trial).to_pylist()
    return rows[0] if rows else None


def committed_in(root: Place, run: str, trial: str) -> bool:
    """Tell, by one small read, whether a trial was committed in this run of a driver: it has its own file."""
    return bool(run) and table_files.read_own(root, "trials", trial)["run"].to_pylist() == [run]


def ended_in(root: Place, run: str) -> set[str]:
    """Return the ids of the trials that were committed in one run of a driver."""
    if not run:
        return set()
    rows = table_files.read(root, "trials", columns=("trial", "run"), keep=False).to_pylist()
    return {row["trial"] for row in rows if row["run"] == run}


def weights_file(root: Place, trial: str) -> Place:
    """Return where a trial's trained network lies, if it was kept."""
    return root / "checkpoints" / f"{trial}.safetensors"


def add_metrics(root: Place, trial: str, asked: Sequence[MetricOptions], rows: Iterable[Row]) -> None:
    """Add what was measured afterwards to a committed trial; it replaces what answered the same before.

    Args:
        root: the results folder.
        trial: the trial's id.
        asked: what was measured.
        rows: of the ``metrics`` table.

    Raises:
        ValueError: the trial does not exist.
    """
    if trial_row(root, trial) is None:
        raise ValueError(f"no trial {trial} is committed in {root}")
    before = table_files.read_one(root, "metrics", trial).to_pylist()
    kept = [row for row in before if not any(answers(options, row) for options in asked)]
    _write(root, "metrics", trial, [*kept, *rows])


STANDING = ("trial", "status", "error", "variant", "beta", "seed", "parameters", "dataset_checksum")
"""The columns of ``trials`` that say how trials stand: a third of the time that all take."""
_MENDED = "; the next 'rdbench sweep' into this folder sets it aside and runs what it needs again"


@dataclass(frozen=True)
class Results:
    """What a results folder holds, as pandas frames; ``problems`` names the files that were left out.

    Columns and their units: README, section "Results"; with their types: :data:`rdbench.parquet.TABLES`.
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
    """Return a pandas frame; a column of text stays one where every value is null."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    text = pd.StringDtype(na_value=np.nan)
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.string(): text}.get)
    return frame


def trial_ids(root: Place) -> list[str]:
    """Return the ids of the trials a results folder holds, sorted; empty where there is no folder."""
    return sorted(table_files.sound(root, "trials"))


def finished(
    root: Place,
    *,
    needs: Iterable[str] = (),
    metrics: Sequence[MetricOptions] = (),
    weights: bool = False,
    stopped: bool = False,
    failed_metrics: bool = True,
) -> set[str]:
    """Return the ids of the trials that need not be trained again: status done or diverged.

    A trial whose files are there but cannot be read, or are not its own, is not finished.

    Args:
        root: the results folder, which need not exist.
        needs: tables that a done trial must also have (``per_image`` where the sweep keeps it).
        metrics: what a done trial must also have measured.
        weights: whether its trained network must have been kept.
        stopped: whether one that was stopped early is finished, too.
        failed_metrics: whether one is finished, too, that lacks a metric which failed for good.

    Raises:
        StorageError: the folder cannot be read now.
    """
    if not table_files.stamps(root / "trials"):
        return set()  # at once: without opening a Parquet reader
    rows = table_files.read(root, "trials", columns=STANDING)
    ids, statuses, parameters = (rows[name].to_pylist() for name in ("trial", "status", "parameters"))
    whole = set(ids).intersection(*(table_files.sound(root, table) for table in ("points", *needs)))
    if metrics:
        measured: dict[str, list[dict[str, Any]]] = {}
        for row in table_files.read(root, "metrics", ids).to_pylist():
            measured.setdefault(row["trial"], []).append(row)
        for asked in metrics:
            whole = {each for each in whole if is_measured(asked, measured.get(each, []), failed_metrics)}
    if weights:
        kept = places.entries(weights_file(root, "").parent)
        # A trial function that returned measurements alone has no weights to keep.
        none = {trial for trial, count in zip(ids, parameters, strict=True) if count is None}
        whole = {each for each in whole if each in none or weights_file(root, each).name in kept}
    return {
        trial
        for trial, status in zip(ids, statuses, strict=True)
        if status == "diverged" or (status == "done" and trial in whole) or (status == "stopped" and stopped)
    }


def load_results(path: str | os.PathLike[str] | Place, tables: Iterable[str] = tuple(TABLES)) -> Results:
    """Load a results folder into pandas frames.

    Args:
        path: the folder a sweep wrote, ``results/<name>``, or its address, ``s3://bucket/prefix``.
        tables: which to read besides ``trials``; the others stay empty.

    Returns:
        The tables, each with the columns of :data:`TABLES`. Rows of trials that were never committed are
        left out; files that cannot be read are named in ``problems``.

    Raises:
        ResultsError: the folder is not a results folder.
        StorageError: it cannot be read now.
    """
    root = place(path)
    sweep = stored_sweep(root)
    problems: table_files.Problems = {}
    trials = table_files.read(root, "trials", None, problems)
    ids = trials["trial"].to_pylist()
    wanted = set(tables)
    frames = {
        table: _frame(
            table_files.read(root, table, ids, problems)
            if table in wanted
            else parquet.schema(table).empty_table()
        )
        for table in TABLES
        if table != "trials"
    }
    return Results(root, sweep, trials=_frame(trials), **frames, problems=_left_out(problems))


def _left_out(problems: table_files.Problems) -> list[str]:
    return [
        f"{file}: left out, {problem}{'' if isinstance(problem, parquet.NewerFileError) else _MENDED}"
        for file, problem in problems.items()
    ]


def trials_table(root: Place) -> "pd.DataFrame":
    """Return a row for each committed trial, in the columns :data:`STANDING`.

    Raises:
        StorageError: the folder cannot be read now.
    """
    return frame(root, "trials", STANDING)


def frame(root: Place, table: str, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """Return one table whole, committed or not, in the given columns; by default in all.

    Raises:
        StorageError: the folder cannot be read now.
    """
    return _frame(table_files.read(root, table, columns=columns))


def damaged(root: Place) -> table_files.Problems:
    """Return the files among the tables that cannot be read as such, and why.

    In a bucket, where no object is ever half written, only the tables that every report reads are looked at.

    Raises:
        StorageError: the folder cannot be read now.
    """
    problems: table_files.Problems = {}
    for table in TABLES if isinstance(root, Path) else ("points", "metrics", "trials"):
        table_files.sound(root, table, problems)
        for name in places.entries(root / table):
            if not name.startswith(".") and not name.endswith(".parquet"):
                problems[root / table / name] = parquet.TableFileError("not a Parquet file")
    return problems


def problem_lines(root: Place) -> list[str]:
    """Return a line for each file among the tables that is left out, with the reason."""
    return _left_out(damaged(root))


def stored_sweep(root: Place, overrides: Sequence[str] = ()) -> Sweep:
    """Return the resolved spec of a results folder.

    Raises:
        ResultsError: the folder is not a results folder.
        SpecError: its spec, or an override, is not valid.
    """
    file = root / "sweep.yaml"
    if not places.is_file(file):
        raise ResultsError(f"{root}: not a results folder (no sweep.yaml in it); give the folder that"
                           " 'rdbench sweep' wrote, results/<name>")  # fmt: skip
    if isinstance(root, Path):
        return load_sweep(file, overrides, stored=True)
    near = paths.cache_root() / "remote"
    for stem, files in copies.found(root).items():
        with contextlib.suppress(StorageError):  # a cache that cannot be written: known by name then
            copies.save(near, stem[:-17], files)
    return load_sweep(file, overrides, stored=True, folders=[near])


def set_aside(root: Place) -> list[str]:
    """Move what lies among the tables and is no file of theirs into ``set_aside/<table>/``.

    For the driver, while it alone is at work in the folder. Temporary files of writers that died are removed.

    Returns:
        A line for each file that was moved: what, why, where to, and whether its trial runs again.

    Raises:
        ResultsError: a file was written by a newer rdbench, whose results are not to be touched.
        StorageError: the folder cannot be read or written now.
    """
    lines = []
    for file, problem in damaged(root).items():
        if isinstance(problem, parquet.NewerFileError):
            raise ResultsError(f"{file}: {problem}, or give another --results folder")
        table = file.parent.name
        target = _free(root / "set_aside" / table, file.name)
        places.move(file, target)
        lines.append(f"set aside: {file} is now {target}: {problem}; {_consequence(table, file)}")
    for folder in (root / each for each in (*TABLES, "resume", "checkpoints")):
        for name in places.entries(folder):
            if name.startswith(".") and name.endswith(".tmp"):
                (folder / name).unlink(missing_ok=True)
    return lines


def _consequence(table: str, file: Place) -> str:
    if file.suffix != ".parquet":
        return "no trial is concerned"
    many = table_files.generation(file.stem) is not None
    who, runs = ("trials it held", "run") if many else ("trial of that name", "runs")
    if table in ("trials", "points"):
        return f"the {who} {runs} again"
    if table in ("metrics", "per_image"):
        return f"the {who} {runs} again where the sweep asks for its {table}"
    what = "pictures" if table == "images" else "training curves"
    return f"{what} are lost; remove trials/{file.stem}.parquet to have that trial run again"


def _free(folder: Place, name: str) -> Place:
    """Return a place in a folder that nothing is at."""
    taken, number, free = places.entries(folder), 1, name
    while free in taken:
        number, free = number + 1, f"{number + 1}-{name}"
    return folder / free


def variant_sources(root: Place) -> dict[str, Files]:
    """Return the files of variants that a results folder keeps, by hash; an edited copy is left out."""
    return {stem[-16:]: files for stem, files in copies.found(root).items()}


def save_sweep(root: Place, sweep: Sweep) -> None:
    """Write the resolved spec into the results folder, and copies of the files that its variants run from.

    Raises:
        SpecError: one of them was edited since the sweep was read.
    """
    variants = []
    for variant in sweep.variants:
        if variant.source and (found := find(variant.source)).files:
            if found.code != variant.code:
                raise SpecError(f"{found.path} was edited just now; run the same command again")
            copy = copies.save(root, variant.name, found.files)
            variant = variant.model_copy(update={"source": f"{copy}:{found.declaration.symbol}"})
        variants.append(variant)
    stored = sweep.model_copy(update={"variants": tuple(variants)})
    write_atomically(root / "sweep.yaml", dump_sweep(stored).encode())
