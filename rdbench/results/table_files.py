"""A table of a results folder as one: a file for each trial, and compacted files of many.

A trial's own file was written after any compacted one that holds it, and a compacted file after those of
lower generation. The latest is taken, so a trial's rows are never taken twice.
"""

import functools
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rdbench.errors import StorageError
from rdbench.results import parquet, read_cache
from rdbench.results.read_cache import Rows
from rdbench.storage import places
from rdbench.storage.places import Place, Stamp

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Problems = dict[Place, parquet.TableFileError]
"""Files that were left out -> why."""

_ENDING = ".parquet"
_COMPACT = re.compile(r"compact-(\d+)-(\d+)")
OWN = math.inf
"""The generation of a trial's own file."""


def generation(name: str) -> float:
    """Return the generation of a compacted file, by its name without ending; :data:`OWN` of another."""
    compacted = _COMPACT.fullmatch(name)
    return int(compacted[1]) if compacted else OWN


def stamps(folder: Place) -> dict[str, Stamp]:
    """Return the stamp of each Parquet file in a folder, by name without its ending."""
    return {
        name.removesuffix(_ENDING): stamp
        for name, stamp in places.entries(folder).items()
        if name.endswith(_ENDING) and not name.startswith(".")
    }


def own_file(root: Place, table: str, name: str) -> Place:
    """Return where a file of a table lies."""
    return root / table / f"{name}{_ENDING}"


def read(
    root: Place,
    table: str,
    trials: Collection[str] | None = None,
    problems: Problems | None = None,
    columns: Sequence[str] = (),
    keep: bool = True,
) -> "pa.Table":
    """Return a table's rows, sorted by trial.

    Args:
        root: the results folder.
        table: its name.
        trials: only theirs; None for all.
        problems: gets the files that were left out.
        columns: only these, in the order the table has them, which is faster; else all.
        keep: a snapshot in the cache.
    """
    import pyarrow as pa

    schema, inside = parquet.schema(table, tuple(columns)), stamps(root / table)
    wanted = None if trials is None else set(trials)
    names = [name for name in inside if wanted is None or name in wanted or generation(name) != OWN]

    def decode(anew: list[str]) -> Iterator["pa.Table | None"]:
        read_file = functools.partial(parquet.decode, table, columns=columns)
        return _read_each(root, table, anew, read_file, problems)

    parts = read_cache.rows(root / table, inside, names, schema, decode, keep)
    latest: dict[str, tuple[float, Rows]] = {}
    for name, part in parts.items():
        rank = generation(name)
        for trial, rows in [(name, part)] if rank == OWN else _by_trial(part):
            if (wanted is None or trial in wanted) and (trial not in latest or rank > latest[trial][0]):
                latest[trial] = (rank, rows)
    runs: list[Rows] = []  # rows that stand one after the other in a table are taken in one piece
    for _, (_, rows) in sorted(latest.items()):
        if runs and runs[-1].table is rows.table and runs[-1].start + runs[-1].length == rows.start:
            runs[-1] = runs[-1]._replace(length=runs[-1].length + rows.length)
        else:
            runs.append(rows)
    return pa.concat_tables([schema.empty_table(), *(run.cut() for run in runs)])


def read_own(root: Place, table: str, trial: str) -> "pa.Table":
    """Return the rows in a trial's own file, with a single request; none where there is no such file."""
    (rows,) = _read_each(root, table, [trial], functools.partial(parquet.decode, table))
    return parquet.schema(table).empty_table() if rows is None else rows


def read_one(root: Place, table: str, trial: str) -> "pa.Table":
    """Return the rows of one trial; none where it has none that can be read."""
    if len(rows := read_own(root, table, trial)):
        return rows
    inside = stamps(root / table)
    for name in sorted(inside, key=generation, reverse=True):
        if generation(name) != OWN and (part := _compacted(root, table, name, inside[name]).get(trial)):
            return part.cut()
    return rows


def sound(root: Place, table: str, problems: Problems | None = None) -> set[str]:
    """Return the ids of the trials that a table holds in files that can be read."""
    return {trial for ids in holdings(root, table, problems).values() for trial in ids}


def holdings(root: Place, table: str, problems: Problems | None = None) -> dict[str, list[str]]:
    """Return the ids of the trials in each file of a table that can be read, by its name without ending.

    Files are checked by their digest, which takes a tenth of reading them; the cache remembers sound ones.
    """

    def trials(name: str, content: bytes) -> list[str]:
        if generation(name) == OWN and parquet.check(table, name, content):
            return [name]
        ids: list[str] = parquet.decode(table, name, content, ["trial"])["trial"].unique().to_pylist()
        return ids

    return read_cache.trials(
        root / table, stamps(root / table), lambda anew: _read_each(root, table, anew, trials, problems)
    )


def _read_each(
    root: Place,
    table: str,
    names: Iterable[str],
    decode: Callable[[str, bytes], T],
    problems: Problems | None = None,
) -> Iterator[T | None]:
    """Yield what ``decode`` makes of each file; None of one that is gone or unreadable (see ``problems``)."""
    names = list(names)
    files = [own_file(root, table, name) for name in names]
    for name, file, content in zip(names, files, places.read_each(files), strict=True):
        decoded = None
        try:
            if isinstance(content, bytes):
                decoded = decode(name, content)
            elif isinstance(content, StorageError):
                raise content
            elif not isinstance(content, FileNotFoundError):
                raise parquet.TableFileError(f"not a readable file ({content.strerror})")
        except parquet.TableFileError as problem:
            if problems is not None:
                problems[file] = problem
        yield decoded


def _by_trial(part: Rows) -> list[tuple[str, Rows]]:
    """Return the rows of each trial of a compacted file, where they stand together."""
    import pyarrow.compute as pc

    runs = pc.run_end_encode(part.cut()["trial"].combine_chunks())
    ends = runs.run_ends.to_pylist()
    return [
        (trial, Rows(part.table, part.start + start, end - start))
        for trial, start, end in zip(runs.values.to_pylist(), [0, *ends], ends, strict=False)
    ]


@functools.lru_cache(maxsize=16)
def _compacted(root: Place, table: str, name: str, stamp: Stamp) -> dict[str, Rows]:
    """Return the rows of each trial of a compacted file, kept in the process while its stamp is this."""
    (rows,) = _read_each(root, table, [name], functools.partial(parquet.decode, table))
    return {} if rows is None else dict(_by_trial(Rows(rows, 0, len(rows))))
