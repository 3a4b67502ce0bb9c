"""Weights & Biases: a project for the sweep, a run for each trial, and one for the report.

By the client's own settings, such as the variable WANDB_MODE. Offline, or where no account is known, in
``<results>/wandb``; ``wandb sync results/mine/wandb/offline-run-*`` sends that later.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import wandb

from rdbench.results.tracking.base import Tracker, TrialRecord, by_epoch

REPORT = "report"


class Wandb(Tracker):
    """Tells Weights & Biases, or writes what is sent later."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._root, self._project = root, sweep
        self._settings = wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True)
        wandb.setup(settings=self._settings)
        # Without prompt: a sweep that runs at night would wait on its terminal for the name of an account.
        self._offline = not wandb.login(prompt=False, verify=False)

    def log(self, trial: TrialRecord) -> None:
        """Begin a run for the trial. Sent again, it adds nothing, as W&B takes a step of a run only once."""
        images = {f"pictures/{kind}": wandb.Image(image) for kind, image in trial.pictures.items()}
        with self._run(trial.id, f"{trial.id}-{trial.run}", trial.name, trial.settings) as run:
            for epoch, values in by_epoch(trial, images).items():
                run.log(values, step=epoch)
            run.summary["rdbench.status"] = trial.status

    def report(self, file: Path) -> None:
        """Keep the page as an artifact of a run of its own, a version for each time."""
        run_id = f"{REPORT}-{hashlib.sha256(str(self._root.absolute()).encode()).hexdigest()[:8]}"
        with self._run(run_id, run_id, REPORT, {}) as run:
            page = wandb.Artifact(run_id, type=REPORT)
            page.add_file(str(file))
            run.log_artifact(page)

    def close(self) -> None:
        """Wait until all is sent or written."""
        wandb.teardown()

    def _run(self, begins: str, run_id: str, name: str, settings: dict[str, Any]) -> Any:
        """Begin a run, in place of what was written offline of those whose id begins so."""
        for before in (self._root / "wandb").glob(f"offline-run-*-{begins}*"):
            shutil.rmtree(before, ignore_errors=True)
        self._root.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._project,
            id=run_id,
            name=name,
            config=settings,
            dir=self._root,
            mode="offline" if self._offline else None,
            resume="allow",
            reinit="create_new",
            settings=self._settings,
        )
