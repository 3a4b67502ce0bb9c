"""TensorBoard: a run for each trial, as event files in ``<results>/tensorboard/<trial>``.

``tensorboard --logdir results/mine/tensorboard`` shows them. Written by tensorboardX, without TensorFlow.
"""

import json
import re
import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from rdbench.results.tracking.base import Tracker, TrialRecord


class Tensorboard(Tracker):
    """Writes the event files."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._folder = root / "tensorboard"

    def log(self, trial: TrialRecord) -> None:
        """Write a trial's folder anew."""
        run = self._folder / f"{re.sub(r'[^A-Za-z0-9._+=-]+', '_', trial.name)}_{trial.id}"
        for before in self._folder.glob(f"*_{trial.id}"):  # its name may be another since
            shutil.rmtree(before, ignore_errors=True)
        with SummaryWriter(str(run)) as writer:
            lines = [f"    {key}: {json.dumps(value)}" for key, value in trial.settings.items()]
            writer.add_text("settings", "\n".join([f"{trial.name}: {trial.status}", "", *lines]))
            for name, values in trial.curves.items():
                for epoch, value in values:
                    writer.add_scalar(name, value, epoch)
            for name, value in trial.figures.items():
                writer.add_scalar(name, value, trial.epochs)
            for kind, image in trial.pictures.items():
                writer.add_image(kind, image, trial.epochs, dataformats="HWC")
