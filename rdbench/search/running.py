"""A search at work in a results folder: what has ended there, what is next, and how it stands in words."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from rdbench.search.base import Search
from rdbench.search.begin import begin, keep
from rdbench.search.ended import Ended, load
from rdbench.spec.naming import named
from rdbench.spec.plan import Plan, Trial
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place

SHOWN = 6
"""Proposals that a dry run names."""


@dataclass
class Searching:
    """The search of a sweep, and the trials in its results folder.

    Attributes:
        sweep: with a search.
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

    def ended(self) -> dict[str, Ended]:
        """Return the trials that ended."""
        stops = self.sweep.stop is not None
        return load(self.root, self.sweep.metrics, failed_in=self.run, stopped=stops)

    def _complete(self) -> set[str]:
        """Return the ids of trials not to be trained any more; one that was, in this run, is not again."""
        return set(self.finished()) | self._handed.keys()

    def plan(self) -> Plan:
        """Return the trials chosen so far, and what is to be said of them before anything is trained."""
        ended, complete = self.ended(), self._complete()
        search = begin(self.sweep, self.root, ended.keys())
        todo = search.propose(ended, complete)
        trials = search.trials()
        spent = len(search.spent(ended))
        done = frozenset(trial.id for trial in trials if trial.id in ended and trial.id in complete)
        new = sum(trial.id in ended for trial in todo)  # what is trained again is not of the budget
        left = max(0, search.budget - spent) + new if todo else 0
        return Plan(self.sweep, tuple(trials), done, tuple(_lines(self.sweep, search, ended, todo)), left)

    def next(self) -> list[Trial]:
        """Return the next batch to train; none when the search, or the limit of this run, is at its end."""
        ended = self.ended()
        search = begin(self.sweep, self.root, ended.keys())
        todo = search.propose(ended, self._complete())
        keep(search, self.root)
        ours = search.begun.there | {trial.id for trial in search.trials()}
        ours -= {trial.id for trial in search.present()}
        self._peers = tuple(sorted(ours & ended.keys()))
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
        ended = self.ended()
        return begin(self.sweep, self.root, ended.keys()).account(ended)


def _lines(sweep: Sweep, search: Search, ended: Mapping[str, Ended], todo: list[Trial]) -> list[str]:
    """Return how a search stands: its budget, what is spent, and what it would train next or has found."""
    assert sweep.search is not None
    there = len(search.begun.there)
    before = f", besides {there} that were there" if there else ""
    spent = len(search.spent(ended))
    lines = [f"search {sweep.search.name}: {spent} of at most {search.budget} trials done{before}"]
    if not todo:
        return [*lines, *search.account(ended), "nothing is left to train"]
    first = ", ".join(named(sweep, trial) for trial in todo[:SHOWN])
    more = f" and {len(todo) - SHOWN} more" if len(todo) > SHOWN else ""
    lines.append(f"next: {first}{more}; the choice after them follows from their results")
    return lines
