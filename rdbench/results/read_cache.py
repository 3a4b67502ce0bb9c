"""What was read of a folder of Parquet files, kept in the cache: ten thousand small files take seconds.

What is kept is derived and disposable. It stands file by file, with each file's size and time of change; a
file that has changed since, or is not in it, is read itself. A checksum guards it, so that damage to the
cache costs time and nothing else.
"""

import contextlib
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rdbench.storage import paths
from rdbench.storage.places import Place, Stamp

if TYPE_CHECKING:
    import pyarrow as pa

WORTH_IT = 50  # files read anew, from which on a snapshot is written
WORTH_BYTES = 2**20  # or so much of them
SETTLED = 60_000_000_000  # nanoseconds
_KEY = b"rdbench_snapshot"


class Rows(NamedTuple):
    """Neighbouring rows of a table."""

    table: "pa.Table"
    start: int
    length: int


def rows(
    folder: Place,
    stamps: Mapping[str, Stamp],
    names: Iterable[str],
    schema: "pa.Schema",
    read_files: Callable[[list[str]], Iterable["pa.Table | None"]],
    keep: bool = True,
) -> dict[str, Rows]:
    """Return the rows of files, from the snapshot where it has them as they are now.

    Args:
        folder: that holds the files.
        stamps: of every file in it, by name.
        names: which to return, all of them in ``stamps``.
        schema: of the rows.
        read_files: reads files, in order; None for one that is of no use, which is never kept.
        keep: a snapshot of them.
    """
    file = _file(folder, schema.to_string(), "arrow")
    kept = {
        name: part for name, (stamp, part) in _load_rows(file, schema).items() if stamps.get(name) == stamp
    }
    wanted = list(names)
    anew = [name for name in wanted if name not in kept]
    found = {
        name: Rows(part, 0, len(part))
        for name, part in zip(anew, read_files(anew), strict=True)
        if part is not None
    }
    everything = kept | found
    if keep and _is_worth_it(anew, stamps):
        everything, table = _in_one(everything, schema)
        _save_rows(
            file, table, [(name, *_lasting(stamps[name]), part.length) for name, part in everything.items()]
        )
    return {name: everything[name] for name in wanted if name in everything}


def _in_one(parts: Mapping[str, Rows], schema: "pa.Schema") -> tuple[dict[str, Rows], "pa.Table"]:
    """Return parts, by name, as they stand in one table that holds them all, and that table."""
    import pyarrow as pa

    slices = [part.table.slice(part.start, part.length) for _, part in sorted(parts.items())]
    table = pa.concat_tables([schema.empty_table(), *slices]).combine_chunks()
    starts = accumulate(map(len, slices), initial=0)
    return {
        name: Rows(table, start, len(part))
        for name, start, part in zip(sorted(parts), starts, slices, strict=False)
    }, table


def trials(
    folder: Place,
    stamps: Mapping[str, Stamp],
    read_files: Callable[[list[str]], Iterable[list[str] | None]],
) -> dict[str, list[str]]:
    """Return the ids of the trials that each sound file of a folder holds, remembering which were.

    Args:
        folder: that holds the files.
        stamps: of every file in it, by name.
        read_files: checks files, in order, and returns the trials of each; None for one that is of no use,
            which is looked at again each time.
    """
    file = _file(folder, "", "json")
    kept = {}
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        known: dict[str, list[Any]] = json.loads(bytes(_load(file)) or b"{}")
        kept = {name: ids for name, (*stamp, ids) in known.items() if stamps.get(name) == tuple(stamp)}
    anew = sorted(stamps.keys() - kept.keys())
    found = {name: ids for name, ids in zip(anew, read_files(anew), strict=True) if ids is not None}
    if _is_worth_it(anew, stamps):
        listed = {name: [*_lasting(stamps[name]), ids] for name, ids in (kept | found).items()}
        _save(file, json.dumps(listed).encode())
    return kept | found


def _is_worth_it(anew: list[str], stamps: Mapping[str, Stamp]) -> bool:
    return len(anew) >= WORTH_IT or sum(stamps[name][0] for name in anew) >= WORTH_BYTES


def _lasting(stamp: Stamp) -> Stamp:
    """Return a stamp as it is kept: as none that ever comes, if a later version of the file might share it.

    Buckets and some file systems keep whole seconds: a file that was just written may be written again
    within the same one.
    """
    coarse = stamp[1] % 1_000_000_000 == 0
    return (-1, -1) if coarse and abs(time.time_ns() - stamp[1]) < SETTLED else stamp


def _file(folder: Place, content: str, ending: str) -> Path:
    """Return where that of a folder is kept; other content has another place."""
    text = f"{folder.resolve()}\n{content}"
    name = hashlib.sha256(text.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return paths.cache_root() / "tables" / f"{name.hexdigest()[:24]}.{ending}"


def _load_rows(file: Path, schema: "pa.Schema") -> dict[str, tuple[Stamp, Rows]]:
    """Return stamp and rows of each file in a snapshot; none where there is no snapshot that can be read."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(pa.py_buffer(_load(file))).read_all()
        listed = json.loads(table.schema.metadata[_KEY])
        table = table.replace_schema_metadata(None)
        found, start = {}, 0
        for name, size, changed, count in listed:
            found[name] = ((size, changed), Rows(table, start, count))
            start += count
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}
    return found if table.schema.equals(schema) and start == len(table) else {}


def _save_rows(file: Path, table: "pa.Table", listed: list[tuple[str, int, int, int]]) -> None:
    import pyarrow as pa

    stamped = table.replace_schema_metadata({_KEY: json.dumps(listed).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, stamped.schema) as writer:
        writer.write_table(stamped)
    _save(file, sink.getvalue())


def _load(file: Path) -> memoryview:
    """Return what was saved; nothing where it is not there or has changed since."""
    import mmap

    with contextlib.suppress(OSError, ValueError), file.open("rb") as opened:  # ValueError: it is empty
        content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        if zlib.crc32(content[8:]) == int.from_bytes(content[:8], "little"):
            return content[8:]
    return memoryview(b"")


def _save(file: Path, content: Any) -> None:
    """Write to the cache; where it cannot be written to, that costs time and nothing else."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as opened:
            opened.write(zlib.crc32(content).to_bytes(8, "little"))
            opened.write(content)
        temporary.replace(file)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
