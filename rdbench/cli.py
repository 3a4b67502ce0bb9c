"""The command line: verbs and their options; no logic.

Those of ``rdbench data`` are in ``cli_data``, those that only read results in ``cli_report``, those about a
single trial in ``cli_trial``; what several verbs take is in ``cli_options``.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rdbench import __version__, signals, streams
from rdbench.cli_data import data_app
from rdbench.cli_doctor import doctor
from rdbench.cli_options import DataRoot, Device, Overrides, Results, Spec
from rdbench.cli_report import report_app
from rdbench.cli_trial import sample, trial
from rdbench.cli_variants import check, list_variants, new_app
from rdbench.errors import UserError
from rdbench.paths import local

app = typer.Typer(
    help="Rate-distortion sweeps of variational autoencoders: train, evaluate, store, report.",
    epilog="Start with: rdbench sweep sweeps/quickstart.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: with boxes around it, it takes three times as long to come
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.add_typer(new_app, name="new")
app.command()(check)
app.command("variants")(list_variants)
app.add_typer(report_app)
app.command()(doctor)
app.command()(trial)
app.command()(sample)

EXIT_NOT_CALIBRATED = 1
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rdbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
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

    from rdbench.places import place
    from rdbench.spec import load_sweep
    from rdbench.sweep import default_results, open_plan, run_sweep

    if not dry_run:
        streams.go_on_without_output()
    wanted = load_sweep(spec, set_ or [])
    root = default_results(wanted) if results is None else place(results)
    whole = open_plan(root, wanted)
    console = Console()
    console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        from rdbench.beforehand import look_ahead
        from rdbench.estimate import time_left
        from rdbench.paths import chosen_data_root

        data_root = chosen_data_root(data)
        for line in look_ahead(whole, data_root, allow_missing_metrics):
            typer.echo(line)
        if estimate := time_left(whole, spec, set_ or [], data_root):
            typer.echo(estimate)
        return
    account = run_sweep(
        whole,
        root,
        data,
        console,
        limit=limit,
        address=address,
        concurrency=concurrency,
        allow_missing_metrics=allow_missing_metrics,
    )
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


@app.command()
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

    from rdbench import calibration
    from rdbench.places import place
    from rdbench.report import make_report
    from rdbench.spec import load_sweep
    from rdbench.store import load_results
    from rdbench.sweep import open_plan, run_sweep
    from rdbench.sweep_files import shipped_sweep

    streams.go_on_without_output()
    console, found = Console(), []
    sweeps = [load_sweep(shipped_sweep(name), set_ or []) for name in calibration.SWEEPS]
    folder = place(results)
    plans = {folder / wanted.name: open_plan(folder / wanted.name, wanted) for wanted in sweeps}
    for root, whole in plans.items():
        console.print(whole.summary(), highlight=False, markup=False, soft_wrap=True)
        account = run_sweep(whole, root, None, console, concurrency=concurrency)
        if account.interrupted:
            typer.echo("interrupted: run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED)
        found += calibration.calibrate(load_results(root))
    typer.echo(calibration.table(found))
    typer.echo(f"report written to {make_report(list(plans), folder / 'calibration.html')}")
    typer.echo(calibration.summary(found))
    if not calibration.is_calibrated(found):
        raise typer.Exit(EXIT_NOT_CALIBRATED)


@app.command()
def bench(
    spec: Spec,
    pack: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Trials side by side; repeat to compare. Default: 1, on a GPU also 2 to 64."
        ),
    ] = None,
    device: Device = "auto",
    steps: Annotated[int, typer.Option(min=1, help="Training steps of one repetition.")] = 10,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of each; medians are shown.")] = 5,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="rdbench's processes; by default one a core, on a GPU one.", metavar="N"),
    ] = None,
    orchestration: Annotated[
        int | None,
        typer.Option(min=1, help="Measure Ray instead: N trials that return at once.", metavar="N"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
    set_: Overrides = None,
) -> None:
    """Measure how fast this machine trains a sweep's models, against a plain PyTorch loop.

    Both train on made-up images of the dataset's shape, in turns. The figures are kept, and the next
    'rdbench sweep SPEC --dry-run' tells how long the sweep will take.

    Examples:

      rdbench bench sweeps/mnist_table1.yaml --repetitions 10

      rdbench bench sweeps/celeba_rd.yaml --pack 1 --pack 16 --set train.precision=bf16

      rdbench bench sweeps/quickstart.yaml --orchestration 300
    """
    import json

    from rdbench import bench as benchmark
    from rdbench.errors import SpecError
    from rdbench.plan import packable, plan
    from rdbench.precision import resolve_device
    from rdbench.spec import load_sweep

    sweep = load_sweep(spec, set_ or []).model_copy(update={"search": None})
    trials = packable(plan(sweep).trials)
    if not trials:
        raise SpecError(f"{spec}: no variant of it is an objective, which is what the benchmark trains")
    trial = trials[0]
    if orchestration:
        from dataclasses import asdict

        from rdbench.orchestration import measure

        overhead = measure(trial, orchestration)
        typer.echo(json.dumps(asdict(overhead), indent=1) if as_json else str(overhead))
        return
    found = benchmark.run(
        trial,
        pack or benchmark.default_packs(device),
        resolve_device(device),
        steps=steps,
        repetitions=repetitions,
        workers=workers,
        say=lambda line: typer.echo(line, err=True),
    )
    benchmark.remember(trial, found)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else benchmark.table(found))


@app.command()
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
    from rdbench import afterwards, paths
    from rdbench.places import place
    from rdbench.store import stored_sweep

    streams.go_on_without_output()
    root = place(results)
    asked = stored_sweep(root, [f"metrics=[{', '.join(metrics)}]"] if metrics else []).metrics
    found = afterwards.evaluate(root, asked, paths.chosen_data_root(data), device, typer.echo)
    for line in found.failed:
        typer.echo(f"failed: {line}", err=True)
    typer.echo(f"{found} in {results}")
    if found.failed or (found.without_weights and not found.measured + found.already):
        raise typer.Exit(EXIT_SOME_FAILED)


@app.command("metrics")
def list_metrics() -> None:
    """List the proxy metrics a sweep file can name, with their options, defaults and what they mean.

    Example: rdbench sweep sweeps/quickstart.yaml --set 'metrics=[fd_classifier, {name: prdc, k: 3}]'
    """
    from rdbench import metrics
    from rdbench.catalogue import listed, meanings

    for name in metrics.names():
        found = metrics.get(name)
        defaults, told = found.options(name=name).settings(), meanings(found.options.__doc__)
        typer.echo("\n".join(listed(name, found.summary, defaults, told)))


@app.command()
def weights(
    file: Annotated[
        Path | None,
        typer.Option(
            help="A copy from elsewhere, for a machine without internet.", parser=local, metavar="FILE"
        ),
    ] = None,
) -> None:
    """Fetch the Inception weights that fid and kid need into the cache, and check their hashes.

    What is there already is not fetched again.

    Example: rdbench weights --file ~/inception-2015-12-05.pt
    """
    from rdbench.features import weights as inception_weights

    streams.go_on_without_output()
    if file is not None:
        typer.echo(f"installed {inception_weights.install(file)}")
        return
    for which in inception_weights.PUBLISHED:
        typer.echo(f"{which}: {inception_weights.download(which)}")


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    streams.prepare()
    signals.interrupt()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
