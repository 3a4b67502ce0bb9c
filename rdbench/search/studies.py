"""The search ``optuna``: a study whose proposals repeat, kept in the results folder.

The samplers are Optuna's own; it is asked and told here, in batches, not through Ray Tune's ``OptunaSearch``,
which tells it of each trial as it ends (so choices depend on the order in which trials end) and keeps the
sampler's random state in a pickle of the driver's. Each proposal has its own sampler, seeded by the search's
seed and the number of the proposal: so it depends on the journal alone, and not on how often the driver was
started. Results are told in the order of the proposals.

A trial that diverged or was stopped early is told as pruned, which TPE takes for worse than every finished
one: told as failed, it would teach nothing, and be proposed again and again. A trial that failed is told so;
a later run tries it again, but the study is not told twice.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from rdbench.errors import SpecError
from rdbench.search.base import Search, SearchState
from rdbench.search.ended import FinishedTrial, mean_values
from rdbench.search.journal import Journal
from rdbench.search.space import Params, Space
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import OptunaSearch, constraint, direction
from rdbench.storage.places import Place
from rdbench.text import shown

optuna.logging.set_verbosity(optuna.logging.ERROR)

PATIENCE, REPEATS = 5, 50
"""A sampler may repeat itself so often until settings are drawn at random; and until we give up."""
POPULATION = 12  # of a generation of NSGA-II: few, as a training is dear


class Study(Search):
    """The search ``optuna``; ``name`` is that of the study in the journal of the folder ``root``.

    ResultsError: the journal cannot be read. SpecError: the sampler needs a package that is not there.
    """

    def __init__(self, begun: SearchState, settings: OptunaSearch, root: Place, name: str) -> None:
        self.begun = begun
        self.settings = settings
        self.budget = settings.trials
        self.space = Space(begun.sweep, settings)
        sampler(settings, 0)  # which may need a package
        self.journal = Journal(root)
        higher = [direction(name) == "higher" for name in settings.objective]
        try:
            self.study = optuna.create_study(
                storage=optuna.storages.JournalStorage(self.journal),
                study_name=name,
                directions=["maximize" if up else "minimize" for up in higher],
                load_if_exists=True,
            )
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise self.journal.unreadable(f"Optuna {optuna.__version__} cannot read it ({error!r})") from None
        self._measures = {*settings.objective, *(constraint(text).measure for text in settings.constraints)}

    def keep(self) -> None:
        """Write the journal into the results folder."""
        self.journal.keep()

    def advance(self, ended: Mapping[str, FinishedTrial]) -> bool:
        """Tell the results of the last batch, and have a further one proposed; tell whether there is one."""
        if not self._in_study():
            self._warm_start(ended)
        self._tell(ended)
        proposed = 0
        while proposed < self.settings.at_a_time and self.affords_more() and self._ask():
            proposed += 1
        return proposed > 0

    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""
        return [trial for proposal in self._proposals() for trial in self.space.trials(proposal.params)]

    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""
        running = [proposal for proposal in self._proposals() if proposal.state == TrialState.RUNNING]
        return [trial for proposal in running for trial in self.space.trials(proposal.params)]

    def _in_study(self, *marks: str) -> list[FrozenTrial]:
        """Return Optuna's trials, in order; with ``marks`` those that have one of these attributes.

        ``proposal``: chosen by this search; ``there``: known before it; ``again``: the result of a proposal
        that was told without one. What has none is a repeat, which was not trained.
        """
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if not marks or {*marks} & trial.user_attrs.keys()]

    def _proposals(self) -> list[FrozenTrial]:
        return self._in_study("proposal")

    def _tried(self) -> list[Params]:
        return [trial.params for trial in self._in_study("proposal", "there", "again")]

    def _ask(self) -> bool:
        """Have one set of settings proposed that is new; False where there is none.

        A sampler repeats itself among whole numbers and choices, and at an edge: then one left is drawn.
        """
        if self._is_exhausted():
            return False
        tried = self._tried()
        known = {trial.id for params in tried for trial in self.space.trials(params)}
        for attempt in range(REPEATS):
            number = len(self._in_study())
            self.study.sampler = sampler(self.settings, number)
            if attempt >= PATIENCE:
                self.study.sampler = sampler(self.settings.model_copy(update={"sampler": "random"}), number)
                if fresh := [params for params in self.space.every() or () if params not in tried]:
                    self.study.enqueue_trial(fresh[np.random.default_rng(number).integers(len(fresh))])
            trial = self.study.ask()
            self.space.suggest(trial)
            if not all(same.id in known for same in self.space.trials(trial.params)):
                trial.set_user_attr("proposal", len(self._proposals()))
                return True
            self.study.tell(trial, state=TrialState.FAIL)
        return False

    def _is_exhausted(self) -> bool:
        every, tried = self.space.every(), self._tried()
        return every is not None and all(params in tried for params in every)

    def _tell(self, ended: Mapping[str, FinishedTrial]) -> None:
        """Tell the results of proposals that have all ended, in order.

        What was told as pruned or failed and has a result after all, being trained to its end by a later run,
        cannot be told twice: it is added, as if it had been known before.
        """
        added = {trial.user_attrs["again"] for trial in self._in_study("again")}
        for proposal in self._proposals():
            group = self._seeds(proposal.params, ended)
            if not group:
                continue
            result = self._result(group)
            if proposal.state == TrialState.RUNNING:
                trial = optuna.Trial(self.study, proposal._trial_id)
                for constraint_text, excess in result.excesses.items():
                    trial.set_constraint(constraint_text, excess)
                self.study.sampler = sampler(self.settings, proposal.number)
                self.study.tell(proposal.number, result.values, state=result.state)
            elif result.values and not proposal.values and proposal.number not in added:
                self._add(proposal.params, result, {"again": proposal.number})

    def _seeds(self, params: Params, ended: Mapping[str, FinishedTrial]) -> list[FinishedTrial]:
        """Return the trials of settings, one a seed, once all have ended; before that none."""
        names = [trial.id for trial in self.space.trials(params)]
        return [ended[name] for name in names] if ended.keys() >= set(names) else []

    def _add(self, params: Params, result: "_Result", attributes: dict[str, Any]) -> None:
        distributions = dict(self.space.distributions(self.space.variant(params)))
        if "variant" in params:
            distributions["variant"] = CategoricalDistribution(list(self.space.labels))
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if result.values else TrialState.PRUNED,
                values=result.values,
                params=params,
                distributions=distributions,
                constraints=result.excesses,
                user_attrs=attributes,
            )
        )

    def _result(self, group: Sequence[FinishedTrial]) -> "_Result":
        """Return what to tell of the trials of one proposal, one a seed."""
        means = mean_values(group)
        if self._measures <= means.keys():
            bounds = {text: constraint(text) for text in self.settings.constraints}
            excesses = {text: bound.excess(means[bound.measure]) for text, bound in bounds.items()}
            return _Result(TrialState.COMPLETE, [means[name] for name in self.settings.objective], excesses)
        failed = any(ended.status == "failed" for ended in group)
        return _Result(TrialState.FAIL if failed else TrialState.PRUNED)

    def _warm_start(self, ended: Mapping[str, FinishedTrial]) -> None:
        """Give the study what was there before it: settings of which all seeds ended."""
        seen: list[Params] = []
        for name in sorted(self.begun.there & ended.keys()):
            params = self.space.params(ended[name].trial)
            if params is None or params in seen:
                continue
            seen.append(params)
            group = self._seeds(params, ended)
            if not group:
                continue
            result = self._result(group)
            # What is done and lacks a measure may be proposed, and is then measured.
            if result.values or any(trial.status != "done" for trial in group):
                self._add(params, result, {"there": True})

    def findings(self, ended: Mapping[str, FinishedTrial]) -> list[str]:
        """Return the best settings, or the front."""
        self._tell(ended)
        best = self.best()
        if not best:
            bounds = " and ".join(self.settings.constraints)
            objective = " and ".join(self.settings.objective)
            return [f"no proposal gave {objective}{f' that keeps {bounds}' if bounds else ''}"]
        front = [f"a front of {len(best)}:"] if len(best) > 1 else []
        return [*front, *map(self._line, best)]

    def cost(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return what the search cost, and how many settings were known before it."""
        warm = sum(trial.state == TrialState.COMPLETE for trial in self._in_study("there"))
        return f"{super().cost(ended)}{f', {warm} settings known before' if warm else ''}"

    def why_done(self, ended: Mapping[str, FinishedTrial]) -> str:
        """Return "done" and why, where nothing is left to propose."""
        if not self.affords_more():
            return "done: the trials are spent"
        return "done: there are no other settings" if self._is_exhausted() else ""

    def best(self) -> list[FrozenTrial]:
        """Return the best trial, or those of the front; none where there is no feasible one."""
        best = list(self.study.best_trials)
        return best[:1] if len(self.settings.objective) == 1 else best

    def _line(self, trial: FrozenTrial) -> str:
        measured = zip(self.settings.objective, trial.values, strict=True)
        settings = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
        return f"{', '.join(f'{name} {value:.6g}' for name, value in measured)} at {settings}"


@dataclass(frozen=True)
class _Result:
    """What Optuna is told: objectives and constraints' excesses, means over seeds, where there are any."""

    state: TrialState
    values: list[float] | None = None
    excesses: dict[str, float] = field(default_factory=dict)


def sampler(settings: OptunaSearch, proposal: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one proposal; SpecError where it needs a package that is not there."""
    seed = int(np.random.SeedSequence([settings.seed, proposal]).generate_state(1)[0])
    random_first = min(10, 1 + 2 * max(1, len(settings.over)))
    after = {"n_startup_trials": random_first}
    samplers: dict[str, tuple[str, dict[str, Any]]] = {
        "tpe": ("TPESampler", after),
        "gp": ("GPSampler", after | {"deterministic_objective": True}),
        # One sequence for all proposals: it counts them itself.
        "qmc": ("QMCSampler", {"seed": settings.seed, "scramble": True, "warn_independent_sampling": False}),
        "nsgaii": ("NSGAIISampler", {"population_size": POPULATION}),
        "cmaes": ("CmaEsSampler", after),
        "random": ("RandomSampler", {}),
    }
    name, options = samplers[settings.sampler]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a sampler is new to Optuna is no news to its user
        try:
            made: optuna.samplers.BaseSampler = getattr(optuna.samplers, name)(**{"seed": seed} | options)
            return made
        except ImportError:
            if settings.sampler != "cmaes":
                raise
            raise SpecError(
                "search.sampler: cmaes needs the package cmaes; 'uv pip install cmaes', or use tpe"
            ) from None
