"""The command line: registers every verb; prints a user-facing error as one line."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from rdbench import __version__
from rdbench.cli import streams
from rdbench.cli.bench import bench
from rdbench.cli.data import data_app
from rdbench.cli.doctor import doctor
from rdbench.cli.listing import list_metrics, list_variants, weights
from rdbench.cli.report import compact, compare, report, status, watch
from rdbench.cli.sweep import calibrate, evaluate, sweep
from rdbench.cli.trial import compress, decompress, sample, trial
from rdbench.cli.variants import check, new
from rdbench.errors import UserError
from rdbench.trial import signals

app = typer.Typer(
    help="Rate-distortion sweeps of variational autoencoders: train, evaluate, store, report.",
    epilog="Start with: rdbench sweep quickstart",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: help with boxes takes three times as long
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "sweep": sweep, "status": status, "watch": watch, "report": report, "compare": compare, "trial": trial,
    "sample": sample, "compress": compress, "decompress": decompress, "evaluate": evaluate, "check": check,
    "new": new, "bench": bench, "calibrate": calibrate, "compact": compact, "weights": weights,
    "doctor": doctor, "variants": list_variants, "metrics": list_metrics,
}  # fmt: skip
"""By name, in the order in which ``--help`` lists them."""

for name, verb in VERBS.items():
    app.command(name)(verb)
app.add_typer(data_app, name="data")


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
    """Run the command line; a user-facing error is one line on standard error and exit code 2 or 5."""
    streams.prepare()
    signals.interrupt()
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
