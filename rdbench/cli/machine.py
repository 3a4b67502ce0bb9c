"""The verbs about this machine: ``bench``, how fast it trains, and ``doctor``, what is wrong with it."""

import json
from typing import Annotated

import typer
from typer import Option

from rdbench.cli.options import DataRoot, Device, Overrides, PerhapsSpec, Spec

Pack = Annotated[
    list[int] | None,
    Option(min=1, help="Trials trained side by side; repeat to compare. Default: 1; on a GPU 1 to 16."),
]
Workers = Annotated[
    int | None, Option(min=1, help="rdbench's processes; default: one a core, on a GPU one.", metavar="N")
]
EXIT_PROBLEM = 1

ResultsOption = Annotated[
    str | None,
    Option(help="Results folder or address; default: that of the sweep, or results.", metavar="DIR"),
]


def bench(
    spec: Spec,
    pack: Pack = None,
    device: Device = "auto",
    steps: Annotated[int, Option(min=1, help="Training steps in a repetition.")] = 10,
    repetitions: Annotated[int, Option(min=1, help="Repetitions of each; medians are shown.")] = 5,
    workers: Workers = None,
    as_json: Annotated[bool, Option("--json", help="Write JSON to standard output.")] = False,
    set_: Overrides = None,
) -> None:
    """Measure how fast this machine trains a sweep's models, against a plain PyTorch loop.

    Both train in turns on synthetic images of the dataset's shape. The speeds are saved: 'rdbench sweep SPEC
    --dry-run' estimates from them how long the sweep will take.

    Examples:

      rdbench bench sweeps/mnist_table1.yaml --repetitions 10

      rdbench bench sweeps/celeba_rd.yaml --pack 1 --pack 16 --set train.precision=bf16
    """
    from rdbench.commands.bench import bench as benchmark
    from rdbench.errors import SpecError
    from rdbench.numerics.precision import resolve_device
    from rdbench.spec.plan import packable, plan
    from rdbench.spec.sweep import load_sweep

    sweep = load_sweep(spec, set_ or []).model_copy(update={"search": None})
    trials = packable(plan(sweep).trials)
    if not trials:
        raise SpecError(f"{spec}: no variant of it trains side by side, which is what the benchmark does")
    trial = trials[0]
    where, effort = resolve_device(device), benchmark.Effort(steps, repetitions, workers)
    packs = pack or ([1] if where == "cpu" else [2**power for power in range(5)])
    figures = benchmark.run(trial, packs, where, effort, lambda line: typer.echo(line, err=True))
    benchmark.remember(trial, figures)
    typer.echo(json.dumps(figures.to_json(), indent=1) if as_json else benchmark.table(figures))


def doctor(
    spec: PerhapsSpec = None,
    data: DataRoot = None,
    results: ResultsOption = None,
    set_: Overrides = None,
) -> None:
    """Check this machine: what a sweep will have here, what is wrong, and how to fix it.

    Checks versions, cores, GPUs, memory, limits, disk space, permissions, data, weights, results and
    environment variables; with SPEC, also what that sweep needs. Downloads, prepares and changes nothing.

    Exit code 1: a check found a problem.

    Examples:

      rdbench doctor

      rdbench doctor sweeps/mnist_table1.yaml --data ~/data

      rdbench doctor --results s3://bucket/prefix
    """
    from rdbench.commands import doctor as checks

    findings = []
    for finding in checks.examine(spec, data, results, set_ or []):
        findings.append(finding)
        typer.echo(checks.line(finding))
    typer.echo("\n".join(checks.summary(findings)))
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(EXIT_PROBLEM)
