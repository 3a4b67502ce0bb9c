"""A cache of what was read of a folder of Parquet files: ten thousand small files take seconds.

It is derived and disposable. Each file's part carries that file's size and time of change; a file that has
changed since, or is not in it, is read itself. A checksum guards it, so damage costs time and nothing else.
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

WORTH_IT = 50  # a snapshot is written once so many files were read anew
WORTH_BYTES = 2**20  # or so much of them
SETTLED = 60_000_000_000  # nanoseconds
_KEY = b"rdbench_snapshot"


class Rows(NamedTuple):
    """Neighbouring rows of a table."""

    table: "pa.Table"
    start: int
    length: int

    def cut(self) -> "pa.Table":
        """Return them as a table, without a copy."""
        return self.table.slice(self.start, self.length)


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
        read_files: reads files, in order; None for an unreadable one, which is never kept.
        keep: a snapshot of them.
    """
    import pyarrow as pa

    file, wanted = _file(folder, schema.to_string(), "arrow"), list(names)
    parts = _load_rows(file, schema, stamps)
    anew = [name for name in wanted if name not in parts]
    for name, table in zip(anew, read_files(anew), strict=True):
        if table is not None:
            parts[name] = Rows(table, 0, len(table))
    if keep and _is_worth_it(anew, stamps):
        # In one table, so that what is returned does not hold on to thousands of small ones.
        order = sorted(parts)
        whole = pa.concat_tables([schema.empty_table(), *(parts[name].cut() for name in order)])
        whole, lengths = whole.combine_chunks(), [parts[name].length for name in order]
        starts = accumulate(lengths, initial=0)
        parts = {name: Rows(whole, *at) for name, *at in zip(order, starts, lengths, strict=False)}
        listed = [(name, *_lasting(stamps[name]), part.length) for name, part in parts.items()]
        _save_rows(file, whole, listed)
    return {name: parts[name] for name in wanted if name in parts}


def trials(
    folder: Place,
    stamps: Mapping[str, Stamp],
    read_files: Callable[[list[str]], Iterable[list[str] | None]],
) -> dict[str, list[str]]:
    """Return the ids of the trials that each sound file of a folder holds; remembers which were sound.

    Args:
        folder: that holds the files.
        stamps: of every file in it, by name.
        read_files: checks files, in order, and returns the trials of each; None for an unreadable one, which
            is checked again each time.
    """
    file = _file(folder, "", "json")
    held: dict[str, list[str]] = {}
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        known: dict[str, list[Any]] = json.loads(bytes(_load(file)) or b"{}")
        held = {name: ids for name, (*stamp, ids) in known.items() if stamps.get(name) == tuple(stamp)}
    anew = sorted(stamps.keys() - held.keys())
    held |= {name: ids for name, ids in zip(anew, read_files(anew), strict=True) if ids is not None}
    if _is_worth_it(anew, stamps):
        listed = {name: [*_lasting(stamps[name]), ids] for name, ids in held.items()}
        _save(file, json.dumps(listed).encode())
    return held


def _is_worth_it(anew: list[str], stamps: Mapping[str, Stamp]) -> bool:
    return len(anew) >= WORTH_IT or sum(stamps[name][0] for name in anew) >= WORTH_BYTES


def _lasting(stamp: Stamp) -> Stamp:
    """Return a stamp to keep, or one that no file has if a later version of the file might share this one.

    Buckets and some file systems keep whole seconds: a file may be written twice within one.
    """
    coarse = stamp[1] % 1_000_000_000 == 0
    return (-1, -1) if coarse and abs(time.time_ns() - stamp[1]) < SETTLED else stamp


def _file(folder: Place, content: str, ending: str) -> Path:
    """Return where the cache of a folder lies, by its path and what it is of."""
    text = f"{folder.resolve()}\n{content}"
    name = hashlib.sha256(text.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return paths.cache_root() / "tables" / f"{name.hexdigest()[:24]}.{ending}"


def _load_rows(file: Path, schema: "pa.Schema", stamps: Mapping[str, Stamp]) -> dict[str, Rows]:
    """Return the rows of each file in a snapshot that has not changed; none without a readable snapshot."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(pa.py_buffer(_load(file))).read_all()
        listed = json.loads(table.schema.metadata[_KEY])
        table = table.replace_schema_metadata(None)
        parts, start = {}, 0
        for name, size, changed, count in listed:
            if stamps.get(name) == (size, changed):
                parts[name] = Rows(table, start, count)
            start += count
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}
    return parts if table.schema.equals(schema) and start == len(table) else {}


def _save_rows(file: Path, table: "pa.Table", listed: list[tuple[str, int, int, int]]) -> None:
    import pyarrow as pa

    stamped = table.replace_schema_metadata({_KEY: json.dumps(listed).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, stamped.schema) as writer:
        writer.write_table(stamped)
    _save(file, sink.getvalue())


def _load(file: Path) -> memoryview:
    """Return what was saved; nothing where it is missing or damaged."""
    import mmap

    with contextlib.suppress(OSError, ValueError), file.open("rb") as opened:  # ValueError: it is empty
        content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        if zlib.crc32(content[8:]) == int.from_bytes(content[:8], "little"):
            return content[8:]
    return memoryview(b"")


def _save(file: Path, content: Any) -> None:
    """Write to the cache, if it can be written to."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as opened:
            opened.write(zlib.crc32(content).to_bytes(8, "little"))
            opened.write(content)
        temporary.replace(file)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
