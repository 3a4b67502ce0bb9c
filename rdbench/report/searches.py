"""A search as the report shows it: its result in words and, of one by Optuna, every proposal."""

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rdbench.report.numbers import count
from rdbench.results.load import Results
from rdbench.search.ended import chosen_on, load
from rdbench.spec.search_options import OptunaSearch, direction

# A trial's status -> its name on the page, from the best to the worst.
STATUSES = {"done": "done", "stopped": "stopped early", "diverged": "diverged", "failed": "failed",
            "": "not in yet"}  # fmt: skip
FEWEST = 10  # results to give importances of: of fewer, the best tenth is one or none

CHOSEN = {
    "test": "Chosen by these very numbers of the test split, which flatter what was chosen. Retrain it under"
    " fresh seeds before comparing, or hold out validation images to choose on.",
    "validation": "Chosen by these numbers of the validation images, which flatter what was chosen; the test"
    " images had no part in it.",
}
"""By the split it was chosen on, a warning about the result of a search; one of a curve chooses nothing."""

_Rows = Mapping[str, tuple[str, float]]
"""Finished trial -> its status and seconds."""


@dataclass(frozen=True)
class Proposal:
    """Settings that a search asked for, or that were known before it."""

    number: int | None  # among the search's own, from 1; None if it was known before
    params: dict[str, Any]  # the searched settings, as they were trained
    values: tuple[float, ...] | None  # of the objectives, means over seeds; None without a result
    broken: tuple[str, ...]  # the constraints that it violates
    best: bool  # no result is better; with several objectives, it is on the front
    status: str  # the worst of its trials, a key of STATUSES
    seconds: float | None  # of all its finished trials; None without any
    trials: tuple[str, ...]  # their ids, one a seed


@dataclass(frozen=True)
class StudyView:
    """What a search by Optuna tried."""

    name: str  # of the sweep
    objectives: tuple[str, ...]
    scales: dict[str, str]  # by setting: "log", "linear", "whole" (linear, of whole numbers) or "choice"
    proposals: tuple[Proposal, ...]  # in order, including those known before the search
    importance: tuple[dict[str, float], ...]  # of each objective: setting -> share of 1; empty if unknown
    chosen_on: str = "test"  # the split whose numbers it went by


@dataclass(frozen=True)
class SearchView:
    """A search of any kind."""

    name: str  # of the sweep
    kind: str  # "curve", "target" or "optuna"
    amounts: str  # the status of all it asked for: "12 proposals: 4 done, 8 stopped early"
    account: tuple[str, ...]  # its result, its cost and whether it is done: the last lines on the console
    study: StudyView | None = None  # what it tried; None if it searches beta alone
    chosen_on: str = "test"  # the split whose numbers it went by

    @property
    def heading(self) -> str:
        """Its sweep, and what it looks for."""
        kinds = {"curve": "where the curve is least known", "target": "for a target", "optuna": "by Optuna"}
        return f"The search of {self.name}, {kinds[self.kind]}"

    @property
    def caution(self) -> str:
        """A warning before its result is compared; "" if it chose nothing."""
        return "" if self.kind == "curve" else CHOSEN[self.chosen_on]


def search_view(results: Results) -> SearchView | None:
    """Return the search of a results folder so far; None if its sweep asks for none.

    Raises ResultsError: its record or its journal cannot be read; SpecError: its sampler is not installed.
    """
    sweep = results.sweep
    if sweep.search is None:
        return None
    from rdbench.search.running import begin  # here: importing Optuna takes half a second

    ended = load(results.root, sweep.metrics, failed_in=None, stopped=sweep.stop is not None)
    search = begin(sweep, results.root, ended.keys())
    # This also adds to a study, in memory, what has finished since its last batch was chosen.
    lines = search.account(ended)
    columns = (results.trials[name].tolist() for name in ("trial", "status", "seconds"))
    rows = {name: (status, seconds) for name, status, seconds in zip(*columns, strict=True)}
    study = _study(search, rows) if sweep.search.name == "optuna" else None
    if study is not None:
        statuses = [proposal.status for proposal in study.proposals if proposal.number is not None]
        amounts = count(len(statuses), "proposal")
        if len(sweep.seeds) > 1:
            amounts += f" of {len(sweep.seeds)} seeds{' each' if len(statuses) > 1 else ''}"
    else:
        new = [trial.id for trial in search.trials() if trial.id not in search.begun.there]
        statuses = [_status([trial], rows) for trial in new]
        amounts = count(len(new), "training")
    if statuses:
        tally = Counter(statuses)
        by_status = (f"{tally[name]:,} {text}" for name, text in STATUSES.items() if tally[name])
        amounts += f": {', '.join(by_status)}"
    account = tuple(line.removeprefix(f"search {sweep.search.name}: ") for line in lines)
    return SearchView(sweep.name, sweep.search.name, amounts, account, study, chosen_on(sweep))


def _status(trials: Sequence[str], rows: _Rows) -> str:
    """Return the worst status of trials, a key of ``STATUSES``."""
    statuses = [rows[name][0] if name in rows else "" for name in trials]
    return max((status if status in STATUSES else "failed" for status in statuses), key=[*STATUSES].index)


def _study(search: Any, rows: _Rows) -> StudyView:
    """Return what a search by Optuna tried, once its account has been taken."""
    settings: OptunaSearch = search.settings
    asked = search.study.get_trials(deepcopy=False)
    best = {trial.number for trial in search.best()}
    # A result that came after its proposal had been recorded without one is a trial by itself in the study.
    later = {trial.user_attrs["again"]: trial for trial in asked if "again" in trial.user_attrs}
    # Without a number and a result it is a repeat of an earlier one, for which nothing was trained.
    proposals = tuple(
        _proposal(search, trial, later.get(trial.number, trial), best, rows)
        for trial in asked
        if "again" not in trial.user_attrs and (trial.values or trial.user_attrs.get("proposal") is not None)
    )
    distributions = {name: kind for trial in asked for name, kind in trial.distributions.items()}
    scales = {name: _scale(kind) for name, kind in distributions.items()}
    known = len(scales) > 1 and sum(proposal.values is not None for proposal in proposals) >= FEWEST
    importance = tuple(
        _importance(search.study, index, name) if known else {}
        for index, name in enumerate(settings.objective)
    )
    sweep = search.begun.sweep
    return StudyView(sweep.name, settings.objective, scales, proposals, importance, chosen_on(sweep))


def _proposal(search: Any, asked: Any, result: Any, best: set[int], rows: _Rows) -> Proposal:
    """Return a proposal as it was asked for, with the result that it has in the study."""
    from rdbench.search.space import DIGITS

    number = asked.user_attrs.get("proposal")
    trials = tuple(trial.id for trial in search.space.trials(asked.params))
    seconds = [rows[name][1] for name in trials if name in rows and math.isfinite(rows[name][1])]
    return Proposal(
        None if number is None else number + 1,
        {name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
         for name, value in asked.params.items()},
        tuple(result.values) if result.values else None,
        tuple(text for text, excess in result.constraints.items() if excess > 0),
        result.number in best,
        _status(trials, rows),
        math.fsum(seconds) if seconds else None,
        trials,
    )  # fmt: skip


def _scale(distribution: Any) -> str:
    import optuna

    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return "choice"
    whole = isinstance(distribution, optuna.distributions.IntDistribution)
    return "log" if distribution.log else "whole" if whole else "linear"


def _importance(study: Any, index: int, objective: str) -> dict[str, float]:
    """Return the importance of each setting for an objective; empty where it is unknown."""
    import optuna

    def cost(trial: Any) -> float:
        return sign * float(trial.values[index])

    shares: dict[str, float] = {}
    sign = -1 if direction(objective) == "higher" else 1
    with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):  # all results are alike
        warnings.simplefilter("ignore")  # that lower is assumed to be better, as it is here
        shares = optuna.importance.get_param_importances(study, target=cost)
    shares = {name: float(share) for name, share in shares.items()}
    return shares if all(map(math.isfinite, shares.values())) and any(shares.values()) else {}


def tried(view: SearchView | None) -> dict[str, bool]:
    """Return every trial that a search by Optuna asked for, or was warmed up with, and whether it is best."""
    proposals = view.study.proposals if view and view.study else ()
    return {trial: proposal.best for proposal in proposals for trial in proposal.trials}
