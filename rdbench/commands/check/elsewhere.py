"""The fresh process of :class:`~rdbench.commands.check.of_trials.Elsewhere`: a trial, from text to points."""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from rdbench import datasets
from rdbench.commands.check.subject import measured, words
from rdbench.registry import variants
from rdbench.spec.plan import Trial
from rdbench.trial.run import run_trial


def main() -> None:
    """Read a job from standard input; write what was measured, or the error, to standard output."""
    job = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the author's code prints is not the answer
    torch.set_num_threads(1)
    variants.ship(job["sources"])
    trial = Trial.from_json(job["trial"])
    answer: dict[str, Any] = {"error": "", "line": None, "measured": ""}
    try:
        data = datasets.load(trial.dataset, Path(job["data"]))
        answer["measured"] = measured(run_trial(trial, data, torch.device(job["device"])))
    except (Exception, SystemExit) as error:
        file = trial.variant.source.rpartition(":")[0]
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
        ]
        answer |= {"error": words(error), "line": lines[-1] if lines else None}
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
