"""The sweep verb: what is left to do, the guard on the results folder, the run, and its account."""

import json
import os
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from rdbench import datasets, metrics, store, variants
from rdbench.errors import ResultsError, SpecError
from rdbench.metrics import MetricOptions
from rdbench.plan import Plan, changed_settings, plan
from rdbench.progress import SweepProgress, preparing, usage_line
from rdbench.spec import Sweep, load_sweep
from rdbench.variants.source import find


@dataclass(frozen=True)
class Account:
    """How a sweep's trials stand after a run."""

    done: int
    diverged: int
    failed: int
    left: int
    lacking: int = 0  # of the done ones: a metric or a table that the sweep asks for
    interrupted: bool = False

    def __str__(self) -> str:
        lacking = f" ({self.lacking} of them without all that is asked for)" if self.lacking else ""
        counts = {"diverged": self.diverged, "failed": self.failed, "left to do": self.left}
        parts = [
            f"{self.done} done{lacking}",
            *(f"{count} {word}" for word, count in counts.items() if count),
        ]
        return ", ".join(parts)


def _finished(root: Path, sweep: Sweep) -> set[str]:
    """Return the ids of the trials that hold all that a sweep asks for."""
    needs = ["per_image"] if sweep.keep_per_image else []
    return store.finished(root, needs=needs, metrics=sweep.metrics, weights=sweep.keep_weights)


def open_plan(root: Path, sweep: Sweep) -> Plan:
    """Return the plan of a sweep, given what its results folder already holds.

    Raises:
        ResultsError: the folder holds trials of other settings, which one curve must not mix, or is
            something else's folder.
    """
    if (root / "sweep.yaml").exists():
        changes = changed_settings(load_sweep(root / "sweep.yaml", stored=True), sweep)
        if changes and store.trial_ids(root):
            raise ResultsError(
                f"{root} holds trials of other settings ({'; '.join(changes)}); one curve must not mix them:"
                " give this sweep another name or --results folder, or delete that one"
            )
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ResultsError(f"{root} is not a results folder and is not empty; give another --results folder")
    return plan(sweep, _finished(root, sweep))


def account(root: Path, whole: Plan) -> Account:
    """Count how the trials of a plan ended, from what the results folder holds."""
    trials = store.load_results(root).trials
    ours = trials[trials["trial"].isin([trial.id for trial in whole.trials])]
    counts = ours["status"].value_counts()
    done, diverged, failed = (int(counts.get(status, 0)) for status in ("done", "diverged", "failed"))
    lacking = set(ours.loc[ours["status"] == "done", "trial"]) - _finished(root, whole.sweep)
    return Account(done, diverged, failed, len(whole.trials) - done - diverged - failed, len(lacking))


def run_sweep(
    whole: Plan,
    root: Path,
    data_root: Path,
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
        data_root: where raw data lies.
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
        ResultsError: the results folder cannot be written.
        SpecError: a metric cannot be measured here.
    """
    sweep, todo = whole.sweep, whole.todo[:limit]
    if todo:
        with preparing(console, sweep.dataset.name) as progress_of_data:
            data = datasets.load(sweep.dataset, data_root, progress_of_data)
        from rdbench import tune
        from rdbench.trial import check_fits
        from rdbench.worker import Job

        sources = _runnable(sweep)
        check_fits(todo[0], data)
        _check_same_data(root, data)
        unmeasurable = missing_metrics(sweep, data)
        if unmeasurable and not allow_missing_metrics:
            mend = "or go on without it by --allow-missing-metrics"
            raise SpecError("; ".join(unmeasurable.values()) + f"; {mend}")
        if unmeasurable:
            here = tuple(asked for asked in sweep.metrics if asked not in unmeasurable)
            done = _finished(root, sweep.model_copy(update={"metrics": here}))
            todo = [trial for trial in whole.trials if trial.id not in done][:limit]
            for line in unmeasurable.values():
                console.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
        _say_data(console, data)
    try:
        store.save_sweep(root, sweep)
    except OSError as error:
        raise ResultsError(
            f"{root}: cannot be written ({error.strerror}); give another --results folder"
        ) from None
    interrupted = False
    if todo:
        job = Job(
            root.resolve(),
            data_root.resolve(),
            sweep.keep_per_image,
            sweep.resources.cpus,
            sweep.metrics,
            sweep.keep_weights,
            sources,
        )
        console.print("starting Ray", highlight=False)
        with SweepProgress(len(todo), console) as progress:
            usage = tune.run(todo, job, sweep.resources, progress, address=address, concurrency=concurrency)
        console.print(usage_line(usage.share, usage.working, usage.starting), highlight=False)
        interrupted = progress.finished < len(todo)
    return replace(account(root, whole), interrupted=interrupted)


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
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise SpecError(
                f"variants: {where} cannot be imported: line {last.lineno}: {type(error).__name__}: {error};"
                f" 'rdbench check {where}' looks closer"
            ) from None
        if variant.code and not (found := find(variant.source)).module:
            texts[variant.code] = found.text
    return texts


def missing_metrics(sweep: Sweep, data: datasets.Dataset) -> dict[MetricOptions, str]:
    """Return the metrics of a sweep that cannot be measured on this machine, each with reason and mend."""
    found = {}
    for asked in sweep.metrics:
        if reason := metrics.get(asked.name).missing(asked, data, sweep.protocol):
            found[asked] = f"metrics: {asked.name}: {reason}"
    return found


def _check_same_data(root: Path, data: datasets.Dataset) -> None:
    """Refuse to train on other data than the trials that are there: one curve must not mix them."""
    if not store.trial_ids(root):
        return
    before = set(store.load_results(root).trials["dataset_checksum"].dropna())
    if before - {data.checksum}:
        raise ResultsError(
            f"{root} holds trials of other data: the files of dataset {data.name} have changed since"
            " (their checksum differs); give this sweep another --results folder"
        )


def _say_data(console: Console, data: datasets.Dataset) -> None:
    train, test = len(data.train.images), len(data.test.images)
    shape = "x".join(map(str, data.shape))
    skipped = f", {len(data.skipped)} files skipped" if data.skipped else ""
    line = f"{data.name}: {train:,} training and {test:,} test images, {shape}{skipped}"
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


def status_lines(root: Path) -> list[str]:
    """Return how the trials of a results folder stand, with a line for each that did not end well."""
    results = store.load_results(root)
    whole = plan(results.sweep, _finished(root, results.sweep))
    lines = [whole.summary(), f"{account(root, whole)} in {root}"]
    planned = results.trials["trial"].isin([trial.id for trial in whole.trials])
    for row in results.trials[planned & (results.trials["status"] != "done")].itertuples():
        reason = str(row.error).strip().splitlines()[-1]
        lines.append(f"{row.status}: {row.variant} beta {row.beta:g} seed {row.seed}: {reason}")
    if others := int((~planned).sum()):
        noun = "trial" if others == 1 else "trials"
        lines.append(
            f"{others} {noun} more, of variants, versions or betas that the sweep no longer asks for"
        )
    missing = results.metrics[results.metrics["value"].isna()]
    for row in missing.merge(results.trials, on="trial").itertuples():
        reason = json.loads(str(row.settings))["error"].strip().splitlines()[-1]
        lines.append(f"no {row.name}: {row.variant} beta {row.beta:g} seed {row.seed}: {reason}")
    return lines + [f"problem: {problem}" for problem in results.problems]
