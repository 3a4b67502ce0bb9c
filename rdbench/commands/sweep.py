"""The sweep verb: what is left to do, the guard on the results folder, the run, and its account."""

import contextlib
import functools
import uuid
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from rdbench import datasets
from rdbench.commands import preflight
from rdbench.commands.plan import Account, _finished, _planned, account
from rdbench.commands.preflight import _check_same_data, _say_data
from rdbench.errors import StorageError
from rdbench.results.lease import Lease
from rdbench.results.repair import set_aside
from rdbench.results.spec_file import save_sweep
from rdbench.search.running import Searching
from rdbench.spec.naming import named
from rdbench.spec.plan import Plan
from rdbench.storage import paths
from rdbench.storage.places import Place
from rdbench.tune.progress import SweepProgress, preparing, usage_line


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
        for line in set_aside(root):
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
        from rdbench.trial.job import Job
        from rdbench.tune import supervisor
        from rdbench.vae import checkpoints

        sources = preflight.runnable(sweep)
        preflight.check_sizes(sweep, todo, data)
        preflight.check_models(todo, data)
        _check_same_data(root, data)
        here, left_out = preflight.measurable(sweep, data, allow_missing_metrics, open_weights=True)
        for line in left_out:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if left_out:
            asked = sweep.model_copy(update={"metrics": here})
            whole = _planned(root, asked)
            todo = whole.todo[:limit]
        _say_data(console, data, sweep.train.augment)
    save_sweep(root, sweep)
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
        checkpoints.tidy(root, _finished(root, sweep.model_copy(update={"stop": None})))
        if usage.working:
            console.print(usage_line(usage.share, usage.working, usage.starting), highlight=False)
        interrupted = usage.stopped if search else progress.finished < len(todo)
    for line in search.account() if search else []:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    after = _planned(root, asked)
    ended = account(root, after, sweep)
    # A search may have come to its end all the same.
    return replace(ended, interrupted=interrupted and bool(after.todo))
