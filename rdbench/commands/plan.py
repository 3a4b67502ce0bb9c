"""What a sweep has left to do: its trials less the finished rows of its results folder."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rdbench.errors import ResultsError
from rdbench.metrics import answers
from rdbench.metrics.failures import is_failure, last_line, reason, way
from rdbench.results.lease import FILE
from rdbench.results.parquet import STANDING
from rdbench.results.store import ResultsFolder
from rdbench.search.running import SearchRun
from rdbench.spec.plan import Plan, changed_settings, plan
from rdbench.spec.sweep import Sweep
from rdbench.storage.places import Place, is_file
from rdbench.text import counted

REASONS = 5  # printed, of why trials failed or lack a metric


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep's trials stand after a run."""

    done: int
    diverged: int
    failed: int
    left: int  # trainings; of a search, as many as it may still spend
    stopped: int = 0
    lacking: int = 0  # of the done ones: a metric or a table that the sweep asks for
    interrupted: bool = False
    failed_metrics: tuple[str, ...] = ()  # a line for each: how many trials lack it, and why
    why_failed: tuple[str, ...] = ()  # likewise of failed trials

    def __str__(self) -> str:
        lacking = f" ({self.lacking} of them without all that is asked for)" if self.lacking else ""
        counts = {
            "diverged": self.diverged,
            "stopped early": self.stopped,
            "failed": self.failed,
            "left to do": self.left,
        }
        words = [f"{count} {word}" for word, count in counts.items() if count]
        return ", ".join([f"{self.done} done{lacking}", *words])

    def what_is_missing(self, root: Place) -> list[str]:
        """Return what trials lack, why, and what to do about it, a line each."""
        lines = [*self.why_failed, *self.failed_metrics]
        if self.failed_metrics:
            lines.append(
                "a metric that failed twice in the same way is not tried again; once that is fixed, 'rdbench"
                f" evaluate {root} --metrics NAME' measures it on kept networks, and --set keep_weights=true"
                " trains the trials again whose networks were not kept"
            )
        return lines


def planned(root: Place, sweep: Sweep, before: Plan | None = None) -> Plan:
    """Return the plan of a sweep given what its folder holds now; of a search, as far as it has come.

    The trials of a grid stay those of the plan ``before``, where there is one.
    """
    finished = functools.partial(ResultsFolder(root).finished, sweep)
    if sweep.search is not None:
        return SearchRun(sweep, root, finished).plan()
    done = finished()
    if before is None:
        return plan(sweep, done)
    return replace(before, sweep=sweep, done=frozenset(one.id for one in before.trials if one.id in done))


def open_plan(root: Place, sweep: Sweep) -> Plan:
    """Return the plan of a sweep, given what its results folder already holds.

    Raises:
        ResultsError: the folder holds trials of other settings, which one curve must not mix, or is
            something else's folder.
        SpecError: the spec in the folder is not valid.
        StorageError: the folder cannot be read now.
    """
    folder = ResultsFolder(root)
    if is_file(root / "sweep.yaml"):
        changes = changed_settings(folder.sweep(), sweep)
        if changes and folder.trial_ids():
            raise ResultsError(
                f"{root} holds trials of other settings ({'; '.join(changes)}); one curve must not mix them:"
                " give this sweep another name or --results folder, or delete that one"
            )
    elif root.exists() and (not root.is_dir() or any(map(_is_foreign, root.iterdir()))):
        raise ResultsError(f"{root} is not a results folder and is not empty; give another --results folder")
    return planned(root, sweep)


def _is_foreign(file: Place) -> bool:
    """Tell whether a file is none that a sweep leaves which was killed before it wrote its spec."""
    ours = (FILE, "resume", "checkpoints", "classifier", "set_aside")
    return file.name not in ours and not file.name.startswith(".")


def account(root: Place, whole: Plan, sweep: Sweep | None = None) -> SweepStatus:
    """Count how the trials of a plan ended, from what the results folder holds.

    ``sweep`` is what was asked for, by default the plan's.
    """
    sweep, folder = sweep or whole.sweep, ResultsFolder(root)
    trials = folder.frame("trials", STANDING)
    ours = trials[trials["trial"].isin([trial.id for trial in whole.trials])]
    counts = ours["status"].value_counts()
    done, diverged, failed = (int(counts.get(status, 0)) for status in ("done", "diverged", "failed"))
    stopped = int(counts.get("stopped", 0)) if whole.sweep.stop else 0  # else it is to be trained to its end
    ended = set(ours.loc[ours["status"] == "done", "trial"])
    lacking = ended - folder.finished(sweep, failed_metrics=False)
    left = len(whole.trials) - done - diverged - failed - stopped
    if whole.at_most is not None:
        left = max(0, whole.at_most - failed)
    errors = ours.loc[ours["status"] == "failed", ["trial", "error"]].itertuples(index=False)
    return SweepStatus(
        done,
        diverged,
        failed,
        left,
        stopped,
        len(lacking),
        failed_metrics=_lines(row for row in _failed_metrics(folder, sweep) if row[2] in lacking),
        why_failed=_lines(("failed", last_line(error), str(trial)) for trial, error in errors),
    )


def _failed_metrics(folder: ResultsFolder, sweep: Sweep) -> Iterator[tuple[str, str, str]]:
    """Yield what metric, of those that a sweep asks for, could not be measured, why, and of which trial."""
    if not sweep.metrics:
        return
    rows = folder.frame("metrics", ("trial", "name", "quantity", "reading", "value", "settings"))
    nulls = rows[rows["value"].isna()].assign(value=None)
    for row in ({str(name): value for name, value in row.items()} for row in nulls.to_dict("records")):
        if is_failure(row) and any(answers(asked, row) for asked in sweep.metrics):
            yield f"no {row['name']}", reason(row), row["trial"]


def _lines(missing: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return a line for each kind of (what is missing, why, the trial that lacks it), the commonest first."""
    groups: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for what, why, trial in missing:
        groups.setdefault((what, way(why)), (why, set()))[1].add(trial)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1][1]))
    lines = [f"{what}: {counted(len(ids), 'trial')}: {why}" for (what, _), (why, ids) in ranked[:REASONS]]
    return (*lines, *([f"and {len(ranked) - REASONS} reasons more"] if len(ranked) > REASONS else []))
