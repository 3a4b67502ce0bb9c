"""Trackers that a sweep is shown in, one file each. Fed by the driver, from rows that were committed.

Start with ``base``, what a tracker is given of a trial. A new one is a file with a class as
``tensorboard.Tensorboard``, and its name below, in ``rdbench.spec.settings`` and ``rdbench.errors``.
"""

import importlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from rdbench.errors import SpecError, lacking
from rdbench.results.store import ResultsFolder
from rdbench.results.tracking.base import Tracker, record
from rdbench.spec.plan import Trial
from rdbench.storage import places
from rdbench.storage.places import Place
from rdbench.text import in_words

HOMES = {"tensorboard": "Tensorboard", "mlflow": "MLflow", "wandb": "Wandb", "trackio": "Trackio"}
"""Module of this folder -> the class in it."""


def refuse(trackers: Iterable[str], root: Place) -> None:
    """Raise SpecError where a tracker's package is not installed, or the results lie on another machine."""
    for name in trackers:
        if not isinstance(root, Path):
            raise SpecError(f"track: {name} keeps its files beside the results, which {root} is too far for")
        if line := lacking(name):
            raise SpecError(f"track: {name} is {line}")


def open_tracker(name: str, root: Place, sweep: str) -> Tracker:
    """Return a tracker of the results folder ``root`` and the sweep of that name.

    SpecError: as of :func:`refuse`, or its package does not take the settings it finds.
    """
    refuse([name], root)
    module = importlib.import_module(f"rdbench.results.tracking.{name}")
    try:
        tracker: Tracker = getattr(module, HOMES[name])(root, sweep)
    except ValueError as error:  # pydantic's too, whose line goes on with its own terms
        raise SpecError(f"track: {name}: {' '.join(str(error).partition('[type=')[0].split())}") from None
    return tracker


class Tracking:
    """Tells trackers of the trials of a results folder, of each once, whoever trained it and when.

    ``<results>/tracking/<name>.json`` says of which trials a tracker was told, and of which run. One that
    cannot be told is given up with a line, and told the next time; a sweep does not fail for it.
    """

    def __init__(
        self,
        trackers: Iterable[str],
        root: Place,
        sweep: str,
        name: Callable[[Trial], str],
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._name, self._say = ResultsFolder(root), name, say
        self._trackers: dict[str, Tracker] = {}
        for tracker in trackers:
            try:
                self._trackers[tracker] = open_tracker(tracker, root, sweep)
            except SpecError:
                raise
            except Exception as error:
                self._give_up(tracker, error)
        self._told = {tracker: self._read(tracker) for tracker in self._trackers}

    def _file(self, tracker: str) -> Place:
        return self._folder.root / "tracking" / f"{tracker}.json"

    def _read(self, tracker: str) -> dict[str, str]:
        try:
            told: dict[str, str] = json.loads(self._file(tracker).read_bytes())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def tell(self, trial: Trial) -> None:
        """Tell of a trial, if it is committed and they were not told before; of one trained anew, anew."""
        if not self._trackers:
            return
        tables = self._folder.trial_tables(trial.id)
        if not tables.get("trials"):
            return
        run = str(tables["trials"][0].get("run"))
        for tracker in [*self._trackers]:
            if self._told[tracker].get(trial.id) != run:
                self._attempt(tracker, lambda one: one.log(record(trial, self._name(trial), tables)))
                if tracker in self._trackers:
                    self._told[tracker][trial.id] = run
                    content = json.dumps(self._told[tracker], indent=1).encode()
                    places.write_atomically(self._file(tracker), content)

    def report(self, file: Path) -> None:
        """Give them the report."""
        for tracker in [*self._trackers]:
            self._attempt(tracker, lambda one: one.report(file))

    def close(self) -> None:
        """Let them write what is left."""
        for tracker in [*self._trackers]:
            self._attempt(tracker, lambda one: one.close())

    def _attempt(self, name: str, do: Callable[[Tracker], None]) -> None:
        try:
            do(self._trackers[name])
        except Exception as error:  # of a service, or of its library: no reason to end a sweep
            self._give_up(name, error)
            del self._trackers[name]

    def _give_up(self, name: str, error: Exception) -> None:
        self._say(f"tracking by {name} is given up for now: {in_words(error)}; the next run catches up")
