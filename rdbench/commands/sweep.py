"""Train what a sweep has left to do: take its results folder, check, run, and account for how it ended."""

import contextlib
import functools
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from rdbench import datasets
from rdbench.commands import preflight
from rdbench.commands.plan import SweepStatus, account, planned
from rdbench.errors import StorageError
from rdbench.results.lease import Lease
from rdbench.results.repair import set_aside
from rdbench.results.store import ResultsFolder
from rdbench.results.tracking import Tracking, refuse
from rdbench.search.running import SearchRun
from rdbench.spec.labels import trial_name_in
from rdbench.spec.plan import Plan
from rdbench.spec.sweep import Sweep
from rdbench.storage import paths
from rdbench.storage.places import Place
from rdbench.trial.job import Job, Outputs
from rdbench.trial.progress import SweepProgress, preparing, usage_line
from rdbench.trial.scheduler import RunOptions, Scheduler


def run_sweep(
    whole: Plan,
    root: Place,
    console: Console,
    options: RunOptions | None = None,
    scheduler: Scheduler | None = None,
) -> SweepStatus:
    """Train what a plan has left to do.

    Args:
        whole: from :func:`open_plan`.
        root: the results folder; made if need be.
        console: is told of the progress.
        options: what of it to train, from which data, and where; by default all.
        scheduler: runs the trials; by default Ray. In this process, without Ray:
            :class:`rdbench.trial.serial.SerialScheduler`.

    Returns:
        How the plan's trials stand afterwards.

    Raises:
        DatasetError: the data is not there, or too small for the sweep.
        ResultsError: another driver is at work in the results folder.
        SpecError: a metric, a precision or a tracker cannot be had here, or a variant cannot be imported.
        StorageError: the results folder cannot be read or written.
        ClusterError: a cluster cannot be joined, has no room for a trial, or Ray dies again and again.
    """
    refuse(whole.sweep.track, root)
    say = functools.partial(_say, console)
    with contextlib.ExitStack() as held:
        try:
            lease = held.enter_context(Lease(root, "rdbench sweep", say))
        except StorageError as error:
            if whole.todo:
                raise
            say(f"nothing is left to do, and nothing was written: {error}")
            return account(root, whole)
        for line in set_aside(root):
            say(line)
        # Planned again now that nobody else is at work here.
        whole = planned(root, whole.sweep, whole)
        return _run(whole, root, console, options or RunOptions(), scheduler, lease)


def track_report(sweep: Sweep, root: Place, say: Callable[[str], None]) -> None:
    """Give the report that was written in a results folder to the trackers of its sweep."""
    page = Path(str(root)) / "report.html"
    if not sweep.track or not page.exists():  # without the extra that draws it there is none
        return
    tracking = Tracking(sweep.track, root, sweep.name, functools.partial(trial_name_in, sweep), say)
    tracking.report(page)
    tracking.close()


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _run(
    whole: Plan,
    root: Place,
    console: Console,
    options: RunOptions,
    scheduler: Scheduler | None,
    lease: Lease,
) -> SweepStatus:
    sweep, job, folder = whole.sweep, Job(root.resolve(), run=uuid.uuid4().hex[:8]), ResultsFolder(root)
    if whole.todo[: options.limit]:
        whole, job = _prepared(whole, root, job, console, options)
    folder.save_sweep(sweep)
    name = functools.partial(trial_name_in, sweep)
    tracking = Tracking(sweep.track, root, sweep.name, name, functools.partial(_say, console))
    todo, search, interrupted = whole.todo[: options.limit], None, False
    if sweep.search is not None:
        finished = functools.partial(folder.finished, whole.sweep)
        search = SearchRun(whole.sweep, root, finished, job.run, options.limit)
        todo = search.next() if todo else []
    if todo:
        from rdbench.tune.supervisor import RayScheduler
        from rdbench.vae import checkpoints, metric_states

        scheduler = scheduler or RayScheduler(options.address, options.concurrency)
        # Of a search more may end in this run than its first batch.
        total = len(todo) if whole.at_most is None else min(whole.at_most, options.limit or whole.at_most)
        with SweepProgress(total, console, name, on_ended=tracking.tell) as progress:
            usage = scheduler.run(todo, job, progress, lease, search)
        # Of those that were stopped early the checkpoints stay: they may yet be trained to their end.
        finished_trials = folder.finished(sweep.model_copy(update={"stop": None}))
        checkpoints.tidy(root, finished_trials)
        metric_states.discard(root, finished_trials, sweep.metrics)
        if usage.working:
            _say(console, usage_line(usage.share, usage.working, usage.starting))
        interrupted = usage.stopped if search else progress.finished < len(todo)
    for line in search.account() if search else []:
        _say(console, line)
    after = planned(root, whole.sweep, whole)
    for trial in after.trials:
        if trial.id in after.done:
            tracking.tell(trial)  # of those that were missed too
    tracking.close()
    # A search may have come to its end all the same.
    return replace(account(root, after, sweep), interrupted=interrupted and bool(after.todo))


def _prepared(whole: Plan, root: Place, job: Job, console: Console, options: RunOptions) -> tuple[Plan, Job]:
    """Load the data and refuse what cannot end well; return the plan of what can be measured, and its job."""
    sweep, todo = whole.sweep, whole.todo[: options.limit]
    with preparing(console, sweep.dataset.name) as progress:
        data = datasets.load(sweep.dataset, paths.chosen_data_root(options.data), progress)
    sources = preflight.runnable(sweep)
    preflight.check_sizes(sweep, todo, data)
    preflight.check_models(todo, data)
    preflight.check_same_data(root, data)
    metrics, left_out = preflight.measurable(sweep, data, options.allow_missing_metrics, open_weights=True)
    if left_out:
        whole = planned(root, sweep.model_copy(update={"metrics": metrics}), whole)
    for line in [*left_out, *preflight.data_lines(data, sweep.train.augment)]:
        _say(console, line)
    return whole, replace(
        job,
        data_root=options.data and paths.data_root(options.data),
        data_checksum=data.checksum,
        outputs=Outputs(metrics, sweep.keep_per_image, sweep.keep_weights),
        resources=sweep.resources,
        sources=sources,
        stop=sweep.stop,
    )
