"""Files among the results, damaged in every way: what is read of them is what was written, or nothing."""

import io
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from older_rows import as_of
from report_builders import make_sweep, write

from rdbench.commands.status import status_lines
from rdbench.errors import UserError
from rdbench.results import parquet, store
from rdbench.results.load import load_results
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder

METRIC = {"name": "kid", "value": 1.5, "standard_error": 0.5, "settings": '{"samples": 1}'}


class Whole:
    """A results folder, and its rows."""

    def __init__(self, root, rows):
        self.root, self.rows = root, rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A results folder with rows in every table, and all of its rows as text, by table and trial."""
    root = write(tmp_path_factory.mktemp("whole") / "results", make_sweep(beta=[1]), images=True)
    for number, trial in enumerate(ResultsFolder(root).trial_ids()):
        row = ResultsFolder(root).trial_row(trial)
        pixels = [{"index": index, "sse": number + index / 8, "rate": 1.0 * number} for index in range(5)]
        metric = METRIC | {"value": 1.0 * number}
        ResultsFolder(root).commit(trial, {"per_image": pixels, "metrics": [metric], "trials": [row]})
    return Whole(root, _rows(load_results(root)))


def _rows(results):
    """The rows of each trial of each table as text that tells any two values apart."""
    found = {}
    for table in store.TABLES:
        for row in getattr(results, table).to_dict("records"):
            found.setdefault((table, row["trial"]), []).append(repr(sorted(row.items())))
    return found


def _flipped(content, at):
    return content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]


def _other_schema(content):
    table = pq.read_table(io.BytesIO(content))
    return _rewritten(table.rename_columns([f"{name}_" for name in table.column_names]))


def _other_types(content):
    table = pq.read_table(io.BytesIO(content))
    texts = [pa.array([str(value) for value in column.to_pylist()]) for column in table.columns]
    return _rewritten(
        pa.table(dict(zip(table.column_names, texts, strict=True)), metadata=table.schema.metadata)
    )


def _huge_metadata(content):
    table = pq.read_table(io.BytesIO(content))
    return _rewritten(table.replace_schema_metadata({**table.schema.metadata, "more": "x" * 2**20}))


def _rewritten(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


DAMAGE = {
    "flip": lambda content, at, more, other: _flipped(content, at),
    "truncate": lambda content, at, more, other: content[:at],
    "insert": lambda content, at, more, other: content[:at] + more + content[at:],
    "duplicate": lambda content, at, more, other: content[: at + len(more)] + content[at:],
    "concatenate": lambda content, at, more, other: content + other,
    "swap": lambda content, at, more, other: other,
    "zeros": lambda content, at, more, other: content[:at] + bytes(len(content) - at),
    "empty": lambda content, at, more, other: b"",
    "schema": lambda content, at, more, other: _other_schema(content),
    "types": lambda content, at, more, other: _other_types(content),
    "metadata": lambda content, at, more, other: _huge_metadata(content),
}
SHARE = st.floats(0, 1, exclude_max=True)


@settings(
    max_examples=100, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    kind=st.sampled_from(sorted(DAMAGE)), which=SHARE, where=SHARE, more=st.binary(min_size=1), swapped=SHARE
)
def test_damaged_files_are_left_out_and_never_read_as_something_else(
    whole, tmp_path, monkeypatch, kind, which, where, more, swapped
):
    root, written = whole.root, whole.rows
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
    files = sorted(copy.glob("*/*.parquet"))
    one, other = (files[int(share * len(files))] for share in (which, swapped))
    before = one.read_bytes()
    one.write_bytes(DAMAGE[kind](before, int(where * len(before)), more, other.read_bytes()))
    if one.read_bytes() == before:
        return
    table, trial = one.parent.name, one.stem
    try:
        found = load_results(copy)
        finished, lines = ResultsFolder(copy).finished(make_sweep()), status_lines(copy)
    except UserError:
        return
    rows = _rows(found)
    assert all(written[key] == own for key, own in rows.items())
    assert (table, trial) not in rows
    lost = {key for key in written if key not in rows}
    assert lost == ({key for key in written if key[1] == trial} if table == "trials" else {(table, trial)})
    assert any(str(one) in line for line in found.problems)
    assert any(str(one) in line for line in lines)
    assert (trial in finished) == (table not in ("trials", "points"))
    (line,) = set_aside(copy)
    assert str(one) in line
    assert not one.exists()
    assert load_results(copy).problems == []


@settings(
    max_examples=30, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(which=SHARE, where=SHARE)
def test_damaged_files_of_an_older_schema_raise_nothing_but_a_users_error(whole, tmp_path, which, where):
    root = whole.root
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    files = sorted(copy.glob("*/*.parquet"))
    one = files[int(which * len(files))]
    old = parquet.decode(one.parent.name, one.stem, one.read_bytes())
    content = _rewritten(as_of(one.parent.name, old, 2).replace_schema_metadata({"rdbench_schema": "2"}))
    at = int(where * len(content))
    one.write_bytes(_flipped(content, at))
    try:
        load_results(copy)
        ResultsFolder(copy).finished(make_sweep())
        assert all(isinstance(line, str) for line in status_lines(copy))
        set_aside(copy)
    except UserError:
        pass
