"""A table of a results folder as one: files of a trial each, and compacted files of many.

A trial's own file was written after any compacted one that holds it, and of compacted files one of a higher
generation after one of a lower: the later one is taken, and a trial's rows are never taken twice.
"""

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rdbench.errors import StorageError
from rdbench.results import parquet, read_cache
from rdbench.results.read_cache import Rows
from rdbench.storage import places
from rdbench.storage.places import Place, Stamp

if TYPE_CHECKING:
    import pyarrow as pa

Problems = dict[Place, parquet.TableFileError]
"""Files that were left out -> why."""

_ENDING = ".parquet"
_COMPACT = re.compile(r"compact-(\d+)-(\d+)")
_OWN = 2**62  # the generation of a trial's own file


def generation(name: str) -> int | None:
    """Return the generation of a compacted file, by its name without ending; None of another."""
    found = _COMPACT.fullmatch(name)
    return int(found[1]) if found else None


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
        table: which.
        trials: only theirs; None for all.
        problems: gets the files that were left out.
        columns: only these, in the order the table has them, which is faster; else all.
        keep: a snapshot in the cache.

    Raises:
        StorageError: the files cannot be read now.
    """
    import pyarrow as pa

    schema, inside = parquet.schema(table, tuple(columns)), stamps(root / table)
    wanted = None if trials is None else set(trials)
    names = [name for name in inside if wanted is None or name in wanted or generation(name) is not None]

    def decode(anew: list[str]) -> Iterator["pa.Table | None"]:
        return (
            None if content is None else _decoded(root, table, name, content, problems, columns)
            for name, content in _contents(root, table, anew, problems)
        )

    best: dict[str, tuple[int, Rows]] = {}
    for name, part in read_cache.rows(root / table, inside, names, schema, decode, keep).items():
        rank = generation(name)
        held = [(name, part)] if rank is None else _by_trial(part)
        for trial, own in held:
            later = _OWN if rank is None else rank
            if (wanted is None or trial in wanted) and (trial not in best or later > best[trial][0]):
                best[trial] = (later, own)
    found = _joined(part for _, (_, part) in sorted(best.items()))
    return pa.concat_tables([schema.empty_table(), *found])


def read_own(root: Place, table: str, trial: str) -> "pa.Table":
    """Return the rows in a trial's own file, with a single request; none where there is no such file."""
    for _, content in _contents(root, table, [trial], None):
        own = None if content is None else _decoded(root, table, trial, content, None)
        if own is not None:
            return own
    return parquet.schema(table).empty_table()


def read_one(root: Place, table: str, trial: str) -> "pa.Table":
    """Return the rows of one trial; none where it has none that can be read."""
    if len(own := read_own(root, table, trial)):
        return own
    best = (-1, own)
    for name, stamp in stamps(root / table).items():
        if (rank := generation(name)) is not None and rank > best[0]:
            for held, part in _compacted(root, table, name, stamp).items():
                if held == trial:
                    best = (rank, part.table.slice(part.start, part.length))
    return best[1]


def sound(root: Place, table: str, problems: Problems | None = None) -> set[str]:
    """Return the ids of the trials that a table holds in files that can be read."""
    return {trial for ids in holdings(root, table, problems).values() for trial in ids}


def holdings(root: Place, table: str, problems: Problems | None = None) -> dict[str, list[str]]:
    """Return the ids of the trials in each file of a table that can be read, by its name without ending.

    Files are checked by their digest, which takes a tenth of reading them; which were sound is remembered.
    """

    def look(anew: list[str]) -> Iterator[list[str] | None]:
        for name, content in _contents(root, table, anew, problems):
            yield None if content is None else _held(root, table, name, content, problems)

    return read_cache.trials(root / table, stamps(root / table), look)


def _held(root: Place, table: str, name: str, content: bytes, problems: Problems | None) -> list[str] | None:
    """Return the ids of the trials in a file; None where it is of no use."""
    try:
        if generation(name) is None and parquet.check(table, name, content):
            return [name]
        rows = parquet.decode(table, name, content, ["trial"])
    except parquet.TableFileError as problem:
        _note(problems, own_file(root, table, name), problem)
        return None
    return [trial for trial, _ in _by_trial(Rows(rows, 0, len(rows)))]


def _contents(
    root: Place, table: str, names: Iterable[str], problems: Problems | None
) -> Iterator[tuple[str, bytes | None]]:
    """Yield the content of each file; None where it is gone, or a problem with it."""
    listed = list(names)
    files = [own_file(root, table, name) for name in listed]
    for name, file, content in zip(listed, files, places.read_each(files), strict=True):
        if isinstance(content, StorageError):
            raise content
        if isinstance(content, OSError) and not isinstance(content, FileNotFoundError):
            _note(problems, file, parquet.TableFileError(f"not a readable file ({content.strerror})"))
        yield name, content if isinstance(content, bytes) else None


def _decoded(
    root: Place, table: str, name: str, content: bytes, problems: Problems | None, columns: Sequence[str] = ()
) -> "pa.Table | None":
    try:
        return parquet.decode(table, name, content, columns)
    except parquet.TableFileError as problem:
        _note(problems, own_file(root, table, name), problem)
        return None


def _note(problems: Problems | None, file: Place, problem: parquet.TableFileError) -> None:
    if problems is not None:
        problems[file] = problem


def _by_trial(part: Rows) -> list[tuple[str, Rows]]:
    """Return the rows of each trial of a compacted file, where they stand together."""
    import pyarrow.compute as pc

    column = part.table["trial"].slice(part.start, part.length).combine_chunks()
    runs = pc.run_end_encode(column)
    found, start = [], 0
    for trial, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        found.append((trial, Rows(part.table, part.start + start, end - start)))
        start = end
    return found


def _joined(parts: Iterable[Rows]) -> Iterator["pa.Table"]:
    """Yield the rows of parts; those that stand one after the other in a table together, in one piece."""
    pending: Rows | None = None
    for part in parts:
        if pending and part.table is pending.table and part.start == pending.start + pending.length:
            pending = Rows(pending.table, pending.start, pending.length + part.length)
            continue
        if pending:
            yield pending.table.slice(pending.start, pending.length)
        pending = part
    if pending:
        yield pending.table.slice(pending.start, pending.length)


@functools.lru_cache(maxsize=16)
def _compacted(root: Place, table: str, name: str, stamp: Stamp) -> dict[str, Rows]:
    """Return the rows of each trial of a compacted file, kept in the process while its stamp is this."""
    for _, content in _contents(root, table, [name], None):
        rows = None if content is None else _decoded(root, table, name, content, None)
        if rows is not None:
            return dict(_by_trial(Rows(rows, 0, len(rows))))
    return {}
