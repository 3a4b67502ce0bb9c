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

from rdbench.results.tracking.base import Tracker, TrialRecord, by_epoch

_OF_CODE = (DeprecationWarning, FutureWarning)  # which say nothing of what was written


class Trackio(Tracker):
    """Writes to Trackio's database on this machine, or to its Space."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._root, self._project = root.absolute(), sweep

    def log(self, trial: TrialRecord) -> None:
        """Begin a run for the trial, and delete the one that was."""
        images = {f"pictures/{kind}": trackio.Image(image) for kind, image in trial.pictures.items()}
        settings = {**trial.settings, "status": trial.status}
        with self._run(trial.name, trial.id, settings) as run:
            for epoch, values in by_epoch(trial, images).items():
                run.log(values, step=epoch)

    def report(self, file: Path) -> None:
        """Keep the page as an artifact of a run of its own, a version for each time it changed."""
        with self._run("report", str(self._root), {"results": str(self._root)}) as run:
            run.log_artifact(file, name="report", type="report")

    @contextlib.contextmanager
    def _run(self, name: str, identity: str, settings: dict[str, Any]) -> Iterator[Any]:
        """Begin and finish a run, in place of those of its identity.

        OSError: Trackio warned, which is how it says that it could not write.
        """
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ending = f"[{identity}]"
            self._delete(ending)
            run = trackio.init(
                self._project, f"{name} {ending}", config=settings, embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            try:
                yield run
            finally:
                trackio.finish()
        told = [str(one.message) for one in said if not issubclass(one.category, _OF_CODE)]
        if told := [line for line in told if "trackio" in line.lower()]:
            raise OSError(told[0])

    def _delete(self, ending: str) -> None:
        with contextlib.suppress(ValueError):  # there is no such project yet
            for run in trackio.Api().runs(self._project):
                if run.name.endswith(ending):
                    run.delete()
