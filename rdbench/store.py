"""The Parquet tables of a sweep: schemas, atomic commit, load.

A results folder holds one folder a table and one file a trial in it::

    results/<sweep>/
      sweep.yaml                  the resolved spec
      variants/                   the files its variants come from, if not from rdbench or a package
      points/<trial>.parquet      a row per split x reading
      history/<trial>.parquet     a row per epoch
      images/<trial>.parquet      PNG bytes: originals, reconstructions, prior samples
      metrics/<trial>.parquet     a row per proxy metric
      per_image/<trial>.parquet   a row per test image: sse and rate (keep_per_image: true)
      checkpoints/<trial>.safetensors   the trained network (keep_weights: true)
      trials/<trial>.parquet      one row: settings, status, timing, provenance; written last, the commit

A file is written under a temporary name and renamed, so a reader never sees half of one, and a trial
without its ``trials`` row does not exist. A number that was not measured is null, never 0. Any Parquet
reader opens a table whole: ``pandas.read_parquet("results/x/points")``.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdbench import snapshots
from rdbench.errors import ResultsError
from rdbench.metrics import MetricOptions, answers, is_measured
from rdbench.spec import Sweep, dump_sweep, load_sweep

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA_VERSION = 2  # 2: trials.pack
_READABLE = ("1", str(SCHEMA_VERSION))
_VERSION_KEY = b"rdbench_schema"

_POINT = (
    "trial:string dataset:string variant:string beta:double seed:int64 protocol:string split:string"
    " reading:string native:bool n_images:int64 rate:double rate_se:double distortion:double"
    " distortion_se:double elbo:double elbo_se:double sse:double mse:double psnr:double bits_per_dim:double"
)
_TRIAL = (
    "trial:string status:string error:string dataset:string variant:string beta:double seed:int64"
    " protocol:string epochs:int64 parameters:int64 seconds:double images_per_second:double"
    " pack:int64 peak_memory_bytes:int64 device:string host:string versions:string commit:string"
    " started:timestamp dataset_checksum:string skipped_files:int64 spec:string"
)
TABLES: dict[str, str] = {
    "points": _POINT,
    "history": "trial:string epoch:int64 loss:double rate:double sse:double lr:double seconds:double"
    " images_per_second:double",
    "images": "trial:string kind:string index:int64 png:binary",
    "metrics": "trial:string name:string value:double standard_error:double settings:string"
    " feature_hash:string protocol:string",
    "per_image": "trial:string index:int64 sse:double rate:double",
    "trials": _TRIAL,
}
"""Name of each table -> its columns as ``name:type``. ``trials`` stands last: it is written last."""

Row = Mapping[str, Any]


def schema(table: str) -> "pa.Schema":
    """Return the Arrow schema of a table, stamped with the schema version."""
    import pyarrow as pa

    types = {"timestamp": pa.timestamp("us", tz="UTC"), "double": pa.float64()}
    fields = []
    for column in TABLES[table].split():
        name, kind = column.split(":")
        fields.append(pa.field(name, types[kind] if kind in types else pa.type_for_alias(kind)))
    return pa.schema(fields, metadata={_VERSION_KEY: str(SCHEMA_VERSION)})


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, make it durable, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not ".parquet": a reader of the whole folder must not pick up a half-written file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def commit(root: Path, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
    """Write the tables of one trial; its ``trials`` row, written last, makes the trial exist.

    Args:
        root: the results folder.
        trial: the trial's id.
        tables: name of the table -> its rows; a table that is not given is left as it is. A failure never
            replaces a trial that is done: then nothing is written.

    Raises:
        ValueError: there is no ``trials`` row, or a row names a column the table does not have.
    """
    if "trials" not in tables:
        raise ValueError("a trial is committed by its row in 'trials', which is missing")
    if any(row["status"] == "failed" for row in tables["trials"]) and is_done(root, trial):
        return
    for table in TABLES:
        if table in tables:
            _write(root, table, trial, tables[table])


def _write(root: Path, table: str, trial: str, values: Iterable[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [dict(row, trial=trial) for row in values]
    columns = schema(table)
    unknown = {name for row in rows for name in row} - set(columns.names)
    if unknown:
        raise ValueError(f"table {table!r} has no column named {', '.join(sorted(unknown))}")
    buffer = pa.BufferOutputStream()
    # Plain values: the files are small, and a report reads thousands of them a third faster for it.
    pq.write_table(
        pa.Table.from_pylist(rows, schema=columns),
        buffer,
        use_dictionary=False,
        compression="none",
        write_statistics=False,
    )
    write_atomically(root / table / f"{trial}.parquet", buffer.getvalue().to_pybytes())


def trial_tables(root: Path, trial: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of one trial's tables that are there and can be read."""
    found = {table: _read(root, table, [trial], []).to_pylist() for table in TABLES}
    return {table: rows for table, rows in found.items() if rows}


def is_done(root: Path, trial: str) -> bool:
    """Tell whether a trial is committed with status done."""
    return list(_read(root, "trials", [trial], [])["status"].to_pylist()) == ["done"]


def weights_file(root: Path, trial: str) -> Path:
    """Return where a trial's trained network lies, if it was kept."""
    return root / "checkpoints" / f"{trial}.safetensors"


def add_metrics(root: Path, trial: str, asked: Sequence[MetricOptions], rows: Iterable[Row]) -> None:
    """Add what was measured afterwards to a committed trial; it replaces what answered the same before.

    Args:
        root: the results folder.
        trial: the trial's id.
        asked: what was measured.
        rows: of the ``metrics`` table.

    Raises:
        ValueError: the trial does not exist.
    """
    if trial not in trial_ids(root):
        raise ValueError(f"no trial {trial} is committed in {root}")
    before = _read(root, "metrics", [trial], []).to_pylist()
    kept = [row for row in before if not any(answers(options, row) for options in asked)]
    _write(root, "metrics", trial, [*kept, *rows])


@dataclass(frozen=True)
class Results:
    """What a results folder holds, as pandas frames; ``problems`` names the files that were left out."""

    root: Path
    sweep: Sweep
    points: "pd.DataFrame"
    history: "pd.DataFrame"
    images: "pd.DataFrame"
    metrics: "pd.DataFrame"
    per_image: "pd.DataFrame"
    trials: "pd.DataFrame"
    problems: list[str] = field(default_factory=list)


def _read(root: Path, table: str, trials: Iterable[str], problems: list[str]) -> "pa.Table":
    """Read one table's files of the given trials; a file that cannot be read is named in ``problems``."""
    import pyarrow as pa

    expected = schema(table)
    parts = (_read_file(root / table / f"{trial}.parquet", expected, problems) for trial in trials)
    return pa.concat_tables([expected.empty_table(), *(part for part in parts if part is not None)])


def _read_file(path: Path, expected: "pa.Schema", problems: list[str]) -> "pa.Table | None":
    """Return a file's rows; None where there is no file, or a problem with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # As bytes: handing over the path takes pyarrow longer than reading such a small file.
        part = pq.ParquetFile(pa.py_buffer(path.read_bytes())).read(use_threads=False)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        problems.append(f"{path}: left out, not a readable Parquet file ({str(error).splitlines()[0]})")
        return None
    if part.schema.equals(expected, check_metadata=True):
        return part
    version = (part.schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    part = _as_now(part, version)
    if version not in _READABLE or part.schema.names != expected.names:
        problems.append(f"{path}: left out, its schema version is {version}, this rdbench reads up to"
                        f" {SCHEMA_VERSION}; delete the file and run the sweep again")  # fmt: skip
        return None
    return part.cast(expected)


def _as_now(part: "pa.Table", version: str) -> "pa.Table":
    """Return a table of an older schema version in the present one; what it did not hold is null."""
    import pyarrow as pa

    if version == "1" and "spec" in part.schema.names:
        column = part.schema.get_field_index("peak_memory_bytes")
        return part.add_column(column, pa.field("pack", pa.int64()), pa.nulls(len(part), pa.int64()))
    return part


def _frame(table: "pa.Table") -> "pd.DataFrame":
    """Return a pandas frame; a column of text stays one where every value is null."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    text = pd.StringDtype(na_value=np.nan)
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.string(): text}.get)
    return frame


def trial_ids(root: Path) -> list[str]:
    """Return the ids of the trials a results folder holds, sorted; empty where there is no folder."""
    return sorted(path.stem for path in (root / "trials").glob("*.parquet"))


def finished(
    root: Path,
    *,
    needs: Iterable[str] = (),
    metrics: Sequence[MetricOptions] = (),
    weights: bool = False,
) -> set[str]:
    """Return the ids of the trials that need not be trained again: status done or diverged.

    Args:
        root: the results folder, which need not exist.
        needs: tables that a done trial must also have (``per_image`` where the sweep keeps it).
        metrics: what a done trial must also have measured.
        weights: whether its trained network must have been kept.
    """
    committed = trial_ids(root)
    if not committed:
        return set()  # at once: without opening a Parquet reader
    table = _read(root, "trials", committed, [])
    ids = table["trial"].to_pylist()
    measured: dict[str, list[dict[str, Any]]] = {}
    for row in _read(root, "metrics", ids, []).to_pylist() if metrics else []:
        measured.setdefault(row["trial"], []).append(row)
    done = set()
    columns = (table[name].to_pylist() for name in ("status", "parameters"))
    for trial, status, parameters in zip(ids, *columns, strict=True):
        whole = all((root / name / f"{trial}.parquet").exists() for name in ("points", *needs))
        # A trial function that returned measurements alone has no weights to keep.
        whole = whole and (not weights or parameters is None or weights_file(root, trial).exists())
        whole = whole and all(is_measured(asked, measured.get(trial, [])) for asked in metrics)
        if status == "diverged" or (status == "done" and whole):
            done.add(trial)
    return done


def load_results(path: str | os.PathLike[str]) -> Results:
    """Load a results folder into pandas frames.

    Args:
        path: the folder a sweep wrote, ``results/<name>``.

    Returns:
        The tables, each with the columns of :data:`TABLES`. Rows of trials that were never committed are
        left out; files that cannot be read are named in ``problems``.

    Raises:
        ResultsError: the folder is not a results folder.
    """
    root = Path(path)
    if not (root / "sweep.yaml").is_file():
        raise ResultsError(f"{root}: not a results folder (no sweep.yaml in it); give the folder that"
                           " 'rdbench sweep' wrote, results/<name>")  # fmt: skip
    problems: list[str] = []
    ids = trial_ids(root)
    frames = {}
    for table in reversed(TABLES):  # "trials" first: its rows say which of the other tables' files count
        expected = schema(table)
        found = snapshots.read(
            root / table,
            ids,
            expected,
            lambda path, expected=expected: _read_file(path, expected, problems),  # type: ignore[misc]
        )
        frames[table] = _frame(found)
        if table == "trials":
            ids = found["trial"].to_pylist()
    return Results(root, load_sweep(root / "sweep.yaml", stored=True), **frames, problems=problems)


def variant_sources(root: Path) -> dict[str, str]:
    """Return the files of variants that a results folder keeps, by hash; an edited copy is left out."""
    found = {}
    for path in sorted((root / "variants").glob("*.py")):
        content = path.read_bytes()
        text = content.decode("utf-8-sig", errors="replace")
        if path.stem.endswith(code := hashlib.sha256(text.encode()).hexdigest()[:16]):
            found[code] = text
    return found


def save_sweep(root: Path, sweep: Sweep) -> None:
    """Write the resolved spec into the results folder, and a copy of each file its variants come from."""
    variants = []
    for variant in sweep.variants:
        place, _, symbol = variant.source.rpartition(":")
        if place.endswith(".py"):
            copy = f"variants/{variant.name}-{variant.code}.py"
            write_atomically(root / copy, Path(place).read_bytes())
            variant = variant.model_copy(update={"source": f"{copy}:{symbol}"})
        variants.append(variant)
    stored = sweep.model_copy(update={"variants": tuple(variants)})
    write_atomically(root / "sweep.yaml", dump_sweep(stored).encode())
