"""The verbs ``sweep`` and ``calibrate``, which train, and ``evaluate``, which measures afterwards."""

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from rdbench.cli import streams
from rdbench.cli.options import Concurrency, DataRoot, Device, Overrides, Results, Spec
from rdbench.errors import MissingPackageError
from rdbench.report import make_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from rdbench.commands.plan import SweepStatus
    from rdbench.spec.plan import Plan
    from rdbench.storage.places import Place

EXIT_NOT_CALIBRATED = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130

ResultsOption = Annotated[
    str | None,
    Option(help="Results folder or address (s3://bucket/prefix); default: results/<name>.", metavar="DIR"),
]
DryRun = Annotated[
    bool, Option("--dry-run", help="Show the plan, what is left to do and what would fail; train nothing.")
]
Limit = Annotated[int | None, Option(min=1, help="Train at most N of the trials left to do.", metavar="N")]
Address = Annotated[
    str,
    Option(
        help="A Ray cluster: 'auto' for the one this machine is a node of, HOST:PORT of its head from a node,"
        " ray://HOST:10001 from outside; 'local' starts Ray on this machine.",
        metavar="ADDR",
    ),
]
AllowMissing = Annotated[
    bool,
    Option(
        "--allow-missing-metrics",
        help="Leave out, with the reason, metrics this machine cannot measure; accept those that fail.",
    ),
]
Track = Annotated[
    list[str] | None,
    Option(help="Show trials in tensorboard, mlflow, wandb or trackio, too. Repeatable.", metavar="NAME"),
]
NoReport = Annotated[bool, Option("--no-report", help="Do not write the report at the end.")]
CalibrationResults = Annotated[
    str, Option(help="Folder or address to hold a results folder for each of the sweeps.", metavar="DIR")
]
Metrics = Annotated[
    list[str] | None,
    Option(help="As written in a sweep file; default: those of the sweep. Repeatable.", metavar="METRIC"),
]


def sweep(
    spec: Spec,
    results: ResultsOption = None,
    data: DataRoot = None,
    dry_run: DryRun = False,
    limit: Limit = None,
    set_: Overrides = None,
    address: Address = "local",
    concurrency: Concurrency = None,
    allow_missing_metrics: AllowMissing = False,
    no_report: NoReport = False,
    track: Track = None,
) -> None:
    """Train what a sweep lacks, then write its report.

    Run it again after an interruption, or with more betas or seeds: finished trials are not retrained, others
    continue from their last checkpoint. Ctrl-C (or SIGTERM, SIGHUP, SIGUSR1, SIGUSR2) stops after checkpoints
    at the end of the running epochs; a second one stops at once.

    A metric that failed twice in the same way is not retried. Fix the cause shown in the last lines, then run
    'rdbench evaluate' with its name, or retrain with the networks kept: --set keep_weights=true.

    Exit code 0: finished (diverged trials are results); 2: invalid request; 3: trials or metrics failed
    (--allow-missing-metrics accepts the latter); 5: storage or Ray failed, run it again; 130: interrupted.

    Examples:

      rdbench sweep quickstart

      rdbench sweep sweeps/mnist_table1.yaml --data ~/data --dry-run

      rdbench sweep sweeps/mnist_table1.yaml --set train.epochs=5 --set seeds=1 --results results/short
    """
    from rich.console import Console

    from rdbench.commands.plan import open_plan
    from rdbench.commands.status import default_results
    from rdbench.commands.sweep import run_sweep, track_report
    from rdbench.spec.sweep import load_sweep
    from rdbench.storage.places import place
    from rdbench.trial.scheduler import RunOptions

    if not dry_run:
        streams.go_on_without_output()
    wanted = load_sweep(spec, [*(set_ or []), *_tracked(track)], written=_tracked(track))
    root = default_results(wanted) if results is None else place(results)
    whole, console = open_plan(root, wanted), Console()
    console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        _look_ahead(whole, root, spec, set_ or [], data, allow_missing_metrics)
        return
    if whole.todo:
        typer.echo(f"to watch it in a browser: rdbench watch {shlex.quote(str(root))}")
    options = RunOptions(data, limit, address, concurrency, allow_missing_metrics)
    account = run_sweep(whole, root, console, options)
    typer.echo(f"{account} in {root}")
    _exit_if_interrupted(account)
    _tell_results(root, account, no_report, functools.partial(track_report, wanted))
    if account.failed or (account.failed_metrics and not allow_missing_metrics):
        raise typer.Exit(EXIT_SOME_FAILED)


def _tracked(names: list[str] | None) -> dict[str, str]:
    """Return the override that --track stands for, with how the user wrote it; nothing for none."""
    return {f"track=[{', '.join(names)}]": f"--track {' --track '.join(names)}"} if names else {}


def _tell_results(
    root: "Place",
    account: "SweepStatus",
    no_report: bool,
    track: "Callable[[Place, Callable[[str], None]], None]",
) -> None:
    """Print a line a variant and a verdict, write the report, ``track`` it, and say what is missing."""
    from rdbench.commands.summary import summary_lines

    for line in summary_lines(root) if account.done else []:
        typer.echo(line)
    if not no_report:
        try:
            typer.echo(f"report written to {make_report([root], root / 'report.html')}")
        except MissingPackageError as error:  # the results are there, and a report can be had later
            typer.echo(f"no report: {error}, then 'rdbench report {root}'")
        track(root, typer.echo)
    for line in account.what_is_missing(root):
        typer.echo(line)


def _look_ahead(
    whole: "Plan",
    root: "Place",
    spec: str,
    overrides: list[str],
    data: Path | None,
    allow_missing_metrics: bool,
) -> None:
    """Print what a run of the plan would meet, and how long it would take."""
    from rdbench.commands.bench.estimate import time_left
    from rdbench.commands.preflight import look_ahead
    from rdbench.results.tracking import refuse
    from rdbench.storage.paths import chosen_data_root

    refuse(whole.sweep.track, root)
    data_root = chosen_data_root(data)
    for line in look_ahead(whole, data_root, allow_missing_metrics):
        typer.echo(line)
    if estimate := time_left(whole, spec, overrides, data_root):
        typer.echo(estimate)


def _exit_if_interrupted(account: "SweepStatus") -> None:
    if account.interrupted:
        typer.echo("interrupted: run the same command again to go on")
        raise typer.Exit(EXIT_INTERRUPTED)


def calibrate(
    results: CalibrationResults = "results", set_: Overrides = None, concurrency: Concurrency = None
) -> None:
    """Train linear VAEs whose optimum is known, and compare.

    Runs the two shipped gaussian_calibration sweeps (about two minutes on two cores) and writes one report of
    both. Finished trials are not retrained: after a change of the code, give a new DIR.

    Exit code 0: every point is within tolerance; 1: the harness is off.

    Example: rdbench calibrate --results results/before_release
    """
    from rich.console import Console

    from rdbench.commands.plan import open_plan
    from rdbench.commands.sweep import run_sweep
    from rdbench.report import calibration
    from rdbench.results.load import load_results
    from rdbench.spec.sweep import load_sweep
    from rdbench.spec.sweep_files import shipped_sweep
    from rdbench.storage.places import place
    from rdbench.trial.scheduler import RunOptions

    streams.go_on_without_output()
    console, points = Console(), []
    sweeps = [load_sweep(shipped_sweep(name), set_ or []) for name in calibration.SWEEPS]
    folder = place(results)
    plans = {folder / wanted.name: open_plan(folder / wanted.name, wanted) for wanted in sweeps}
    for root, whole in plans.items():
        console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
        account = run_sweep(whole, root, console, RunOptions(concurrency=concurrency))
        _exit_if_interrupted(account)
        points += calibration.calibrate(load_results(root))
    typer.echo(calibration.table(points))
    typer.echo(f"report written to {make_report(list(plans), folder / 'calibration.html')}")
    typer.echo(calibration.summary(points))
    if not calibration.is_calibrated(points):
        raise typer.Exit(EXIT_NOT_CALIBRATED)


def evaluate(
    results: Results, metrics: Metrics = None, data: DataRoot = None, device: Device = "auto"
) -> None:
    """Measure metrics on a sweep's trained networks afterwards.

    The sweep has to have run with keep_weights: true. Only missing values are measured. Variants from files
    run from the copies in the results folder: do not evaluate a folder from somebody whose code you would not
    run.

    Exit code 3: a metric could not be measured for some trial, or no trial has its network.

    Examples:

      rdbench evaluate results/kept --metrics fd_classifier --metrics prdc

      rdbench evaluate results/kept --metrics '{name: fd_classifier, samples: 2000}'
    """
    from rdbench.commands import evaluate as afterwards
    from rdbench.results.store import ResultsFolder
    from rdbench.storage import paths
    from rdbench.storage.places import place

    streams.go_on_without_output()
    root = place(results)
    asked = ResultsFolder(root).sweep([f"metrics=[{', '.join(metrics)}]"] if metrics else []).metrics
    measured = afterwards.evaluate(root, asked, paths.chosen_data_root(data), device, typer.echo)
    for line in measured.failed:
        typer.echo(f"failed: {line}", err=True)
    typer.echo(f"{measured} in {results}")
    if measured.failed or (measured.without_weights and not measured.measured + measured.already):
        raise typer.Exit(EXIT_SOME_FAILED)
