"""The command line: every verb under its name, and the one line that a user's mistake becomes."""

import sys
from typing import Annotated

import typer

from rdbench import __version__
from rdbench.cli import streams
from rdbench.cli.bench import bench
from rdbench.cli.data import data_app
from rdbench.cli.doctor import doctor
from rdbench.cli.listing import list_metrics, list_variants, weights
from rdbench.cli.report import compact, compare, report, status
from rdbench.cli.sweep import calibrate, evaluate, sweep
from rdbench.cli.trial import sample, trial
from rdbench.cli.variants import check, new_app
from rdbench.errors import UserError
from rdbench.trial import signals

app = typer.Typer(
    help="Rate-distortion sweeps of variational autoencoders: train, evaluate, store, report.",
    epilog="Start with: rdbench sweep sweeps/quickstart.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: with boxes around it, it takes three times as long to come
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which they are listed.
for verb in (
    sweep,
    status,
    report,
    compare,
    trial,
    sample,
    evaluate,
    check,
    bench,
    calibrate,
    compact,
    weights,
    doctor,
):
    app.command()(verb)
app.command("variants")(list_variants)
app.command("metrics")(list_metrics)
app.add_typer(data_app, name="data")
app.add_typer(new_app, name="new")


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


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    streams.prepare()
    signals.interrupt()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
