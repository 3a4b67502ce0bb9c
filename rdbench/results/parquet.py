"""Rows of a table to the bytes of a Parquet file and back: columns, schema versions, and a digest.

A file's footer has the schema version and a SHA-256 of the table's name, the file's name and all its bytes
(with zeros in place of the digest). It is checked before anything is read, so a file that was damaged, cut
off, renamed or moved to another table is recognised. Files of versions 1 and 2 have no digest: their columns
and values are checked.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rdbench.results import older

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


STANDING = ("trial", "status", "error", "variant", "beta", "seed", "parameters", "dataset_checksum")
"""The columns of ``trials`` that give the status of trials: read in a third of the time of all."""

SCHEMA_VERSION = 7  # what each version brought: :mod:`rdbench.results.older`
_DIGEST_SINCE = 3
_VERSION_KEY = b"rdbench_schema"
_DIGEST_KEY = b"rdbench_digest"
_DIGEST = re.compile(_DIGEST_KEY + rb"..([0-9a-f]{64})", re.DOTALL)  # two bytes: a field's type, its length
_BLANK = b"0" * 64

_POINT = (
    "trial:string dataset:string variant:string beta:double seed:int64 protocol:string split:string"
    " reading:string native:bool n_images:int64 rate:double rate_se:double distortion:double"
    " distortion_se:double elbo:double elbo_se:double sse:double mse:double psnr_of_mse:double"
    " density_bits_per_dim:double binned_bits_per_dim:double"
)
_TRIAL = (
    "trial:string status:string error:string dataset:string variant:string beta:double seed:int64"
    " protocol:string epochs:int64 parameters:int64 seconds:double images_per_second:double"
    " pack:int64 peak_memory_bytes:int64 device:string host:string run:string versions:string commit:string"
    " started:timestamp dataset_checksum:string skipped_files:int64 train_images:int64 test_images:int64"
    " data_notes:string mean_image_mse:double spec:string"
)
TABLES: dict[str, str] = {
    "points": _POINT,
    "history": "trial:string epoch:int64 loss:double rate:double sse:double lr:double seconds:double"
    " images_per_second:double",
    "images": "trial:string kind:string index:int64 png:binary",
    "metrics": "trial:string name:string quantity:string reading:string value:double unit:string"
    " standard_error:double settings:string feature_hash:string protocol:string",
    "per_image": "trial:string index:int64 sse:double rate:double",
    "trials": _TRIAL,
}
"""Name of each table -> its columns as ``name:type``. ``trials`` is last, as it is written last."""

MOST_ROWS = dict.fromkeys(TABLES, 5_000_000) | {"per_image": 200_000_000}
"""The most rows of a file: a few damaged bytes can stand for any number. Compacted files are the longest."""

Row = Mapping[str, Any]


class TableFileError(Exception):
    """A file that is not a readable one of its table; the text says why in a few words."""


class NewerFileError(TableFileError):
    """A file of a schema version that a later rdbench wrote."""


@functools.cache
def schema(table: str, only: tuple[str, ...] = ()) -> "pa.Schema":
    """Return the Arrow schema of a table, or of ``only`` some of its columns."""
    import pyarrow as pa

    columns = [column.split(":") for column in TABLES[table].split()]
    utc = pa.timestamp("us", tz="UTC")
    types = {name: utc if kind == "timestamp" else pa.type_for_alias(kind) for name, kind in columns}
    return pa.schema([(name, kind) for name, kind in types.items() if name in only or not only])


def from_rows(table: str, trial: str, values: Iterable[Row]) -> "pa.Table":
    """Return rows of one trial in Arrow; a column that a row does not name is null.

    Raises:
        ValueError: a row names a column the table does not have.
    """
    import pyarrow as pa

    rows = [dict(row, trial=trial) for row in values]
    columns = schema(table)
    if unknown := {name for row in rows for name in row} - set(columns.names):
        raise ValueError(f"table {table!r} has no column named {', '.join(sorted(unknown))}")
    try:
        return pa.Table.from_pylist(rows, schema=columns)
    except UnicodeEncodeError:  # a traceback names a file whose name is not UTF-8
        return pa.Table.from_pylist(
            [{name: _utf8(value) for name, value in row.items()} for row in rows], schema=columns
        )


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def encode(table: str, name: str, rows: "pa.Table", *, small: bool = True) -> bytes:
    """Return a table's rows as a Parquet file of a ``name`` without ending; compressed if not ``small``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    # Plain values, and no second copy of the schema: thousands of small files are read twice as fast.
    layout = {"use_dictionary": False, "compression": "none"} if small else {"compression": "zstd"}
    with pq.ParquetWriter(sink, rows.schema, write_statistics=False, store_schema=False, **layout) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode(), _DIGEST_KEY: _BLANK})
    content: bytes = sink.getvalue().to_pybytes()
    start, end = _digest_span(content) or (0, 0)
    return content[:start] + _digest(table, name, content, start, end) + content[end:]


def check(table: str, name: str, content: bytes) -> bool:
    """Tell whether a file has the right digest; False where it has none.

    Raises:
        TableFileError: it has another.
    """
    span = _digest_span(content)
    if span is None:
        return False
    if content[slice(*span)] != _digest(table, name, content, *span):
        raise TableFileError("its bytes do not match its digest: damaged, or a file from elsewhere")
    return True


def decode(table: str, name: str, content: bytes, columns: Sequence[str] = ()) -> "pa.Table":
    """Return the rows of a file, in the table's schema or some of its ``columns``.

    Columns that an older schema version had not are null. ``name`` is the file's, without its ending: the
    trial's id, unless the file is compacted.

    Raises:
        TableFileError: it is not such a file.
    """
    import pyarrow.compute as pc

    checked = check(table, name, content)
    part, version = _read(table, content, columns if checked else (), checked)
    expected = schema(table, tuple(columns))
    if not checked and version >= _DIGEST_SINCE:
        raise TableFileError(f"no {table} file of rdbench: its digest is missing")
    if not part.schema.equals(expected):
        part = older.as_now(table, part, version, schema(table).names, expected)
    if not part.schema.equals(expected):
        raise TableFileError(f"no {table} file of rdbench: columns are missing")
    # Anybody can write a digest: also check that the rows are of this trial.
    named = "trial" in part.schema.names and not name.startswith("compact-")
    if named and not pc.all(pc.equal(part["trial"], name), min_count=0).as_py():
        raise TableFileError("it holds another trial")
    return part


def _read(table: str, content: bytes, columns: Sequence[str], checked: bool) -> "tuple[pa.Table, int]":
    """Return what a file holds in some ``columns``, named as now, or in all; and its schema version.

    Their names are those of that version. ``checked``: its digest was, so its values need not be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.py_buffer(content))
        if file.metadata.num_rows > MOST_ROWS[table]:
            raise TableFileError(f"it says it has {file.metadata.num_rows:,} rows")
        version = _version((file.metadata.metadata or {}).get(_VERSION_KEY, b"none").decode(errors="replace"))
        some = columns and not older.is_split(table, version)
        part = file.read(older.columns(table, version, columns) if some else None, use_threads=False)
        if not checked:
            part.validate(full=True)  # finds text that is not UTF-8, for one
    except TableFileError:
        raise
    except Exception as error:  # a damaged file may raise anything
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableFileError(f"not a readable Parquet file ({line})") from None
    return part, version


def _version(text: str) -> int:
    if text.isdecimal() and int(text) > SCHEMA_VERSION:
        raise NewerFileError(
            f"its schema version is {text}, this rdbench reads up to {SCHEMA_VERSION}; update rdbench"
        )
    if text not in map(str, range(1, SCHEMA_VERSION + 1)):
        raise TableFileError("not a file of rdbench")
    return int(text)


def to_pandas(rows: "pa.Table") -> "pd.DataFrame":
    """Return rows as a pandas frame; a column of text has that type also where every value is null."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    text = pd.StringDtype(na_value=np.nan)
    frame: pd.DataFrame = rows.to_pandas(types_mapper={pa.string(): text}.get)
    return frame


def _digest_span(content: bytes) -> tuple[int, int] | None:
    """Return start and end of the digest in a file; None where there is none."""
    # The last one: the footer is at the end, and rows may hold anything.
    match = _DIGEST.match(content, max(content.rfind(_DIGEST_KEY), 0))
    return match.span(1) if match else None


def _digest(table: str, name: str, content: bytes, start: int, end: int) -> bytes:
    code = hashlib.sha256(f"{table}/{name}\n".encode())
    view = memoryview(content)
    for part in (view[:start], _BLANK, view[end:]):
        code.update(part)
    return code.hexdigest().encode()
