"""A recording as a CUDA graph that breaks off for real, and what becomes of the trial.

    uv run python reports/gpu/failed_capture.py FOLDER     # one attempt, as of a worker; measure.py starts it

The step of a user's variant waits for the device while it is recorded and at no other time, so nothing warns
of it before. Each attempt is a process of its own, and ends as a worker's does. All is written to FOLDER; the
tables as JSON, as the machine need not have a Parquet writer.
"""

import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rdbench.metrics.failures import last_line  # noqa: E402
from rdbench.results.store import ResultsFolder  # noqa: E402
from rdbench.spec.plan import Trial  # noqa: E402
from rdbench.trial import worker  # noqa: E402
from rdbench.trial.job import Job, Retry  # noqa: E402
from rdbench.trial.scheduler import ATTEMPTS  # noqa: E402
from rdbench.trial.throughput import synthetic  # noqa: E402

VARIANT = '''"""Broken off by a recording alone."""

import torch

import rdbench


@rdbench.variant("breaks_off", native="half", paper="none")
class BreaksOff(rdbench.Model):
    """sse + beta rate, and while it is recorded a read of the device."""

    capturable = True

    def loss(self, images, terms, beta):
        if torch.cuda.is_current_stream_capturing():
            terms.sse.sum().item()
        return terms.sse + beta * terms.rate
'''
SAID = "training without a CUDA graph"
Row = dict[str, Any]


class _AsJson(ResultsFolder):
    """A results folder whose tables are JSON."""

    def write(self, trial: str, tables: Mapping[str, Iterable[Row]]) -> None:
        """Write each table of a trial but its pictures."""
        for name, rows in tables.items():
            if name != "images":
                (Path(str(self.root)) / f"{name}.json").write_text(json.dumps(list(rows), default=str))


def _memory_of_graphs() -> int:
    """Return the bytes that torch holds for recorded graphs."""
    gc.collect()
    pools = [(tuple(one.get("segment_pool_id", (0, 0))), one["total_size"]) for one in _segments()]
    return sum(size for pool, size in pools if pool != (0, 0))


def _segments() -> list[Row]:
    return torch.cuda.memory_snapshot()  # type: ignore[no-any-return]


def attempt(folder: Path) -> Row:
    """Run the trial of a folder as a worker does; return how that ended, in words of the worker's own."""
    asked = json.loads((folder / "asked.json").read_text())
    worker.ResultsFolder = _AsJson  # type: ignore[misc, attr-defined]
    worker._data = lambda trial, job: synthetic(trial, asked["images"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            (ended,) = worker.work([Trial.from_json(asked["trial"])], Job(folder), asked["device"])
            said: Row = {"status": ended["status"], "error": ended["error"]}
        except Retry as error:
            said = {"retry": last_line(str(error)), "counts": error.counts}
    told = [line for one in caught if (line := str(one.message)).startswith(SAID)]
    return said | {"told": told, "bytes_of_graphs": _memory_of_graphs()}


def attempts(folder: Path, trial: Trial, images: int, device: torch.device) -> list[Row]:
    """Run a trial in one process after another, as a scheduler does, until it ends; return what each said.

    A process that says nothing has its exit code and its last line of errors told.
    """
    asked = {"trial": trial.to_json(), "images": images, "device": device.type}
    (folder / "asked.json").write_text(json.dumps(asked))
    found: list[Row] = []
    while len(found) < ATTEMPTS and "status" not in (found[-1] if found else {}):
        ended = subprocess.run(
            [sys.executable, __file__, str(folder)],
            env=os.environ | {"RDBENCH_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        said = ended.stdout.splitlines()
        found.append(
            json.loads(said[-1]) if said else {"exit": ended.returncode, "error": last_line(ended.stderr)}
        )
    return found


def verdicts(folder: Path) -> list[str]:
    """Return the reasons that attempts have remembered for those that follow."""
    file = folder / "cache" / "failed_captures.json"
    return list(json.loads(file.read_text()).values()) if file.exists() else []


def tables(folder: Path) -> Row:
    """Return the tables that a trial was committed with, but for pictures."""
    names = ("history", "points", "trials")
    return {
        name: json.loads(file.read_text()) for name in names if (file := folder / f"{name}.json").exists()
    }


if __name__ == "__main__":
    print(json.dumps(attempt(Path(sys.argv[1]))), flush=True)
    os._exit(0)  # without what a process that has lost its GPU says at its end
