"""The command line: verbs and their options; no logic.

Those of ``rdbench data`` are in ``cli_data``, those that only read results in ``cli_report``, those about a
single trial in ``cli_trial``; what several verbs take is in ``cli_options``.
"""

import sys
from typing import Annotated

import typer

from rdbench import __version__
from rdbench.cli import streams
from rdbench.cli.data import data_app
from rdbench.cli.doctor import doctor
from rdbench.cli.listing import list_variants
from rdbench.cli.report import report_app
from rdbench.cli.trial import sample, trial
from rdbench.cli.variants import check, new_app
from rdbench.errors import UserError
from rdbench.tune import signals

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


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    streams.prepare()
    signals.interrupt()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
