"""A search at work in a results folder: its record there, what is next, and how it stands in words.

``search.json`` says what had ended when each search began, and what it has chosen; it is written before a
batch is trained. A search is known by all that its choices follow from, without how much it may spend and
what is near enough: so raising ``trials`` extends it.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rdbench.errors import ResultsError, need
from rdbench.search.base import Search, SearchState
from rdbench.search.ended import FinishedTrial, load
from rdbench.spec.labels import trial_name_in
from rdbench.spec.plan import Plan, Trial, canonical_json
from rdbench.spec.search_options import needed_metrics
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place, write_atomically

NAME = "search.json"
SHOWN = 6  # proposals that a dry run names


def key(sweep: Sweep) -> str:
    """Return what a search is known by: 12 hexadecimal digits."""
    kept = {"dataset", "protocol", "train", "model", "variants", "beta", "seeds"}
    settings = sweep.model_dump(mode="json", include=kept)
    assert sweep.search is not None
    for variant in settings["variants"]:
        variant.pop("source", None)
    needed = needed_metrics(sweep.search)
    settings["metrics"] = [
        # Not what an option means that older searches lack: they go by the names they had.
        {name: value for name, value in metric.settings().items() if metric.before.get(name) != value}
        for metric in sweep.metrics
        if metric.name in needed
    ]
    search = sweep.search.model_dump(mode="json", exclude={"trials", "gap", "within"})
    return hashlib.sha256(canonical_json([settings, search]).encode()).hexdigest()[:12]


def begin(sweep: Sweep, root: Place, ended: Collection[str]) -> Search:
    """Return the search a sweep asks for, as it stands in its results folder, which need not exist.

    ``ended`` are the ids of the trials that ended there. ResultsError: the folder's record of searches, or
    Optuna's journal, cannot be read.
    """
    name = key(sweep)
    begun = _read(root, sweep).get(name) or SearchState(sweep, frozenset(ended))
    search = sweep.search
    assert search is not None
    if search.name == "curve":
        from rdbench.search.curve import CurveSearcher

        return CurveSearcher(begun, search)
    if search.name == "target":
        from rdbench.search.target import TargetSearcher

        return TargetSearcher(begun, search)
    need("search")
    from rdbench.search.studies import Study

    return Study(begun, search, root, name)


def keep(search: Search, root: Place) -> None:
    """Record in the results folder how far a search has come, or raise ResultsError or StorageError."""
    search.keep()
    sweep = search.begun.sweep
    before = _read(root, sweep)
    record = before | {key(sweep): search.begun}
    content = {
        name: {
            "there": sorted(begun.there),
            "batches": [[json.loads(trial.to_json()) for trial in batch] for batch in begun.batches],
        }
        for name, begun in record.items()
    }
    if record != before:
        write_atomically(root / NAME, json.dumps(content, separators=(",", ":")).encode())


def _read(root: Place, sweep: Sweep) -> dict[str, SearchState]:
    file = root / NAME
    if not file.is_file():
        return {}
    try:
        record: Any = json.loads(file.read_bytes())
        return {
            name: SearchState(
                sweep,
                frozenset(map(str, begun["there"])),
                [[Trial.from_json(json.dumps(trial)) for trial in batch] for batch in begun["batches"]],
            )
            for name, begun in record.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ResultsError(
            f"{file}: is not a valid record of searches; move it away, with optuna.journal if there is"
            " one, and the search starts again from the finished trials"
        ) from None


@dataclass
class SearchRun:
    """The search of a sweep, and the trials in its results folder."""

    sweep: Sweep
    root: Place  # the results folder, which need not exist
    finished: Callable[[], Collection[str]]  # ids of the trials there that hold all that the sweep asks for
    run: str = ""  # names this run of the driver; its failed trials are not tried again
    limit: int | None = None  # trials to hand out in this run, at most; None for any number
    _handed: dict[str, Trial] = field(default_factory=dict)
    _peers: tuple[str, ...] = ()

    def _stands(self) -> tuple[Search, dict[str, FinishedTrial]]:
        """Return the search as it stands in the folder, and the trials that ended there."""
        stops = self.sweep.stop is not None
        ended = load(self.root, self.sweep.metrics, failed_in=self.run, stopped=stops)
        return begin(self.sweep, self.root, ended.keys()), ended

    def _complete(self) -> set[str]:
        """Return the ids of trials not to be trained any more; one that was, in this run, is not again."""
        return set(self.finished()) | self._handed.keys()

    def plan(self) -> Plan:
        """Return the trials chosen so far, and what is to be said of them before anything is trained."""
        (search, ended), complete = self._stands(), self._complete()
        todo = search.propose(ended, complete)
        trials = tuple(search.trials())
        done = frozenset(trial.id for trial in trials if trial.id in ended and trial.id in complete)
        again = sum(trial.id in ended for trial in todo)  # outside of the budget
        at_most = max(0, search.budget - len(search.spent(ended))) + again if todo else 0
        return Plan(self.sweep, trials, done, tuple(_lines(search, ended, todo)), at_most)

    def next(self) -> list[Trial]:
        """Return the next batch to train; none when the search, or the limit of this run, is at its end."""
        search, ended = self._stands()
        todo = search.propose(ended, self._complete())
        keep(search, self.root)
        before = search.begun.there | {trial.id for trial in search.trials()}
        before -= {trial.id for trial in search.present()}
        self._peers = tuple(sorted(before & ended.keys()))
        if self.limit is not None:
            todo = todo[: max(0, self.limit - len(self._handed))]
        # What was handed out and has not ended was lost, or the user stops: no batch can follow.
        if any(trial.id in self._handed for trial in todo):
            return []
        self._handed |= {trial.id: trial for trial in todo}
        return todo

    def peers(self) -> tuple[str, ...]:
        """Return the ids of the trials that those of the present batch may be judged by: all before it."""
        return self._peers

    def account(self) -> list[str]:
        """Return what the search found and spent, and why it is done."""
        search, ended = self._stands()
        return search.account(ended)


def _lines(search: Search, ended: Mapping[str, FinishedTrial], todo: list[Trial]) -> list[str]:
    """Return how a search stands: its budget, what is spent, and what it would train next or has found."""
    sweep, known = search.begun.sweep, len(search.begun.there)
    besides = f", besides {known} that were there" if known else ""
    assert sweep.search is not None
    spent = len(search.spent(ended))
    lines = [f"search {sweep.search.name}: {spent} of at most {search.budget} trials done{besides}"]
    if not todo:
        return [*lines, *search.account(ended), "nothing is left to train"]
    first = ", ".join(trial_name_in(sweep, trial) for trial in todo[:SHOWN])
    more = f" and {len(todo) - SHOWN} more" if len(todo) > SHOWN else ""
    return [*lines, f"next: {first}{more}; the choice after them follows from their results"]
