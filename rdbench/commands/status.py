"""How the trials of a results folder stand, a line each for those that did not end well."""

import os
from pathlib import Path

from rdbench.commands.plan import account, planned
from rdbench.errors import ResultsError
from rdbench.metrics.failures import last_line, reason
from rdbench.results.load import left_out
from rdbench.results.parquet import STANDING
from rdbench.results.repair import damaged
from rdbench.results.store import ResultsFolder
from rdbench.spec.labels import trial_name_in
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place
from rdbench.text import counted


def default_results(sweep: Sweep) -> Path:
    """Return ``results/<name>`` below the working directory."""
    return Path(os.curdir) / "results" / sweep.name


def all_results() -> list[Path]:
    """Return every results folder below ``results/``.

    Raises:
        ResultsError: there is none.
    """
    folders = sorted(path.parent for path in Path("results").glob("*/sweep.yaml"))
    if not folders:
        raise ResultsError("no results folder below results/; name one, or run 'rdbench sweep' first")
    return folders


def status_lines(root: Place) -> list[str]:
    """Return how the trials of a results folder stand, with a line for each that did not end well."""
    folder = ResultsFolder(root)
    sweep = folder.sweep()
    trials, whole = folder.frame("trials", STANDING), planned(root, sweep)
    lines = [whole.summary(), f"{account(root, whole)} in {root}"]
    names = {trial.id: trial_name_in(sweep, trial) for trial in whole.trials}
    in_plan = trials["trial"].isin(names.keys())
    for row in trials[in_plan & (trials["status"] != "done")].itertuples():
        lines.append(f"{row.status}: {names[str(row.trial)]}: {last_line(row.error)}")
    if (others := int((~in_plan).sum())) and sweep.search is None:  # a search says so itself
        more = f"{counted(others, 'trial')} more"
        lines.append(f"{more}, of variants, versions or betas that the sweep no longer asks for")
    measured = folder.frame("metrics", ("trial", "name", "value", "settings"))
    for row in measured[measured["value"].isna()].merge(trials, on="trial").itertuples():
        name = names.get(str(row.trial)) or f"{row.variant} beta {row.beta:g} seed {row.seed}"
        lines.append(f"no {row.name}: {name}: {reason({'settings': row.settings})}")
    return lines + [f"problem: {problem}" for problem in left_out(damaged(root))]
