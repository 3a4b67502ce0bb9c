"""A search as the report shows it: what it found, in words, and, of one by Optuna, every proposal."""

import contextlib
import functools
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rdbench.report.numbers import count
from rdbench.results.load import Results
from rdbench.search.ended import load
from rdbench.spec.search_options import OptunaSearch, direction

STATUSES = {
    "done": "done",
    "stopped": "stopped early",
    "diverged": "diverged",
    "failed": "failed",
    "": "not in yet",
}
"""How a trial stands -> how the page calls it, from the best to the worst."""

FEWEST = 10
"""Results without which importances are not told: of fewer, the best tenth is one or none."""

CHOSEN = (
    "Chosen by these very numbers of the test split, which flatter what was chosen: retrain it under fresh"
    " seeds before comparing."
)
"""What to know about whatever a search found; of a search of a whole curve nothing was chosen."""

_Rows = Mapping[str, tuple[str, float]]
"""Trial -> its status and seconds; nothing of one that is not in."""


@dataclass(frozen=True)
class Proposal:
    """Settings that a search asked for, or that were known before it.

    Attributes:
        number: its place among the search's own, from 1; None where it was known before.
        params: the searched settings, as they were trained.
        values: the objectives, means over seeds; None where there is none: it diverged, failed, was stopped
            early or is not in yet.
        broken: the constraints that it does not keep.
        best: nothing that was tried is better; of several objectives, it is on the front.
        status: of its trials the worst, a key of ``STATUSES``.
        seconds: of all its trials; None where none is in.
        trials: their ids, one a seed.
    """

    number: int | None
    params: dict[str, Any]
    values: tuple[float, ...] | None
    broken: tuple[str, ...]
    best: bool
    status: str
    seconds: float | None
    trials: tuple[str, ...]


@dataclass(frozen=True)
class StudyView:
    """What a search by Optuna tried.

    Attributes:
        name: of the sweep.
        objectives: what was to be made best.
        scales: of each searched setting: "log", "linear", "whole" (linear, of whole numbers) or "choice".
        proposals: in order, those that were known before the search included.
        importance: of each objective: setting -> its share of 1; empty where it cannot be told.
    """

    name: str
    objectives: tuple[str, ...]
    scales: dict[str, str]
    proposals: tuple[Proposal, ...]
    importance: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class SearchView:
    """A search of any kind.

    Attributes:
        name: of the sweep.
        kind: "curve", "target" or "optuna".
        amounts: what became of all it asked for: "12 proposals: 4 done, 8 stopped early".
        account: what it found, what it spent and whether it is done: the lines that the console ends with.
        study: what it tried; None of one that goes by beta alone.
    """

    name: str
    kind: str
    amounts: str
    account: tuple[str, ...]
    study: StudyView | None = None

    @property
    def heading(self) -> str:
        """What it is called: its sweep, and what it looks for."""
        kinds = {"curve": "where the curve is least known", "target": "for a target", "optuna": "by Optuna"}
        return f"The search of {self.name}, {kinds[self.kind]}"

    @property
    def caution(self) -> str:
        """What to know before what it found is compared; "" where it chose nothing."""
        return "" if self.kind == "curve" else CHOSEN


def search_view(results: Results) -> SearchView | None:
    """Return the search of a results folder as it stands; None where its sweep asks for none.

    Raises:
        ResultsError: its record or its journal cannot be read.
        SpecError: its sampler needs a package that is not there.
    """
    sweep = results.sweep
    if sweep.search is None:
        return None
    from rdbench.search.begin import begin  # here: half a second, where it is by Optuna

    ended = load(results.root, sweep.metrics, failed_in=None, stopped=sweep.stop is not None)
    search = begin(sweep, results.root, ended.keys())
    # This also tells a study, in memory, what has ended since its last batch was chosen.
    lines = search.account(ended)
    columns = (results.trials[name].tolist() for name in ("trial", "status", "seconds"))
    rows = {name: (status, seconds) for name, status, seconds in zip(*columns, strict=True)}
    study = _study(search, rows) if sweep.search.name == "optuna" else None
    if study is not None:
        own = [each.status for each in study.proposals if each.number is not None]
        what = count(len(own), "proposal")
        if len(sweep.seeds) > 1:
            what += f" of {len(sweep.seeds)} seeds{' each' if len(own) > 1 else ''}"
    else:
        own = [_status([each.id], rows) for each in search.trials() if each.id not in search.begun.there]
        what = count(len(own), "training")
    tally = Counter(own)
    told = ", ".join(f"{tally[name]:,} {text}" for name, text in STATUSES.items() if tally[name])
    prefix = f"search {sweep.search.name}: "
    account = tuple(line.removeprefix(prefix) for line in lines)
    return SearchView(sweep.name, sweep.search.name, f"{what}: {told}" if own else what, account, study)


def _status(trials: Sequence[str], rows: _Rows) -> str:
    """Return the worst status of trials, a key of ``STATUSES``."""
    order = list(STATUSES)
    found = [rows[name][0] if name in rows else "" for name in trials]
    return max((status if status in STATUSES else "failed" for status in found), key=order.index)


def _study(search: Any, rows: _Rows) -> StudyView:
    """Return what a search by Optuna tried, once its account has been taken."""
    import optuna

    settings: OptunaSearch = search.settings
    every = search.study.get_trials(deepcopy=False)
    best = {each.number for each in search.best()}
    # A result that came after its proposal had been told without one stands in the study by itself.
    later = {each.user_attrs["again"]: each for each in every if "again" in each.user_attrs}
    proposals = []
    for each in every:
        number = each.user_attrs.get("proposal")
        # Without a number and a result it is a repeat of an earlier one, for which nothing was trained.
        if "again" in each.user_attrs or (number is None and not each.values):
            continue
        found = later.get(each.number, each)
        trials = tuple(trial.id for trial in search.space.trials(each.params))
        seconds = [rows[name][1] for name in trials if name in rows and math.isfinite(rows[name][1])]
        proposals.append(
            Proposal(
                None if number is None else number + 1,
                {name: _as_trained(value) for name, value in each.params.items()},
                tuple(found.values) if found.values else None,
                tuple(text for text, excess in found.constraints.items() if excess > 0),
                found.number in best,
                _status(trials, rows),
                math.fsum(seconds) if seconds else None,
                trials,
            )
        )
    kinds = {name: kind for each in every for name, kind in each.distributions.items()}
    scales = {}
    for name, kind in kinds.items():
        if isinstance(kind, optuna.distributions.CategoricalDistribution):
            scales[name] = "choice"
        elif kind.log:
            scales[name] = "log"
        else:
            scales[name] = "whole" if isinstance(kind, optuna.distributions.IntDistribution) else "linear"
    results = sum(each.values is not None for each in proposals)
    told = len(scales) > 1 and results >= FEWEST
    importance = tuple(
        _importance(search.study, place, name) if told else {}
        for place, name in enumerate(settings.objective)
    )
    return StudyView(search.begun.sweep.name, settings.objective, scales, tuple(proposals), importance)


def _as_trained(value: Any) -> Any:
    from rdbench.search.space import DIGITS

    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _importance(study: Any, place: int, objective: str) -> dict[str, float]:
    """Return the importance of each setting for an objective; none where there is nothing to tell."""
    import optuna

    shares: dict[str, float] = {}
    cost = functools.partial(_cost, place, direction(objective) == "higher")
    with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):  # all results are alike
        warnings.simplefilter("ignore")  # that low is taken for good, as it is here
        shares = optuna.importance.get_param_importances(study, target=cost)
    found = {name: float(share) for name, share in shares.items()}
    return found if all(map(math.isfinite, found.values())) and any(found.values()) else {}


def _cost(place: int, higher: bool, trial: Any) -> float:
    """Return what importance is the importance of: to be low."""
    return -float(trial.values[place]) if higher else float(trial.values[place])


def tried(view: SearchView | None) -> dict[str, bool]:
    """Return every trial that a search by Optuna asked for, or was warmed up with, and whether it is best."""
    study = view.study if view else None
    return {name: each.best for each in study.proposals for name in each.trials} if study else {}
