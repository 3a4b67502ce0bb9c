"""The search ``optuna``: a study whose proposals repeat, kept in the results folder.

Optuna is asked and told here, in batches, and not through Ray Tune's ``OptunaSearch``, which tells it of each
trial as it ends and keeps its sampler's random state in a pickle of the driver's. Each proposal has a sampler
of its own, seeded by the search's seed and the number of the proposal: so it depends on the journal alone,
and not on how often the driver was started. Results are told in the order of the proposals.

A trial that diverged or was stopped early is told as pruned, which TPE takes for worse than every finished
one: told as failed, it would teach nothing, and be proposed again and again. A trial that failed is told so;
a later run tries it again, but the study is not told twice.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from rdbench.errors import SpecError
from rdbench.search.base import Begun, Search, cost
from rdbench.search.ended import Ended, mean_values
from rdbench.search.journal import Journal
from rdbench.search.space import Params, Space
from rdbench.spec.plan import Trial
from rdbench.spec.search_options import OptunaSearch, constraint, direction
from rdbench.storage.places import Place
from rdbench.text import shown

optuna.logging.set_verbosity(optuna.logging.ERROR)

PATIENCE, REPEATS = 5, 50
"""So often a sampler may repeat itself until settings are drawn at random; and until we give up."""
POPULATION = 12
"""Of a generation of NSGA-II: few, as a training is dear."""


class Study(Search):
    """The search ``optuna``.

    Args:
        begun: what it starts from.
        settings: what the sweep file asks for.
        root: the results folder.
        name: of the study in the journal: another search has another.

    Raises:
        ResultsError: the journal cannot be read.
        SpecError: the sampler needs a package that is not there.
    """

    def __init__(self, begun: Begun, settings: OptunaSearch, root: Place, name: str) -> None:
        self.begun = begun
        self.settings = settings
        self.budget = settings.trials
        self.space = Space(begun.sweep, settings)
        sampler(settings, 0)  # which may need a package
        self.journal = Journal(root)
        higher = [direction(name) == "higher" for name in settings.objective]
        directions = [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in higher]
        try:
            self.study = optuna.create_study(
                storage=optuna.storages.JournalStorage(self.journal),
                study_name=name,
                directions=directions,
                load_if_exists=True,
            )
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise self.journal.unreadable(f"Optuna {optuna.__version__} cannot read it ({error!r})") from None
        self._measures = {*settings.objective, *(constraint(text).measure for text in settings.constraints)}

    def keep(self) -> None:
        """Write the journal into the results folder."""
        self.journal.keep()

    def advance(self, ended: Mapping[str, Ended]) -> bool:
        """Tell the results of the last batch, and have a further one proposed; tell whether there is one."""
        if not self.study.get_trials(deepcopy=False):
            self._warm_start(ended)
        self._tell(ended)
        found = 0
        while found < self.settings.at_a_time and self._left() >= len(self.begun.sweep.seeds) and self._ask():
            found += 1
        return found > 0

    def _left(self) -> int:
        """Return how many trainings may still be spent."""
        return self.budget - sum(trial.id not in self.begun.there for trial in self.trials())

    def trials(self) -> list[Trial]:
        """Return the trials of all batches so far, each once."""
        return [trial for each in self._asked() for trial in self.space.trials(each.params)]

    def present(self) -> list[Trial]:
        """Return the trials of the last batch."""
        return [
            trial
            for each in self._asked()
            if each.state == TrialState.RUNNING
            for trial in self.space.trials(each.params)
        ]

    def _asked(self) -> list[FrozenTrial]:
        """Return this search's own proposals, in order: not what it was warmed up with, nor repeats."""
        return [each for each in self.study.get_trials(deepcopy=False) if "proposal" in each.user_attrs]

    def _known(self) -> list[FrozenTrial]:
        """Return what the study knows of, or will: what was proposed, and what was there before."""
        return [
            each
            for each in self.study.get_trials(deepcopy=False)
            if {"proposal", "there", "again"} & each.user_attrs.keys()
        ]

    def _ask(self) -> bool:
        """Have one set of settings proposed that is new; False where there is none.

        A sampler repeats itself among whole numbers and choices, and at an edge of its space, however often
        it is asked: then one that is left is drawn.
        """
        if self._is_exhausted():
            return False
        known = self._known()
        there = {trial.id for each in known for trial in self.space.trials(each.params)}
        for attempt in range(REPEATS):
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = sampler(self.settings, number)
            if attempt >= PATIENCE:
                self.study.sampler = sampler(self.settings.model_copy(update={"sampler": "random"}), number)
                every = self.space.every() or ()
                fresh = [params for params in every if not any(params == each.params for each in known)]
                if fresh:
                    self.study.enqueue_trial(fresh[np.random.default_rng(number).integers(len(fresh))])
            trial = self.study.ask()
            self.space.suggest(trial)
            if not all(each.id in there for each in self.space.trials(trial.params)):
                trial.set_user_attr("proposal", len(self._asked()))
                return True
            self.study.tell(trial, state=TrialState.FAIL)
        return False

    def _is_exhausted(self) -> bool:
        """Tell whether all settings there are have been proposed."""
        every, known = self.space.every(), self._known()
        return every is not None and all(any(params == each.params for each in known) for params in every)

    def _tell(self, ended: Mapping[str, Ended]) -> None:
        """Tell the results of proposals that have all ended, in order.

        What was told as pruned or failed and has a result after all, being trained to its end by a later run,
        cannot be told twice: it is added, as if it had been known before.
        """
        for asked in self._asked():
            group = [trial.id for trial in self.space.trials(asked.params)]
            if not ended.keys() >= set(group):
                continue
            values, bounds, state = self._result([ended[name] for name in group])
            if asked.state == TrialState.RUNNING:
                trial = optuna.Trial(self.study, asked._trial_id)
                for name, excess in bounds.items():
                    trial.set_constraint(name, excess)
                self.study.sampler = sampler(self.settings, asked.number)
                self.study.tell(asked.number, values, state=state)
            elif values and not asked.values and asked.number not in self._added():
                self._add(asked.params, values, bounds, {"again": asked.number})

    def _added(self) -> set[int]:
        """Return the numbers of proposals whose result was added after they had been told without one."""
        return {
            each.user_attrs["again"]
            for each in self.study.get_trials(deepcopy=False)
            if "again" in each.user_attrs
        }

    def _add(
        self,
        params: Params,
        values: list[float] | None,
        bounds: dict[str, float],
        attributes: dict[str, Any],
    ) -> None:
        variant = self.space.labels[params.get("variant", next(iter(self.space.labels)))]
        kinds = dict(self.space.distributions(variant))
        if "variant" in params:
            kinds["variant"] = optuna.distributions.CategoricalDistribution(list(self.space.labels))
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if values else TrialState.PRUNED,
                values=values,
                params=params,
                distributions=kinds,
                constraints=bounds,
                user_attrs=attributes,
            )
        )

    def _result(self, group: Sequence[Ended]) -> tuple[list[float] | None, dict[str, float], TrialState]:
        """Return the objectives and the constraints' excesses, means over seeds, and the state to tell."""
        means = mean_values(group, self._measures)
        if self._measures <= means.keys():
            bounds = {
                text: bound.excess(means[bound.measure])
                for text in self.settings.constraints
                for bound in [constraint(text)]
            }
            return [means[name] for name in self.settings.objective], bounds, TrialState.COMPLETE
        judged = all(each.status in ("done", "diverged", "stopped") for each in group)
        return None, {}, TrialState.PRUNED if judged else TrialState.FAIL

    def _warm_start(self, ended: Mapping[str, Ended]) -> None:
        """Give the study what was there before it: settings of which all seeds ended."""
        seen: list[Params] = []
        for name in sorted(self.begun.there & ended.keys()):
            params = self.space.params(ended[name].trial)
            if params is None or params in seen:
                continue
            seen.append(params)
            trials = self.space.trials(params)
            if any(trial.id not in ended for trial in trials):
                continue
            group = [ended[trial.id] for trial in trials]
            values, bounds, _ = self._result(group)
            # What is done and lacks a measure may be proposed, and is then measured.
            if values or any(each.status != "done" for each in group):
                self._add(params, values, bounds, {"there": True})

    def account(self, ended: Mapping[str, Ended]) -> list[str]:
        """Return the best settings, or the front, what that cost, and whether it is done."""
        self._tell(ended)
        best, spent = self.best(), self.spent(ended)
        lines = [self._line(each) for each in best]
        if not best:
            bounds = (
                f" that keeps {' and '.join(self.settings.constraints)}" if self.settings.constraints else ""
            )
            lines = [f"no proposal gave {' and '.join(self.settings.objective)}{bounds}"]
        if len(best) > 1:
            lines.insert(0, f"a front of {len(best)}:")
        warm = sum(each.state == TrialState.COMPLETE for each in self.study.get_trials(deepcopy=False))
        warm -= sum(each.state == TrialState.COMPLETE for each in self._asked()) + len(self._added())
        known = f", {warm} settings known before" if warm else ""
        lines.append(f"{cost(spent, self.budget)}{known}; {self._why(ended)}")
        return [f"search optuna: {line}" for line in lines]

    def _why(self, ended: Mapping[str, Ended]) -> str:
        trials = self.trials()
        if not trials or any(trial.id not in ended for trial in trials):
            return "not done yet"
        if self._left() < len(self.begun.sweep.seeds):
            return "done: the trials are spent"
        return "done: there are no other settings" if self._is_exhausted() else "not done yet"

    def best(self) -> list[FrozenTrial]:
        """Return the best trial, or those of the front; none where there is no feasible one."""
        best = list(self.study.best_trials)
        return best[:1] if len(self.settings.objective) == 1 else best

    def _line(self, trial: FrozenTrial) -> str:
        settings = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
        found = ", ".join(
            f"{name} {value:.6g}" for name, value in zip(self.settings.objective, trial.values, strict=True)
        )
        return f"{found} at {settings}"


def sampler(settings: OptunaSearch, proposal: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of one proposal.

    Raises:
        SpecError: it needs a package that is not there.
    """
    seed = int(np.random.SeedSequence([settings.seed, proposal]).generate_state(1)[0])
    random_first = min(10, 1 + 2 * max(1, len(settings.over)))
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a sampler is new to Optuna is no news to its user
        if settings.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=random_first)
        if settings.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=random_first, deterministic_objective=True)
        if settings.sampler == "qmc":
            # One sequence for all proposals: it counts them itself.
            return samplers.QMCSampler(seed=settings.seed, scramble=True, warn_independent_sampling=False)
        if settings.sampler == "nsgaii":
            return samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
        if settings.sampler == "cmaes":
            try:
                return samplers.CmaEsSampler(seed=seed, n_startup_trials=random_first)
            except ImportError:
                raise SpecError(
                    "search.sampler: cmaes needs the package cmaes; 'uv pip install cmaes', or use tpe"
                ) from None
        return samplers.RandomSampler(seed=seed)
