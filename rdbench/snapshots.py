"""Whole tables kept in the cache: a thousand small files take seconds to read, a large one nearly nothing.

A snapshot is derived and disposable. It holds rows file by file, with each file's size and time of change;
rows of a file that has changed since, or is not in it, are read from the file itself.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rdbench import paths

if TYPE_CHECKING:
    import pyarrow as pa

WORTH_IT = 50  # files read anew, from which on a snapshot is written
_KEY = b"rdbench_snapshot"

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


def read(
    folder: Path, names: Iterable[str], schema: "pa.Schema", read_file: Callable[[Path], "pa.Table | None"]
) -> "pa.Table":
    """Return the rows of files, from a snapshot where it has them as they are now.

    Args:
        folder: that holds the files ``<name>.parquet``.
        names: which, in this order; one that is not there is passed over.
        schema: of the rows.
        read_file: reads one file; None where it is of no use, which is never kept.
    """
    import pyarrow as pa

    stamps = _stamps(folder)
    place = _place(folder, schema)
    kept = _load(place, schema)
    parts: dict[str, pa.Table] = {}
    anew = 0
    for name in names:
        if name not in stamps:
            continue
        stamp, part = kept.get(name, (None, None))
        if stamp != stamps[name]:
            part = read_file(folder / f"{name}.parquet")
            anew += 1
        if part is not None:
            parts[name] = part
    table = pa.concat_tables([schema.empty_table(), *parts.values()])
    if anew >= WORTH_IT:
        _save(place, table, [(name, *stamps[name], len(part)) for name, part in parts.items()])
    return table


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamp of each Parquet file in a folder, by name without its ending."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".parquet"):
                status = entry.stat()
                found[entry.name.removesuffix(".parquet")] = (status.st_size, status.st_mtime_ns)
    return found


def _place(folder: Path, schema: "pa.Schema") -> Path:
    """Return where the snapshot of a folder lies; another schema has another."""
    name = hashlib.sha256(f"{folder.resolve()}\n{schema.to_string(show_schema_metadata=True)}".encode())
    return paths.cache_root() / "tables" / f"{name.hexdigest()[:24]}.arrow"


def _load(place: Path, schema: "pa.Schema") -> dict[str, tuple[Stamp, "pa.Table"]]:
    """Return stamp and rows of each file in a snapshot; none where there is no snapshot that can be read."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(place)) as source:
            table = pa.ipc.open_file(source).read_all()
        listed = json.loads(table.schema.metadata[_KEY])
        rows = table.replace_schema_metadata(schema.metadata)
        found, start = {}, 0
        for name, size, changed, count in listed:
            found[name] = ((size, changed), rows.slice(start, count))
            start += count
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}
    return found if rows.schema.equals(schema) and start == len(rows) else {}


def _save(place: Path, table: "pa.Table", listed: list[tuple[str, int, int, int]]) -> None:
    """Write a snapshot; where the cache cannot be written to, that costs time and nothing else."""
    import pyarrow as pa

    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(listed).encode()}
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        stamped = table.replace_schema_metadata(metadata).combine_chunks()
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, stamped.schema) as writer:
            writer.write_table(stamped)
        temporary.replace(place)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
