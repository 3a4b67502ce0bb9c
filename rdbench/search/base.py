"""What every search is: batches of trials, each chosen from the results of those before.

Trials end in any order, on many workers. A choice made whenever one ends would depend on which was first, and
no search would repeat. So a batch is chosen when the last one is in, and recorded in the results folder
before it is trained: a killed search goes on with its batch, then chooses what it would have chosen.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rdbench.search.ended import FinishedTrial
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.text import duration


@dataclass
class SearchState:
    """How far a search has come."""

    sweep: Sweep
    there: frozenset[str] = frozenset()  # ids of the trials that had ended before it began
    batches: list[list[Trial]] = field(default_factory=list)  # chosen, in order; Optuna's are in its journal


class Search(ABC):
    """A search over the trials of a sweep, which spends ``budget`` trainings at most.

    Its methods are given every trial that ended, by id: done, diverged, stopped, or failed in this run.
    """

    begun: SearchState
    budget: int

    @abstractmethod
    def advance(self, ended: Mapping[str, FinishedTrial]) -> bool:
        """Choose a further batch, now that all before are in; tell whether there is one."""

    @abstractmethod
    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""

    @abstractmethod
    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""

    @abstractmethod
    def findings(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return what the search found, in a line each."""

    @abstractmethod
    def why_done(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return "done" and why, where nothing is left to choose; "" where a batch would follow."""

    def keep(self) -> None:  # noqa: B027 (most have nothing to keep)
        """Store in the results folder what a search keeps besides its batches."""

    def propose(
        self, ended: Mapping[str, FinishedTrial], complete: Collection[str] | None = None
    ) -> list[Trial]:
        """Return the trials to train now; none when the search is done.

        ``complete`` are the ids of those that hold all that the sweep asks for; by default all that ended.
        """
        done = ended.keys() if complete is None else ended.keys() & complete
        while True:
            missing = [trial for trial in self.trials() if trial.id not in done]
            if missing or not self.advance(ended):
                return missing

    def left(self) -> int:
        """Return how many trainings the budget still allows to choose."""
        return self.budget - sum(trial.id not in self.begun.there for trial in self.trials())

    def affords_more(self) -> bool:
        """Tell whether the budget pays for a further choice: with all its seeds, or not at all."""
        return self.left() >= len(self.begun.sweep.seeds)

    def spent(self, ended: Mapping[str, FinishedTrial]) -> list[FinishedTrial]:
        """Return the trials of this search that ended, without those from before it."""
        ours = [trial.id for trial in self.trials() if trial.id not in self.begun.there]
        return [ended[name] for name in ours if name in ended]

    def cost(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return what the search cost: trials, of how many it might have spent, and the seconds of all."""
        spent = self.spent(ended)
        seconds = duration(sum(trial.seconds for trial in spent))
        return f"{len(spent)} of at most {self.budget} trials, {seconds} of training"

    def account(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return what the search found, what it spent and why it is done, in a line each."""
        lines, trials = self.findings(ended), self.trials()
        waiting = not trials or any(trial.id not in ended for trial in trials)
        why = "" if waiting else self.why_done(ended)
        lines.append(f"{self.cost(ended)}; {why or 'not done yet'}")
        search = self.begun.sweep.search
        assert search is not None
        return [f"search {search.name}: {line}" for line in lines]


class BetaSearch(Search):
    """A search that starts from the sweep's own grid of betas.

    Its budget is ``trials``, as the sweep file says, or else ``by_default`` for each variant and seed: at
    least four more than the start grid has betas.
    """

    def __init__(self, begun: SearchState, trials: int | None, by_default: int) -> None:
        sweep = self.sweep = begun.sweep
        self.begun = begun
        a_curve = max(by_default, len(sweep.beta) + 4)
        self.budget = trials or a_curve * len(sweep.variants) * len(sweep.seeds)

    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""
        return [trial for batch in self.begun.batches for trial in batch]

    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""
        return self.begun.batches[-1] if self.begun.batches else []

    @abstractmethod
    def choose(self, known: Collection[FinishedTrial]) -> list[tuple[VariantSpec, float]]:
        """Return the variants and betas to train next, the most wanted first, from :meth:`known`."""

    def advance(self, ended: Mapping[str, FinishedTrial]) -> bool:
        """Choose a further batch, now that all before are in; tell whether there is one."""
        if self.begun.batches:
            wanted = self.choose(self.known(ended))
        else:
            wanted = [(variant, beta) for beta in self.sweep.beta for variant in self.sweep.variants]
        chosen, left = {trial.id for trial in self.trials()}, self.left()
        batch: list[Trial] = []
        for variant, beta in wanted:
            trials = at_beta(self.sweep, variant, beta)
            left -= sum(trial.id not in self.begun.there for trial in trials)
            if left < 0:
                break
            batch += [trial for trial in trials if trial.id not in chosen]
        if batch:
            self.begun.batches.append(batch)
        return bool(batch)

    def known(self, ended: Mapping[str, FinishedTrial]) -> list[FinishedTrial]:
        """Return what the next choice rests on: what had ended before, and the batches so far."""
        names = {trial.id for trial in self.trials()} | self.begun.there
        return [ended[name] for name in sorted(names) if name in ended]


def at_beta(sweep: Sweep, variant: VariantSpec, beta: float) -> list[Trial]:
    """Return the trials of a variant at a beta: one for each seed of the sweep."""
    one = sweep.model_copy(update={"variants": (variant,), "beta": (beta,), "search": None})
    return list(plan(one).trials)


def by_beta(
    sweep: Sweep, variant: VariantSpec, known: Collection[FinishedTrial]
) -> dict[float, list[FinishedTrial]]:
    """Return the trials of a variant that this sweep might have asked for: beta -> by seed; ascending."""
    settings = (variant, sweep.dataset, sweep.protocol, sweep.train, sweep.model)
    trials: dict[float, list[FinishedTrial]] = {}
    for ended in sorted(known, key=lambda ended: (ended.trial.beta, ended.trial.seed)):
        trial = ended.trial
        same = (trial.variant, trial.dataset, trial.protocol, trial.train, trial.model) == settings
        if same and sweep.beta[0] <= trial.beta <= sweep.beta[-1] and trial.seed in sweep.seeds:
            trials.setdefault(trial.beta, []).append(ended)
    return trials
