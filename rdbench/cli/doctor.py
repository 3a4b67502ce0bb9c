"""The verb that looks at this machine; no logic."""

from typing import Annotated

import typer

from rdbench.cli.options import DataRoot, Overrides, PerhapsSpec

EXIT_PROBLEM = 1


def doctor(
    spec: PerhapsSpec = None,
    data: DataRoot = None,
    results: Annotated[
        str | None,
        typer.Option(
            help="A results folder or its address; by default the sweep's, or results.", metavar="DIR"
        ),
    ] = None,
    set_: Overrides = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Start Ray on this machine to see that it can; takes some seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")] = False,
) -> None:
    """Look at this machine: what a sweep will find here, what is wrong, and how to mend it.

    Versions, cores, GPUs, memory, limits, room, rights, data, weights, results, Ray, environment variables;
    with SPEC, also what that sweep needs.
    Nothing is downloaded, prepared or changed. Exit code 1: something is a problem.

    Examples:

      rdbench doctor

      rdbench doctor sweeps/mnist_table1.yaml --data ~/data --ray

      rdbench doctor --results s3://bucket/prefix
    """
    import json
    import shutil
    import sys

    from rdbench.commands import doctor as ward

    found = list(ward.examine(spec, data, results, set_ or [], start_ray=ray))
    if as_json:
        typer.echo(json.dumps(ward.to_json(found), indent=1))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
        typer.echo(ward.table(found, width))
        for line in ward.summary(found):
            typer.echo(line)
    if any(each.state == "problem" for each in found):
        raise typer.Exit(EXIT_PROBLEM)
