"""Commit trials to a results folder, and read single ones back.

It holds one folder a table and one file a trial in it (schemas: :mod:`rdbench.results.parquet`)::

    results/<sweep>/
      sweep.yaml                  the resolved spec
      variants/                   the author's files that its variants run from
      points/<trial>.parquet      a row per split x reading
      history/<trial>.parquet     a row per epoch
      images/<trial>.parquet      PNG bytes: originals, reconstructions, prior samples
      metrics/<trial>.parquet     a row per proxy metric
      per_image/<trial>.parquet   a row per test image: sse and rate (keep_per_image: true)
      checkpoints/<trial>.safetensors   the trained network (keep_weights: true)
      classifier/                 the classifier of fd_classifier, the same for all its trials
      trials/<trial>.parquet      one row: settings, status, timing, provenance; written last, the commit

(beside them ``resume/``, ``driver.json``, ``search.json`` and ``optuna.journal``, which belong to
:mod:`rdbench.vae.checkpoints`, :mod:`rdbench.results.lease` and :mod:`rdbench.search`, and ``set_aside/``
with damaged files).

A file is written under a temporary name and renamed, so a reader never sees half of one, and a trial
without its ``trials`` row does not exist. A number that was not measured is null, never 0. Any Parquet
reader opens a table whole: ``pandas.read_parquet("results/x/points")``.

Whatever reads or writes a folder raises StorageError where that is not possible now.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rdbench.metrics import answers, is_measured
from rdbench.metrics.base import MetricOptions
from rdbench.metrics.failures import added_up
from rdbench.results import parquet, table_files
from rdbench.results.parquet import STANDING, TABLES, Row
from rdbench.storage import places
from rdbench.storage.places import Place, write_atomically


def commit(root: Place, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write the rows of one trial by table; its ``trials`` row, written last, makes the trial exist.

    A table that is not given is left unchanged. A failure never replaces a trial that is done.

    Raises:
        ValueError: there is no ``trials`` row, or a row names a column the table does not have.
    """
    if "trials" not in tables:
        raise ValueError("a trial is committed by its row in 'trials', which is missing")
    if any(row["status"] in ("failed", "stopped") for row in tables["trials"]) and is_done(root, trial):
        return
    write(root, trial, tables)


def write(root: Place, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write tables of one trial in the order of a commit.

    Raises:
        ValueError: a row names a column the table does not have.
    """
    for table in [name for name in TABLES if name in tables]:
        values = tables[table]
        if table == "metrics":
            values = added_up(values, lambda: table_files.read_one(root, "metrics", trial).to_pylist())
        rows = parquet.from_rows(table, trial, values)
        write_atomically(table_files.own_file(root, table, trial), parquet.encode(table, trial, rows))


def trial_tables(root: Place, trial: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one trial's tables that exist and can be read."""
    tables = {table: table_files.read_one(root, table, trial).to_pylist() for table in TABLES}
    return {table: rows for table, rows in tables.items() if rows}


def is_done(root: Place, trial: str) -> bool:
    """Tell whether a trial is committed with status done."""
    row = trial_row(root, trial)
    return row is not None and row["status"] == "done"


def trial_row(root: Place, trial: str) -> dict[str, Any] | None:
    """Return the ``trials`` row of a trial; None where it is not committed."""
    rows: list[dict[str, Any]] = table_files.read_one(root, "trials", trial).to_pylist()
    return rows[0] if rows else None


def committed_in(root: Place, run: str, trial: str) -> bool:
    """Tell, by reading its own file, whether a trial was committed in this run of a driver."""
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


def classifier_folder(root: Place) -> Place:
    """Return where the classifier lies whose features metrics of this sweep share, if one needed it."""
    return root / "classifier"


def add_metrics(root: Place, trial: str, asked: Sequence[MetricOptions], rows: Iterable[Row]) -> None:
    """Add rows of ``metrics`` to a committed trial, in place of those that answer ``asked``.

    Raises:
        ValueError: the trial does not exist.
    """
    if trial_row(root, trial) is None:
        raise ValueError(f"no trial {trial} is committed in {root}")
    before = table_files.read_one(root, "metrics", trial).to_pylist()
    others = [row for row in before if not any(answers(options, row) for options in asked)]
    write(root, trial, {"metrics": [*others, *rows]})


def trial_ids(root: Place) -> list[str]:
    """Return the ids of the trials in a results folder, sorted; none where there is no folder."""
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

    A trial whose files cannot be read, or are another's, is not finished.

    Args:
        root: the results folder, which need not exist.
        needs: tables that a done trial must also have (``per_image`` where the sweep keeps it).
        metrics: what a done trial must also have measured.
        weights: whether its trained network must have been kept.
        stopped: count trials that were stopped early.
        failed_metrics: count trials that lack a metric which failed for good.
    """
    if not table_files.stamps(root / "trials"):
        return set()  # quickly, without importing a Parquet reader
    rows = table_files.read(root, "trials", columns=STANDING)
    ids, statuses, parameters = (rows[name].to_pylist() for name in ("trial", "status", "parameters"))
    whole = set(ids).intersection(*(table_files.sound(root, table) for table in ("points", *needs)))
    if metrics:
        measured: dict[str, list[dict[str, Any]]] = {}
        for row in table_files.read(root, "metrics", ids).to_pylist():
            measured.setdefault(row["trial"], []).append(row)
        for asked in metrics:
            whole = {trial for trial in whole if is_measured(asked, measured.get(trial, []), failed_metrics)}
    if weights:
        kept = places.entries(weights_file(root, "").parent)
        # A trial function that returned measurements alone has no weights to keep.
        weightless = {trial for trial, count in zip(ids, parameters, strict=True) if count is None}
        whole = {trial for trial in whole if trial in weightless or weights_file(root, trial).name in kept}
    return {
        trial
        for trial, status in zip(ids, statuses, strict=True)
        if status == "diverged" or (status == "done" and trial in whole) or (status == "stopped" and stopped)
    }
