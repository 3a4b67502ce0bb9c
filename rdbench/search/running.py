"""A search at work in a results folder: what has ended there, what is next, and how it stands in words."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from rdbench.search.base import Search
from rdbench.search.begin import begin, keep
from rdbench.search.ended import FinishedTrial, load
from rdbench.spec.labels import trial_name_in
from rdbench.spec.plan import Plan, Trial
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place

SHOWN = 6  # proposals that a dry run names


@dataclass
class SearchRun:
    """The search of a sweep, and the trials in its results folder.

    Attributes:
        root: the results folder, which need not exist.
        finished: returns the ids of the trials there that hold all that the sweep asks for.
        run: names this run of the driver; its failed trials are not tried again.
        limit: trials to hand out in this run, at most; None for any number.
    """

    sweep: Sweep
    root: Place
    finished: Callable[[], Collection[str]]
    run: str = ""
    limit: int | None = None
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
