"""The verb ``watch``: the report of a running sweep, in a browser."""

from typing import Annotated

import typer
from typer import Option

from rdbench.cli import streams
from rdbench.cli.options import Results
from rdbench.errors import ResultsError

Port = Annotated[int, Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.", metavar="PORT")]


def watch(results: Results, port: Port = 0) -> None:
    """Serve the report of a results folder while its sweep runs.

    Prints the address to open: only this machine can. It ends when the sweep is done, and on Ctrl-C; a sweep
    that runs goes on.

    Example: rdbench watch results/quickstart
    """
    from rdbench.errors import need

    need("report")
    from rdbench.commands.watch import serve
    from rdbench.storage.places import place

    streams.go_on_without_output()
    try:
        serve(place(results), typer.echo, port)
    except OSError as error:
        raise ResultsError(
            f"--port {port}: cannot be served ({error.strerror}); leave it out for a free port"
        ) from None
