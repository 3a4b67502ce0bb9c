"""A table of a results folder as one: a file for each trial, and compacted files of many.

A trial's own file was written after any compacted one that holds it, and a compacted file after those of
lower generation. The latest is taken, so a trial's rows are never taken twice.
"""

import functools
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Table:
    """A table, by the ``folder`` of its files, which has its name; files are named without their ending."""

    folder: Place

    def stamps(self) -> dict[str, Stamp]:
        """Return the stamp of each of its files."""
        return {
            name.removesuffix(_ENDING): stamp
            for name, stamp in places.entries(self.folder).items()
            if name.endswith(_ENDING) and not name.startswith(".")
        }

    def file(self, name: str) -> Place:
        """Return where a file lies."""
        return self.folder / f"{name}{_ENDING}"

    def read(
        self,
        trials: Collection[str] | None = None,
        problems: Problems | None = None,
        columns: Sequence[str] = (),
        keep: bool = True,
    ) -> "pa.Table":
        """Return the rows, sorted by trial.

        Args:
            trials: only theirs; None for all.
            problems: gets the files that were left out.
            columns: only these, in the order the table has them, which is faster; else all.
            keep: a snapshot in the cache.
        """
        schema, inside = parquet.schema(self.folder.name, tuple(columns)), self.stamps()
        wanted = None if trials is None else set(trials)
        names = [name for name in inside if wanted is None or name in wanted or generation(name) != OWN]
        decode = functools.partial(parquet.decode, columns=columns)
        read_files = functools.partial(self._read_each, decode, problems=problems)
        parts = read_cache.rows(self.folder, inside, names, schema, read_files, keep)
        latest: dict[str, tuple[float, Rows]] = {}
        for name, part in parts.items():
            rank = generation(name)
            for trial, rows in [(name, part)] if rank == OWN else _by_trial(part):
                if (wanted is None or trial in wanted) and (trial not in latest or rank > latest[trial][0]):
                    latest[trial] = (rank, rows)
        return read_cache.joined((rows for _, (_, rows) in sorted(latest.items())), schema)

    def read_own(self, trial: str) -> "pa.Table":
        """Return the rows in a trial's own file, with a single request; none where there is no such file."""
        (rows,) = self._read_each(parquet.decode, [trial])
        return parquet.schema(self.folder.name).empty_table() if rows is None else rows

    def read_one(self, trial: str) -> "pa.Table":
        """Return the rows of one trial; none where it has none that can be read."""
        if len(rows := self.read_own(trial)):
            return rows
        inside = self.stamps()
        for name in sorted(inside, key=generation, reverse=True):
            if generation(name) != OWN and (part := _compacted(self, name, inside[name]).get(trial)):
                return part.cut()
        return rows

    def sound(self, problems: Problems | None = None) -> set[str]:
        """Return the ids of the trials that the table holds in files that can be read."""
        held = self._held(problems)
        return set(read_cache.joined(held.values(), _ids())["held"].to_pylist()) if held else set()

    def holdings(self) -> dict[str, list[str]]:
        """Return the ids of the trials in each file that can be read."""
        return {name: part.cut()["held"].to_pylist() for name, part in self._held().items()}

    def _held(self, problems: Problems | None = None) -> dict[str, Rows]:
        """Return the ids of the trials in each sound file.

        Files are checked by their digest, which takes a tenth of reading them; the cache remembers sound
        ones.
        """
        if not (inside := self.stamps()):
            return {}  # quickly, without importing a Parquet reader
        import pyarrow as pa

        def trials(table: str, name: str, content: bytes) -> "pa.Table":
            own = generation(name) == OWN and parquet.check(table, name, content)
            ids = [name] if own else parquet.decode(table, name, content, ["trial"])["trial"].unique()
            return pa.table([ids], schema=_ids())

        read_files = functools.partial(self._read_each, trials, problems=problems)
        return read_cache.rows(self.folder, inside, sorted(inside), _ids(), read_files)

    def _read_each(
        self, decode: Callable[[str, str, bytes], T], names: Sequence[str], problems: Problems | None = None
    ) -> Iterator[T | None]:
        """Yield what ``decode`` makes of each file; None of one that is gone or unreadable."""
        files = [self.file(name) for name in names]
        for name, file, content in zip(names, files, places.read_each(files), strict=True):
            decoded = None
            try:
                if isinstance(content, bytes):
                    decoded = decode(self.folder.name, name, content)
                elif isinstance(content, StorageError):
                    raise content
                elif not isinstance(content, FileNotFoundError):
                    raise parquet.TableFileError(f"not a readable file ({content.strerror})")
            except parquet.TableFileError as problem:
                if problems is not None:
                    problems[file] = problem
            yield decoded


@functools.cache
def _ids() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([("held", pa.string())])


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
def _compacted(table: Table, name: str, stamp: Stamp) -> dict[str, Rows]:
    """Return the rows of each trial of a compacted file, kept in the process while its stamp is this."""
    rows = table.read_own(name)
    return dict(_by_trial(Rows(rows, 0, len(rows))))
