"""MLflow: an experiment for the sweep, a run for each trial, and one for the report.

By the client's own settings, such as the variable MLFLOW_TRACKING_URI; without any, in
``<results>/mlflow.db``, which ``mlflow ui --backend-store-uri sqlite:///results/mine/mlflow.db`` shows.
"""

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from rdbench.results.tracking.base import Tracker, TrialRecord

TRIAL = "rdbench.trial"
REPORT = "report"
RETRIES = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's own 7 keep a sweep waiting for four minutes
MOST_METRICS, MOST_PARAMETERS, LONGEST = 1000, 100, 6000  # that a server takes at once
STATUS = {"done": "FINISHED", "diverged": "FINISHED", "stopped": "KILLED"}


class MLflow(Tracker):
    """Tells an MLflow server, or a database beside the results."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._root = root.absolute()
        beside = f"sqlite:///{self._root / 'mlflow.db'}"
        uri = os.environ.get("MLFLOW_TRACKING_URI") or beside
        root.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(*RETRIES)
        self._client = MlflowClient(uri)
        known = self._client.get_experiment_by_name(sweep)
        if known is not None:
            self._experiment: str = known.experiment_id
        else:
            place = (self._root / "mlflow").as_uri() if uri == beside else None
            self._experiment = self._client.create_experiment(sweep, artifact_location=place)

    def log(self, trial: TrialRecord) -> None:
        """Begin a run for the trial, and delete the one that was."""
        run = self._new_run(trial.id, trial.name)
        now = int(time.time() * 1000)
        metrics = [
            Metric(_key(name), value, now, epoch)
            for name, values in trial.curves.items()
            for epoch, value in values
        ]
        metrics += [Metric(_key(name), value, now, trial.epochs) for name, value in trial.figures.items()]
        parameters = [Param(_key(key), _text(value)) for key, value in trial.settings.items()]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(run, params=parameters[start : start + MOST_PARAMETERS])
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(run, metrics=metrics[start : start + MOST_METRICS])
        with tempfile.TemporaryDirectory() as folder:
            from PIL import Image

            for kind, image in trial.pictures.items():
                Image.fromarray(image).save(file := Path(folder) / f"{kind}.png")
                self._client.log_artifact(run, str(file), "pictures")
        self._client.set_tag(run, "rdbench.status", trial.status)
        self._client.set_terminated(run, STATUS.get(trial.status, "FAILED"))

    def report(self, file: Path) -> None:
        """Keep the page as an artifact of a run of its own."""
        run = self._new_run(f"{REPORT}-{hashlib.sha256(str(self._root).encode()).hexdigest()[:8]}", REPORT)
        self._client.log_artifact(run, str(file))
        self._client.set_terminated(run)

    def _new_run(self, identity: str, name: str) -> str:
        for before in self._client.search_runs([self._experiment], f"tags.`{TRIAL}` = '{identity}'"):
            self._client.delete_run(before.info.run_id)
        run_id: str = self._client.create_run(
            self._experiment, tags={TRIAL: identity}, run_name=name
        ).info.run_id
        return run_id


def _key(name: str) -> str:
    """Return a name that MLflow takes: letters, digits, and some signs."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. :/") else "_" for c in name)


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST]
