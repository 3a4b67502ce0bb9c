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
from typing import TYPE_CHECKING, NamedTuple

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
    """Return the rows of files by ``names``, from the snapshot where it has them as they are now.

    ``stamps`` are those of every file in the folder; ``read_files`` reads files, in order: None for an
    unreadable one, which is never kept. ``keep`` a snapshot, where that saves time.
    """
    file, wanted = _file(folder, schema.to_string()), list(names)
    parts = _load(file, schema, stamps)
    anew = [name for name in wanted if name not in parts]
    for name, table in zip(anew, read_files(anew), strict=True):
        if table is not None:
            parts[name] = Rows(table, 0, len(table))
    if keep and (len(anew) >= WORTH_IT or sum(stamps[name][0] for name in anew) >= WORTH_BYTES):
        # In one table, so that what is returned does not hold on to thousands of small ones.
        order = sorted(parts)
        whole = joined((parts[name] for name in order), schema).combine_chunks()
        lengths = [parts[name].length for name in order]
        starts = accumulate(lengths, initial=0)
        parts = {name: Rows(whole, *at) for name, *at in zip(order, starts, lengths, strict=False)}
        listed = [(name, *_lasting(stamps[name]), part.length) for name, part in parts.items()]
        _save(file, whole, listed)
    return {name: parts[name] for name in wanted if name in parts}


def joined(parts: Iterable[Rows], schema: "pa.Schema") -> "pa.Table":
    """Return rows as one table; those that stand one after the other in a table are taken in one piece."""
    import pyarrow as pa

    runs: list[Rows] = []
    for part in parts:
        if runs and runs[-1].table is part.table and runs[-1].start + runs[-1].length == part.start:
            runs[-1] = runs[-1]._replace(length=runs[-1].length + part.length)
        else:
            runs.append(part)
    return pa.concat_tables([schema.empty_table(), *(run.cut() for run in runs)])


def _lasting(stamp: Stamp) -> Stamp:
    """Return a stamp to keep, or one that no file has if a later version of the file might share this one.

    Buckets and some file systems keep whole seconds: a file may be written twice within one.
    """
    coarse = stamp[1] % 1_000_000_000 == 0
    return (-1, -1) if coarse and abs(time.time_ns() - stamp[1]) < SETTLED else stamp


def _file(folder: Place, content: str) -> Path:
    """Return where the cache of a folder lies, by its path and what it is of."""
    text = f"{folder.resolve()}\n{content}"
    name = hashlib.sha256(text.encode(errors="surrogateescape"))  # a name need not be UTF-8
    return paths.cache_root() / "tables" / f"{name.hexdigest()[:24]}.arrow"


def _load(file: Path, schema: "pa.Schema", stamps: Mapping[str, Stamp]) -> dict[str, Rows]:
    """Return the rows of each file in a snapshot that has not changed; none without a readable snapshot."""
    import mmap

    import pyarrow as pa

    try:
        with file.open("rb") as opened:
            content = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        if zlib.crc32(content[8:]) != int.from_bytes(content[:8], "little"):
            return {}
        table = pa.ipc.open_stream(pa.py_buffer(content[8:])).read_all()
        listed = json.loads(table.schema.metadata[_KEY])
        table = table.replace_schema_metadata(None)
        parts, start = {}, 0
        for name, size, changed, count in listed:
            if stamps.get(name) == (size, changed):
                parts[name] = Rows(table, start, count)
            start += count
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):  # ValueError: it is empty, for one
        return {}
    return parts if table.schema.equals(schema) and start == len(table) else {}


def _save(file: Path, table: "pa.Table", listed: list[tuple[str, int, int, int]]) -> None:
    """Write a snapshot, if the cache can be written to."""
    import pyarrow as pa

    stamped = table.replace_schema_metadata({_KEY: json.dumps(listed).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, stamped.schema) as writer:
        writer.write_table(stamped)
    content = sink.getvalue()
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as opened:
            opened.write(zlib.crc32(content).to_bytes(8, "little"))
            opened.write(content)
        temporary.replace(file)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
