"""The verbs that train, ``sweep`` and ``calibrate``, and ``evaluate``, which measures afterwards."""

from typing import Annotated

import typer

from rdbench.cli import streams
from rdbench.cli.options import DataRoot, Device, Overrides, Results, Spec

EXIT_NOT_CALIBRATED = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130


def sweep(
    spec: Spec,
    results: Annotated[
        str | None,
        typer.Option(
            help="The sweep's own results folder, or its address: s3://bucket/prefix; by default"
            " results/<name>.",
            metavar="DIR",
        ),
    ] = None,
    data: DataRoot = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the plan and what is left to do, and refuse what cannot end well; train nothing.",
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Train at most N of the trials that are left.", metavar="N")
    ] = None,
    set_: Overrides = None,
    address: Annotated[
        str,
        typer.Option(
            help="A Ray cluster: 'auto' for the one this machine is a node of, HOST:PORT of its head from a"
            " node, ray://HOST:10001 from outside; 'local' starts Ray on this machine.",
            metavar="ADDR",
        ),
    ] = "local",
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time; by default as many as there are CPUs for.", metavar="N"),
    ] = None,
    allow_missing_metrics: Annotated[
        bool,
        typer.Option(
            "--allow-missing-metrics",
            help="Leave out, with the reason, metrics this machine cannot measure; accept those that fail.",
        ),
    ] = False,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Do not write the report at the end.")
    ] = False,
) -> None:
    """Train what a sweep file asks for and is not there yet, then write its report.

    Run it again after an interruption, or with more betas or seeds in the file: only what is missing is
    trained, and a trial that was under way goes on from its last checkpoint. Ctrl-C stops after checkpoints
    at the end of the running epochs, a second one at once; so do SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2. Exit
    code 0: finished (diverged trials are results); 3: some trials failed, or lack a metric that failed
    (--allow-missing-metrics accepts that); 2: the request was wrong; 5: storage or Ray failed, and the same
    command goes on; 130: interrupted.

    A metric that failed twice in the same way is not tried again: mend what the last lines tell, then name it
    to 'rdbench evaluate', or have the trials trained again with their networks kept: --set keep_weights=true.

    Examples:

      rdbench sweep quickstart

      rdbench sweep sweeps/mnist_table1.yaml --data ~/data --dry-run

      rdbench sweep sweeps/mnist_table1.yaml --set train.epochs=5 --set seeds=1 --results results/short
    """
    from rich.console import Console

    from rdbench.commands.plan import open_plan
    from rdbench.commands.status import default_results
    from rdbench.commands.sweep import run_sweep
    from rdbench.spec.sweep import load_sweep
    from rdbench.storage.places import place
    from rdbench.trial.scheduler import RunOptions

    if not dry_run:
        streams.go_on_without_output()
    wanted = load_sweep(spec, set_ or [])
    root = default_results(wanted) if results is None else place(results)
    whole = open_plan(root, wanted)
    console = Console()
    console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        from rdbench.commands.bench.estimate import time_left
        from rdbench.commands.preflight import look_ahead
        from rdbench.storage.paths import chosen_data_root

        data_root = chosen_data_root(data)
        for line in look_ahead(whole, data_root, allow_missing_metrics):
            typer.echo(line)
        if estimate := time_left(whole, spec, set_ or [], data_root):
            typer.echo(estimate)
        return
    options = RunOptions(data, limit, address, concurrency, allow_missing_metrics)
    account = run_sweep(whole, root, console, options)
    typer.echo(f"{account} in {root}")
    if account.interrupted:
        typer.echo("interrupted: run the same command again to go on")
        raise typer.Exit(EXIT_INTERRUPTED)
    if not no_report:
        from rdbench.report import make_report

        typer.echo(f"report written to {make_report([root], root / 'report.html')}")
    for line in account.what_is_missing(root):
        typer.echo(line)
    if account.failed or (account.failed_metrics and not allow_missing_metrics):
        raise typer.Exit(EXIT_SOME_FAILED)


def calibrate(
    results: Annotated[
        str,
        typer.Option(
            help="The folder, or address, that holds a results folder for each of the sweeps.", metavar="DIR"
        ),
    ] = "results",
    set_: Overrides = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time; by default as many as there are CPUs for.", metavar="N"),
    ] = None,
) -> None:
    """Check this harness against theory: train linear VAEs whose optimum is known, and compare.

    Runs the two sweeps gaussian_calibration that ship, about two minutes on two cores, and writes one report
    of both. Trials that are there are not trained again: after a change of the code, give a new DIR. Exit
    code 0: every point is within tolerance; 1: the harness is off.

    Example: rdbench calibrate --results results/before_release
    """
    from rich.console import Console

    from rdbench.commands.plan import open_plan
    from rdbench.commands.sweep import run_sweep
    from rdbench.report import calibration, make_report
    from rdbench.results.load import load_results
    from rdbench.spec.sweep import load_sweep
    from rdbench.spec.sweep_files import shipped_sweep
    from rdbench.storage.places import place
    from rdbench.trial.scheduler import RunOptions

    streams.go_on_without_output()
    console, found = Console(), []
    sweeps = [load_sweep(shipped_sweep(name), set_ or []) for name in calibration.SWEEPS]
    folder = place(results)
    plans = {folder / wanted.name: open_plan(folder / wanted.name, wanted) for wanted in sweeps}
    for root, whole in plans.items():
        console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
        account = run_sweep(whole, root, console, RunOptions(concurrency=concurrency))
        if account.interrupted:
            typer.echo("interrupted: run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED)
        found += calibration.calibrate(load_results(root))
    typer.echo(calibration.table(found))
    typer.echo(f"report written to {make_report(list(plans), folder / 'calibration.html')}")
    typer.echo(calibration.summary(found))
    if not calibration.is_calibrated(found):
        raise typer.Exit(EXIT_NOT_CALIBRATED)


def evaluate(
    results: Results,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric, as a sweep file would name it; repeatable. Default: those of the sweep.",
            metavar="METRIC",
        ),
    ] = None,
    data: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Measure metrics on the trained networks that a sweep with keep_weights: true has stored.

    Only what is missing is measured. Variants that came from files run from the copies in the results folder:
    evaluate no folder of somebody whose code you would not run. Exit code 3: a metric could not be measured
    for some trial, or no trial has its network.

    Examples:

      rdbench evaluate results/kept --metrics fd_classifier --metrics prdc

      rdbench evaluate results/kept --metrics '{name: fd_classifier, samples: 2000}'
    """
    from rdbench.commands import evaluate as afterwards
    from rdbench.results.spec_file import stored_sweep
    from rdbench.storage import paths
    from rdbench.storage.places import place

    streams.go_on_without_output()
    root = place(results)
    asked = stored_sweep(root, [f"metrics=[{', '.join(metrics)}]"] if metrics else []).metrics
    found = afterwards.evaluate(root, asked, paths.chosen_data_root(data), device, typer.echo)
    for line in found.failed:
        typer.echo(f"failed: {line}", err=True)
    typer.echo(f"{found} in {results}")
    if found.failed or (found.without_weights and not found.measured + found.already):
        raise typer.Exit(EXIT_SOME_FAILED)
