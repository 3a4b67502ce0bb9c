"""The verb ``doctor``, which examines this machine."""

from typing import Annotated

import typer
from typer import Option

from rdbench.cli.options import DataRoot, Overrides, PerhapsSpec

EXIT_PROBLEM = 1

ResultsOption = Annotated[
    str | None,
    Option(help="Results folder or address; default: that of the sweep, or results.", metavar="DIR"),
]
StartRay = Annotated[bool, Option("--ray", help="Also try to start Ray on this machine; takes some seconds.")]


def doctor(
    spec: PerhapsSpec = None,
    data: DataRoot = None,
    results: ResultsOption = None,
    set_: Overrides = None,
    ray: StartRay = False,
) -> None:
    """Check this machine: what a sweep will have here, what is wrong, and how to fix it.

    Checks versions, cores, GPUs, memory, limits, disk space, permissions, data, weights, results, Ray and
    environment variables; with SPEC, also what that sweep needs. Downloads, prepares and changes nothing.

    Exit code 1: a check found a problem.

    Examples:

      rdbench doctor

      rdbench doctor sweeps/mnist_table1.yaml --data ~/data --ray

      rdbench doctor --results s3://bucket/prefix
    """
    from rdbench.commands import doctor as checks

    findings = []
    for finding in checks.examine(spec, data, results, set_ or [], start_ray=ray):
        findings.append(finding)
        typer.echo(checks.line(finding))
    typer.echo("\n".join(checks.summary(findings)))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(EXIT_PROBLEM)
