"""What every search is: batches of trials, each chosen from the results of those before."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rdbench.search.ended import Ended
from rdbench.spec.plan import Trial, plan
from rdbench.spec.sweep import Sweep, VariantSpec
from rdbench.text import duration


@dataclass
class Begun:
    """How far a search has come.

    Attributes:
        sweep: the sweep that asks for it.
        there: ids of the trials that had ended before it began.
        batches: the trials of each batch that was chosen, in order; Optuna's are in its journal.
    """

    sweep: Sweep
    there: frozenset[str] = frozenset()
    batches: list[list[Trial]] = field(default_factory=list)


class Search(ABC):
    """A search over the trials of a sweep."""

    begun: Begun
    budget: int

    @abstractmethod
    def advance(self, ended: Mapping[str, Ended]) -> bool:
        """Choose a further batch, now that all before are in; tell whether there is one.

        Args:
            ended: every trial that ended, by id: done, diverged, stopped, or failed in this run.
        """

    @abstractmethod
    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""

    @abstractmethod
    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""

    @abstractmethod
    def account(self, ended: Mapping[str, Ended]) -> list[str]:
        """Return what the search found, what it spent and why it is done, in a line each."""

    def keep(self) -> None:  # noqa: B027 (most have nothing to keep)
        """Store in the results folder what a search keeps besides its batches."""

    def propose(self, ended: Mapping[str, Ended], complete: Collection[str] | None = None) -> list[Trial]:
        """Return the trials to train now; none when the search is done.

        Args:
            ended: every trial that ended, by id.
            complete: ids of those that hold all that the sweep asks for; by default all.
        """
        while True:
            missing = [
                trial
                for trial in self.trials()
                if trial.id not in ended or (complete is not None and trial.id not in complete)
            ]
            if missing or not self.advance(ended):
                return missing

    def spent(self, ended: Mapping[str, Ended]) -> list[Ended]:
        """Return the trials of this search that ended, without those that were there before it."""
        ours = [trial.id for trial in self.trials() if trial.id not in self.begun.there]
        return [ended[name] for name in ours if name in ended]


class Rounds(Search):
    """A search that starts from the sweep's own grid."""

    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""
        return [trial for batch in self.begun.batches for trial in batch]

    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""
        return self.begun.batches[-1] if self.begun.batches else []

    @abstractmethod
    def choose(self, known: Collection[Ended]) -> list[list[Trial]]:
        """Return what is wanted next, the most wanted first: the trials of all seeds of a beta each.

        Args:
            known: what was there before the search began, and all batches so far.
        """

    def advance(self, ended: Mapping[str, Ended]) -> bool:
        """Choose a further batch, now that all before are in; tell whether there is one."""
        sweep = self.begun.sweep
        if self.begun.batches:
            wanted = self.choose(self.known(ended))
        else:
            wanted = [at_beta(sweep, variant, beta) for beta in sweep.beta for variant in sweep.variants]
        ours = {trial.id for trial in self.trials()}
        left = self.budget - len(ours - self.begun.there)
        batch: list[Trial] = []
        for chosen in wanted:
            left -= sum(trial.id not in self.begun.there for trial in chosen)
            if left < 0:
                break
            batch += [trial for trial in chosen if trial.id not in ours]
        if batch:
            self.begun.batches.append(batch)
        return bool(batch)

    def known(self, ended: Mapping[str, Ended]) -> list[Ended]:
        """Return what the next choice rests on: what was there before, and the batches so far."""
        ours = {trial.id for trial in self.trials()} | self.begun.there
        return [ended[name] for name in sorted(ours) if name in ended]


def budget(asked: int | None, sweep: Sweep, each: int) -> int:
    """Return the trainings a search may spend.

    Args:
        asked: what the sweep file says; None where it leaves that to us.
        sweep: the sweep.
        each: for each variant and seed, by default; a start grid that leaves nothing of it gets four more.
    """
    return asked or max(each, len(sweep.beta) + 4) * len(sweep.variants) * len(sweep.seeds)


def at_beta(sweep: Sweep, variant: VariantSpec, beta: float) -> list[Trial]:
    """Return the trials of a variant at a beta: one for each seed of the sweep."""
    one = sweep.model_copy(update={"variants": (variant,), "beta": (beta,), "search": None})
    return list(plan(one).trials)


def by_beta(sweep: Sweep, variant: VariantSpec, known: Collection[Ended]) -> dict[float, list[Ended]]:
    """Return the known trials of a variant that this sweep might have asked for, within its range of beta.

    Returns:
        beta -> its trials by seed; ascending.
    """
    same = (sweep.dataset, sweep.protocol, sweep.train, sweep.model)
    found: dict[float, list[Ended]] = {}
    for each in known:
        trial = each.trial
        settings = (trial.dataset, trial.protocol, trial.train, trial.model)
        in_range = sweep.beta[0] <= trial.beta <= sweep.beta[-1]
        if trial.variant == variant and settings == same and in_range and trial.seed in sweep.seeds:
            found.setdefault(trial.beta, []).append(each)
    return {beta: sorted(found[beta], key=lambda each: each.trial.seed) for beta in sorted(found)}


def cost(spent: Sequence[Ended], budget: int) -> str:
    """Return what trials cost: their number, of how many they might have been, and the seconds of all."""
    seconds = sum(each.seconds for each in spent)
    return f"{len(spent)} of at most {budget} trials, {duration(seconds)} of training"
