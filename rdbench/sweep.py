"""The sweep verb: what is left to do, the guard on the results folder, the run, and its account."""

import contextlib
import functools
import json
import os
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench import datasets, metrics, paths, store, variants
from rdbench.errors import ResultsError, SpecError, StorageError
from rdbench.lease import FILE, Lease
from rdbench.metrics import MetricOptions
from rdbench.places import Place
from rdbench.plan import Plan, Trial, changed_settings, plan
from rdbench.progress import SweepProgress, preparing, usage_line
from rdbench.search.running import Searching, named
from rdbench.spec import Sweep, VariantSpec
from rdbench.spec_search import needed_metrics
from rdbench.variants.source import find

if TYPE_CHECKING:
    import pandas as pd


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


def _finished(root: Place, sweep: Sweep) -> set[str]:
    """Return the ids of the trials that hold all that a sweep asks for."""
    needs = ["per_image"] if sweep.keep_per_image else []
    return store.finished(
        root,
        needs=needs,
        metrics=sweep.metrics,
        weights=sweep.keep_weights,
        stopped=sweep.stop is not None,
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
    if (root / "sweep.yaml").exists():
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


def account(root: Place, whole: Plan) -> Account:
    """Count how the trials of a plan ended, from what the results folder holds."""
    return _account(store.trials_table(root), whole, _finished(root, whole.sweep))


def _account(trials: "pd.DataFrame", whole: Plan, finished: set[str]) -> Account:
    ours = trials[trials["trial"].isin([trial.id for trial in whole.trials])]
    counts = ours["status"].value_counts()
    done, diverged, failed = (int(counts.get(status, 0)) for status in ("done", "diverged", "failed"))
    stopped = int(counts.get("stopped", 0)) if whole.sweep.stop else 0  # else it is to be trained to its end
    lacking = set(ours.loc[ours["status"] == "done", "trial"]) - finished
    left = len(whole.trials) - done - diverged - failed - stopped
    if whole.at_most is not None:
        left = max(0, whole.at_most - failed)
    return Account(done, diverged, failed, left, stopped, len(lacking))


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
        from rdbench.trial import check_fits
        from rdbench.tune import supervisor
        from rdbench.worker import Job

        sources = _runnable(sweep)
        check_fits(todo[0], data)
        _check_models(todo, data)
        _check_same_data(root, data)
        unmeasurable = missing_metrics(sweep, data)
        rests = needed_metrics(sweep.search) & {each.name for each in unmeasurable}
        if unmeasurable and (rests or not allow_missing_metrics):
            mend = "or go on without it by --allow-missing-metrics"
            mend = f"the search rests on {', '.join(sorted(rests))}" if rests else mend
            raise SpecError("; ".join(unmeasurable.values()) + f"; {mend}")
        if unmeasurable:
            here = tuple(each for each in sweep.metrics if each not in unmeasurable)
            asked = sweep.model_copy(update={"metrics": here})
            whole = _planned(root, asked)
            todo = whole.todo[:limit]
            for line in unmeasurable.values():
                console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
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
    ended = _account(store.trials_table(root), after, _finished(root, sweep))
    # A search may have come to its end all the same.
    return replace(ended, interrupted=interrupted and bool(after.todo))


def _runnable(sweep: Sweep) -> dict[str, str]:
    """Import every variant once, here, so that a mistake in one is told before anything is trained.

    Returns:
        The text of the files they come from, by hash, for workers that do not have them.

    Raises:
        SpecError: a variant cannot be imported.
    """
    texts = {}
    for variant in sweep.variants:
        try:
            variants.get(variant)
        except SpecError:
            raise
        except (Exception, SystemExit) as error:
            where = variant.source or variant.name
            raise SpecError(
                f"variants: {where} cannot be imported: {_in_brief(error, variant)};"
                f" 'rdbench check {where}' looks closer"
            ) from None
        if variant.code and not (found := find(variant.source)).module:
            texts[variant.code] = found.text
    return texts


def _in_brief(error: BaseException, variant: VariantSpec) -> str:
    """Return the line of an author's file that an exception came from, its type and first line of text."""
    frames = traceback.extract_tb(error.__traceback__)
    file = str(find(variant.source).path) if variant.source else ""
    own = [frame for frame in frames if frame.filename == file]
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"line {(own or frames)[-1].lineno}: {type(error).__name__}: {text}"


def _check_models(todo: Sequence[Trial], data: datasets.Dataset) -> None:
    """Build one model of each variant that has its own, so that an option it refuses is told here.

    Raises:
        SpecError: it cannot be built.
    """
    from rdbench.models import build

    for trial in {trial.variant: trial for trial in todo}.values():
        if variants.get(trial.variant).declaration.kind == "model":
            try:
                build(trial, data.shape, len(data.train.images))
            except (SpecError, ValueError) as error:  # as is said of an option that is refused
                raise SpecError(f"variants: {trial.variant.name} cannot be built: {error}") from None
            except Exception as error:  # an author's code may raise anything
                where = trial.variant.source or trial.variant.name
                raise SpecError(
                    f"variants: {where} cannot be built: {_in_brief(error, trial.variant)};"
                    f" 'rdbench check {where}' looks closer"
                ) from None


def missing_metrics(sweep: Sweep, data: datasets.Dataset) -> dict[MetricOptions, str]:
    """Return the metrics of a sweep that cannot be measured on this machine, each with reason and mend."""
    found = {}
    for asked in sweep.metrics:
        if reason := metrics.get(asked.name).missing(asked, data, sweep.protocol):
            found[asked] = f"metrics: {asked.name}: {reason}"
    return found


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


def _last_line(text: object) -> str:
    return ["no reason given", *str(text).strip().splitlines()][-1]


def status_lines(root: Place) -> list[str]:
    """Return how the trials of a results folder stand, with a line for each that did not end well."""
    sweep = store.stored_sweep(root)
    trials, finished = store.trials_table(root), _finished(root, sweep)
    whole = _planned(root, sweep)
    lines = [whole.summary(), f"{_account(trials, whole, finished)} in {root}"]
    names = {trial.id: named(sweep, trial) for trial in whole.trials}
    planned = trials["trial"].isin(names.keys())
    for row in trials[planned & (trials["status"] != "done")].itertuples():
        lines.append(f"{row.status}: {names[str(row.trial)]}: {_last_line(row.error)}")
    if (others := int((~planned).sum())) and sweep.search is None:  # what a search found there it has told
        noun = "trial" if others == 1 else "trials"
        lines.append(
            f"{others} {noun} more, of variants, versions or betas that the sweep no longer asks for"
        )
    measured = store.frame(root, "metrics", ("trial", "name", "value", "settings"))
    for row in measured[measured["value"].isna()].merge(trials, on="trial").itertuples():
        try:
            reason = _last_line(json.loads(str(row.settings))["error"])
        except (ValueError, TypeError, KeyError):  # a folder may come from anywhere
            reason = _last_line("")
        name = names.get(str(row.trial)) or f"{row.variant} beta {row.beta:g} seed {row.seed}"
        lines.append(f"no {row.name}: {name}: {reason}")
    return lines + [f"problem: {problem}" for problem in store.problem_lines(root)]
