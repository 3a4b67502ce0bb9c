"""A tiny trial in a fresh process, from the text of its files alone, as on a machine without them."""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

import rdbench
from rdbench import datasets
from rdbench.commands.check.verdicts import CheckError, measured
from rdbench.registry import running
from rdbench.registry.source import Source
from rdbench.spec.plan import Trial
from rdbench.storage import paths
from rdbench.storage.scratch import Scratch
from rdbench.text import in_words
from rdbench.trial.run import run_trial

PATIENCE = 300  # seconds until a process that says nothing is given up
JOB = "job.json"


class FreshProcess:
    """The process, which starts at once with a trial of the variant that ``source`` declares."""

    def __init__(self, trial: Trial, source: Source, device: torch.device) -> None:
        self._folder = Scratch()
        sources = {}
        if source.files:
            gone = [file._replace(path=f"{self._folder.path}/gone/{file.name}") for file in source.files]
            place = f"{gone[0].path}:{source.declaration.symbol}"
            sources[trial.variant.code] = gone
            variant = trial.variant.model_copy(update={"source": place})
            trial = trial.model_copy(update={"variant": variant})
        root = str(paths.data_root())
        job = {"trial": trial.to_json(), "sources": sources, "device": str(device), "data": root}
        (self._folder.path / JOB).write_text(json.dumps(job))
        package = str(Path(rdbench.__file__).parent.parent)
        # An installed variant is imported there too, as a worker does; an author's must not need its folder.
        path = [package, *([] if sources else [str(Path.cwd())]), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import main; main()"],
            cwd=self._folder.path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """Wait for what it measured, or for its error."""
        try:
            out, err = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise CheckError(f"a fresh process did not end in {PATIENCE} seconds") from None
        try:
            answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            last = (err.strip().splitlines() or ["no message"])[-1]
            raise CheckError(f"a fresh process died ({last})") from None
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._folder.remove()


def main() -> None:
    """In the process: read a job from its folder; write what was measured, or the error, to output."""
    job = json.loads(Path(JOB).read_text())
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the author's code prints is not the answer
    torch.set_num_threads(1)
    running.ship(job["sources"])
    trial = Trial.from_json(job["trial"])
    answer: dict[str, Any] = {"error": "", "line": None, "measured": ""}
    try:
        data = datasets.load(trial.dataset, Path(job["data"]))
        answer["measured"] = measured(run_trial(trial, data, torch.device(job["device"])))
    except (Exception, SystemExit) as error:
        file = trial.variant.source.rpartition(":")[0]
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)
        answer |= {"error": in_words(error), "line": line}
    print(json.dumps(answer), file=out, flush=True)
