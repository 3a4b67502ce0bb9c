"""Results of schema version 6, as rdbench of then wrote and read them: the same figures under today's names.

``tests/expected/schema_6`` is such a folder, and ``as_read.json`` what that rdbench gave for its tables.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rdbench
from rdbench.report import sections
from rdbench.report.statistics.series import proxies
from rdbench.results import parquet
from rdbench.results.compact import compact
from rdbench.results.load import load_results
from rdbench.results.store import ResultsFolder

OLD = Path(__file__).parents[1] / "expected" / "schema_6"
AS_READ = json.loads((OLD / "as_read.json").read_text())
RENAMED = {"psnr": "psnr_of_mse", "bits_per_dim": "density_bits_per_dim"}
VALUES = 5 + 2 * 4 + 1  # of latents, of iwae under each reading, and the PSNR


@pytest.fixture
def root(tmp_path):
    return shutil.copytree(OLD, tmp_path / "old")


def test_points_of_version_6_are_read_under_the_names_that_say_what_they_are_of(root):
    points = load_results(root).points
    expected = pd.DataFrame(AS_READ["points"]).rename(columns=RENAMED)
    assert list(points) == list(expected)
    assert points["density_bits_per_dim"].notna().all()
    pd.testing.assert_frame_equal(points, expected, check_dtype=False, rtol=1e-12)


def test_quantity_reading_and_unit_of_a_metric_stand_in_columns_and_nowhere_else(root):
    rows = load_results(root).metrics.to_dict("records")
    assert len(rows) == len(AS_READ["metrics"]) == VALUES
    for row, old in zip(rows, AS_READ["metrics"], strict=True):
        assert [row[name] for name in ("trial", "name", "protocol")] == [
            old[name] for name in ("trial", "name", "protocol")
        ]
        assert row["value"] == pytest.approx(old["value"], rel=1e-12)
        settings, were = json.loads(row["settings"]), json.loads(old["settings"])
        assert row["quantity"] == were.pop("quantity", row["name"])
        assert were.pop("reading", None) == (row["reading"] if isinstance(row["reading"], str) else None)
        assert settings == were
    units = {(row["name"], row["quantity"]): row["unit"] for row in rows}
    assert units["latents", "mutual_information"] == units["iwae", "elbo"] == "nats per image"
    assert units["latents", "active_units"] == "latents"
    assert units["reconstruction", "psnr"] == "dB"


def test_a_mean_by_quantity_mixes_no_units(root):
    metrics = load_results(root).metrics
    by_name = metrics.groupby("name")["unit"].nunique()
    assert by_name["latents"] > 1  # what a mean by name alone mixes
    assert (metrics.groupby(["name", "quantity", "reading"], dropna=False)["unit"].nunique() <= 1).all()


@pytest.mark.parametrize("compacted", [False, True])
def test_a_sweep_of_before_is_gone_on_with_and_what_both_measured_is_one_series(root, compacted):
    (trial,) = ResultsFolder(root).trial_ids()
    before = {
        name: (root / name / f"{trial}.parquet").read_bytes() for name in ("points", "metrics", "trials")
    }
    lines = rdbench.run(root / "sweep.yaml", root, scheduler="serial", beta=[1, 10])
    assert sorted(lines.trials["beta"]) == [1, 10]
    assert before == {name: (root / name / f"{trial}.parquet").read_bytes() for name in before}
    if compacted:
        compact(root)
        (file,) = (root / "metrics").iterdir()
        assert pq.read_schema(file).names == parquet.schema("metrics").names
    results = load_results(root)
    assert results.problems == []
    assert results.points.notna()[[*RENAMED.values()]].all(axis=None)
    (section,), _ = sections.gather([results])
    found = proxies(section)
    assert len(found) == len({one.name for one in found}) == VALUES
    assert all({beta for _, beta in one.values} == {1, 10} for one in found)


def rewritten(root, **first):
    """Put other values into the first row of the metrics of version 6."""
    (file,) = (root / "metrics").iterdir()
    table = pq.read_table(file)
    rows = table.to_pylist()
    table = pa.Table.from_pylist([rows[0] | first, *rows[1:]], schema=table.schema)
    # Of version 2, whose files have no digest.
    pq.write_table(table.replace_schema_metadata({"rdbench_schema": "2"}), file)
    return load_results(root)


@pytest.mark.parametrize("text", ["{", "[1]", '{"quantity": 3}', '{"quantity": "\\ud800"}', None])
def test_settings_that_no_rdbench_wrote_name_no_quantity(root, text):
    results = rewritten(root, settings=text)
    assert results.problems == []
    assert results.metrics["quantity"].isna().tolist() == [True] + [False] * (VALUES - 1)


def test_few_columns_of_an_old_file_are_read_alone(root):
    rows = ResultsFolder(root).frame("metrics", ("trial", "quantity", "value"))
    assert list(rows) == ["trial", "quantity", "value"]
    assert rows["quantity"].notna().all()
    points = ResultsFolder(root).frame("points", ("trial", "psnr_of_mse"))
    assert list(points) == ["trial", "psnr_of_mse"]
    assert points["psnr_of_mse"].notna().all()


def test_a_row_that_failed_names_no_quantity_and_its_reason_is_kept(root):
    failed = {"images": None, "samples": 1, "epsilon": 0.01, "delta": 0.01, "error": "why", "failures": 2}
    results = rewritten(root, value=None, settings=json.dumps(failed))
    row = results.metrics.iloc[0]
    assert json.loads(row["settings"]) == failed
    assert row[["quantity", "reading", "unit"]].isna().all()
