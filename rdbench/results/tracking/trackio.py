"""Trackio: a project for the sweep, a run for each trial, and one for the report.

By the client's own settings, such as the variables TRACKIO_DIR and TRACKIO_SPACE_ID; without any, in its
folder in the user's cache. ``trackio show --project NAME`` shows them.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trackio

from rdbench.results.tracking.base import TrialRecord, by_epoch


class Trackio:
    """Writes to Trackio's database on this machine, or to its Space."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._root, self._project = root.absolute(), sweep

    def log(self, trial: TrialRecord) -> None:
        """Begin a run for the trial, and delete the one that was."""
        images = {f"pictures/{kind}": trackio.Image(image) for kind, image in trial.pictures.items()}
        settings = {**trial.settings, "status": trial.status}
        with self._run(f"{trial.name} [{trial.id}]", settings) as run:
            for epoch, values in by_epoch(trial, images).items():
                run.log(values, step=epoch)

    def report(self, file: Path) -> None:
        """Keep the page as an artifact of a run of its own, a version for each time it changed."""
        with self._run(f"report of {self._root}", {"results": str(self._root)}) as run:
            run.log_artifact(file, name="report", type="report")

    def close(self) -> None:
        """Nothing is left: each trial was written whole."""

    @contextlib.contextmanager
    def _run(self, name: str, settings: dict[str, Any]) -> Iterator[Any]:
        """Begin and finish a run. OSError: Trackio warned, which is how it says that it could not write."""
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            self._delete(name)
            run = trackio.init(
                self._project, name, config=settings, embed=False, auto_log_gpu=False, auto_log_cpu=False
            )
            yield run
            trackio.finish()
        if told := [str(one.message) for one in said if "trackio" in str(one.message).lower()]:
            raise OSError(told[0])

    def _delete(self, name: str) -> None:
        with contextlib.suppress(ValueError):  # there is no such project yet
            for run in trackio.Api().runs(self._project):
                if run.name == name:
                    run.delete()
