"""The sweep verb: what is left to do, the guard on the results folder, the run, and its account."""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from rdbench import beforehand, datasets, paths, store
from rdbench.errors import ResultsError, StorageError, counted
from rdbench.failures import is_failure, last_line, reason, way
from rdbench.lease import FILE, Lease
from rdbench.metrics import answers
from rdbench.places import Place, is_file
from rdbench.plan import Plan, changed_settings, plan
from rdbench.progress import SweepProgress, preparing, usage_line
from rdbench.search.running import Searching, named
from rdbench.spec import Sweep

REASONS = 5
"""Why trials failed, or lack a metric: so many different reasons are told."""


@dataclass(frozen=True)
class Account:
    """How a sweep's trials stand after a run."""

    done: int
    diverged: int
    failed: int
    left: int
    """Trainings; of a search, as many as it may still spend."""
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
        parts = [
            f"{self.done} done{lacking}",
            *(f"{count} {word}" for word, count in counts.items() if count),
        ]
        return ", ".join(parts)

    def what_is_missing(self, root: Place) -> list[str]:
        """Return what trials lack, why, and what to do about it, in a line each; none where all is there."""
        lines = [*self.why_failed, *self.failed_metrics]
        if self.failed_metrics:
            lines.append(
                "a metric that failed twice in the same way is not tried again; once that is mended, 'rdbench"
                f" evaluate {root} --metrics NAME' measures it on kept networks, and --set keep_weights=true"
                " trains the trials again whose networks were not kept"
            )
        return lines


def _finished(root: Place, sweep: Sweep, failed_metrics: bool = True) -> set[str]:
    """Return the ids of the trials that hold all that a sweep asks for, or that is to be had."""
    needs = ["per_image"] if sweep.keep_per_image else []
    return store.finished(
        root,
        needs=needs,
        metrics=sweep.metrics,
        weights=sweep.keep_weights,
        stopped=sweep.stop is not None,
        failed_metrics=failed_metrics,
    )


def _planned(root: Place, sweep: Sweep) -> Plan:
    """Return the plan of a sweep given what its folder holds; of a search, as far as it has come."""
    if sweep.search is None:
        return plan(sweep, _finished(root, sweep))
    return Searching(sweep, root, lambda: _finished(root, sweep)).plan()


def open_plan(root: Place, sweep: Sweep) -> Plan:
    """Return the plan of a sweep, given what its results folder already holds.

    Raises:
        ResultsError: the folder holds trials of other settings, which one curve must not mix, or is
            something else's folder.
        SpecError: the spec in the folder is not valid.
        StorageError: the folder cannot be read now.
    """
    if is_file(root / "sweep.yaml"):
        changes = changed_settings(store.stored_sweep(root), sweep)
        if changes and store.trial_ids(root):
            raise ResultsError(
                f"{root} holds trials of other settings ({'; '.join(changes)}); one curve must not mix them:"
                " give this sweep another name or --results folder, or delete that one"
            )
    elif root.exists() and (not root.is_dir() or any(map(_is_foreign, root.iterdir()))):
        raise ResultsError(f"{root} is not a results folder and is not empty; give another --results folder")
    return _planned(root, sweep)


def _is_foreign(file: Place) -> bool:
    """Tell whether a file is none that a sweep leaves which was killed before it wrote its spec."""
    return file.name not in (FILE, "resume", "checkpoints", "set_aside") and not file.name.startswith(".")


def account(root: Place, whole: Plan, sweep: Sweep | None = None) -> Account:
    """Count how the trials of a plan ended, from what the results folder holds.

    Args:
        root: the results folder.
        whole: the plan.
        sweep: what was asked for; by default the plan's.
    """
    sweep, trials = sweep or whole.sweep, store.trials_table(root)
    ours = trials[trials["trial"].isin([trial.id for trial in whole.trials])]
    counts = ours["status"].value_counts()
    done, diverged, failed = (int(counts.get(status, 0)) for status in ("done", "diverged", "failed"))
    stopped = int(counts.get("stopped", 0)) if whole.sweep.stop else 0  # else it is to be trained to its end
    ended = set(ours.loc[ours["status"] == "done", "trial"])
    lacking = ended - _finished(root, sweep, failed_metrics=False)
    left = len(whole.trials) - done - diverged - failed - stopped
    if whole.at_most is not None:
        left = max(0, whole.at_most - failed)
    errors = ours.loc[ours["status"] == "failed", ["trial", "error"]].itertuples(index=False)
    return Account(
        done,
        diverged,
        failed,
        left,
        stopped,
        len(lacking),
        failed_metrics=_told(row for row in _failed_metrics(root, sweep) if row[2] in lacking),
        why_failed=_told(("failed", last_line(error), str(trial)) for trial, error in errors),
    )


def _failed_metrics(root: Place, sweep: Sweep) -> Iterator[tuple[str, str, str]]:
    """Yield what metric, of those that a sweep asks for, could not be measured, why, and of which trial."""
    if not sweep.metrics:
        return
    rows = store.frame(root, "metrics", ("trial", "name", "value", "settings"))
    nulls = rows[rows["value"].isna()].assign(value=None)
    for row in ({str(name): value for name, value in row.items()} for row in nulls.to_dict("records")):
        if is_failure(row) and any(answers(asked, row) for asked in sweep.metrics):
            yield f"no {row['name']}", reason(row), row["trial"]


def _told(found: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """Return a line for each thing that is missing and each way in which it came about, the commonest first.

    Args:
        found: what is missing, why, and the trial it is missing of.
    """
    groups: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for what, why, trial in found:
        groups.setdefault((what, way(why)), (why, set()))[1].add(trial)
    ranked = sorted(groups.items(), key=lambda group: -len(group[1][1]))
    lines = [f"{what}: {counted(len(ids), 'trial')}: {why}" for (what, _), (why, ids) in ranked[:REASONS]]
    return (*lines, *([f"and {len(ranked) - REASONS} reasons more"] if len(ranked) > REASONS else []))


def run_sweep(
    whole: Plan,
    root: Place,
    data: Path | None,
    console: Console,
    *,
    limit: int | None = None,
    address: str = "local",
    concurrency: int | None = None,
    allow_missing_metrics: bool = False,
) -> Account:
    """Train what a plan has left to do.

    Args:
        whole: from :func:`open_plan`.
        root: the results folder; made if need be.
        data: folder of the raw data; None for what each machine's own environment says.
        console: is told of the progress.
        limit: train at most so many trials.
        address: of the Ray cluster; "local" starts one here.
        concurrency: trials at a time.
        allow_missing_metrics: leave a metric null, with the reason, where this machine cannot measure it;
            else that is an error before anything is trained.

    Returns:
        How the plan's trials stand afterwards.

    Raises:
        DatasetError: the data is not there, or too small for the sweep.
        ResultsError: another driver is at work in the results folder.
        SpecError: a metric or a precision cannot be had here, or a variant cannot be imported.
        StorageError: the results folder cannot be read or written.
        ClusterError: a cluster cannot be joined, has no room for a trial, or Ray dies again and again.
    """

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with contextlib.ExitStack() as held:
        try:
            lease = held.enter_context(Lease(root, "rdbench sweep", say))
        except StorageError as error:
            if whole.todo:
                raise
            say(f"nothing is left to do, and nothing was written: {error}")
            return account(root, whole)
        for line in store.set_aside(root):
            say(line)
        # Planned again now that nobody else is at work here.
        whole = _planned(root, whole.sweep)
        return _run(whole, root, data, console, lease, limit, address, concurrency, allow_missing_metrics)


def _run(
    whole: Plan,
    root: Place,
    data_option: Path | None,
    console: Console,
    lease: Lease,
    limit: int | None,
    address: str,
    concurrency: int | None,
    allow_missing_metrics: bool,
) -> Account:
    sweep, todo, run = whole.sweep, whole.todo[:limit], uuid.uuid4().hex[:8]
    asked = sweep
    if todo:
        with preparing(console, sweep.dataset.name) as progress_of_data:
            data = datasets.load(sweep.dataset, paths.chosen_data_root(data_option), progress_of_data)
        from rdbench import resume
        from rdbench.tune import supervisor
        from rdbench.worker import Job

        sources = beforehand.runnable(sweep)
        beforehand.check_sizes(sweep, todo, data)
        beforehand.check_models(todo, data)
        _check_same_data(root, data)
        here, left_out = beforehand.measurable(sweep, data, allow_missing_metrics, open_weights=True)
        for line in left_out:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if left_out:
            asked = sweep.model_copy(update={"metrics": here})
            whole = _planned(root, asked)
            todo = whole.todo[:limit]
        _say_data(console, data, sweep.train.augment)
    store.save_sweep(root, sweep)
    interrupted, search = False, None
    if sweep.search is not None:
        search = Searching(asked, root, lambda: _finished(root, asked), run, limit)
        todo = search.next() if todo else []
    if todo:
        job = Job(
            root.resolve(),
            data_option and paths.data_root(data_option),
            sweep.keep_per_image,
            sweep.resources.cpus,
            sweep.metrics,
            sweep.keep_weights,
            sources,
            data.checksum,
            run,
            sweep.resources.checkpoint_minutes,
            sweep.resources.trial_timeout,
            sweep.stop,
        )
        console.print("starting Ray", highlight=False)
        total = len(todo) if search is None else min(whole.at_most or 0, limit or whole.at_most or 0)
        with SweepProgress(total, console, functools.partial(named, sweep)) as progress:
            usage = supervisor.run(
                todo,
                job,
                sweep.resources,
                progress,
                address=address,
                concurrency=concurrency,
                lease=lease,
                more=search,
            )
        # Of those that were stopped early the checkpoints stay: they may yet be trained to their end.
        resume.tidy(root, _finished(root, sweep.model_copy(update={"stop": None})))
        if usage.working:
            console.print(usage_line(usage.share, usage.working, usage.starting), highlight=False)
        interrupted = usage.stopped if search else progress.finished < len(todo)
    for line in search.account() if search else []:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    after = _planned(root, asked)
    ended = account(root, after, sweep)
    # A search may have come to its end all the same.
    return replace(ended, interrupted=interrupted and bool(after.todo))


def _check_same_data(root: Place, data: datasets.Dataset) -> None:
    """Refuse to train on other data than the trials that are there: one curve must not mix them."""
    if not store.trial_ids(root):
        return
    before = set(store.trials_table(root)["dataset_checksum"].dropna())
    if before - {data.checksum}:
        raise ResultsError(
            f"{root} holds trials of other data: the files of dataset {data.name} have changed since"
            " (their checksum differs); give this sweep another --results folder"
        )


def _say_data(console: Console, data: datasets.Dataset, augment: bool) -> None:
    train, test = len(data.train.images), len(data.test.images)
    shape = "x".join(map(str, data.shape))
    skipped = f", {len(data.skipped)} files skipped" if data.skipped else ""
    changed = augment and data.augmentation != "none"
    augmented = f"; training images are {datasets.AUGMENTATIONS[data.augmentation]}" if changed else ""
    line = f"{data.name}: {train:,} training and {test:,} test images, {shape}{skipped}{augmented}"
    console.print(line, highlight=False, soft_wrap=True)
    for remark in (*data.notes, *(f"skipped {file}" for file in data.skipped[:5])):
        console.print(f"  {remark}", highlight=False, markup=False, soft_wrap=True)


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
    sweep = store.stored_sweep(root)
    trials, whole = store.trials_table(root), _planned(root, sweep)
    lines = [whole.summary(), f"{account(root, whole)} in {root}"]
    names = {trial.id: named(sweep, trial) for trial in whole.trials}
    planned = trials["trial"].isin(names.keys())
    for row in trials[planned & (trials["status"] != "done")].itertuples():
        lines.append(f"{row.status}: {names[str(row.trial)]}: {last_line(row.error)}")
    if (others := int((~planned).sum())) and sweep.search is None:  # what a search found there it has told
        noun = "trial" if others == 1 else "trials"
        lines.append(
            f"{others} {noun} more, of variants, versions or betas that the sweep no longer asks for"
        )
    measured = store.frame(root, "metrics", ("trial", "name", "value", "settings"))
    for row in measured[measured["value"].isna()].merge(trials, on="trial").itertuples():
        name = names.get(str(row.trial)) or f"{row.variant} beta {row.beta:g} seed {row.seed}"
        lines.append(f"no {row.name}: {name}: {reason({'settings': row.settings})}")
    return lines + [f"problem: {problem}" for problem in store.problem_lines(root)]
