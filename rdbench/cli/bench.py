"""The verb ``bench``."""

from typing import Annotated

import typer

from rdbench.cli.options import Device, Overrides, Spec


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

    from rdbench.commands.bench import bench as benchmark
    from rdbench.errors import SpecError
    from rdbench.numerics.precision import resolve_device
    from rdbench.spec.plan import packable, plan
    from rdbench.spec.sweep import load_sweep

    sweep = load_sweep(spec, set_ or []).model_copy(update={"search": None})
    trials = packable(plan(sweep).trials)
    if not trials:
        raise SpecError(f"{spec}: no variant of it is an objective, which is what the benchmark trains")
    trial = trials[0]
    if orchestration:
        from dataclasses import asdict

        from rdbench.commands.bench.ray_overhead import measure

        overhead = measure(trial, orchestration)
        typer.echo(json.dumps(asdict(overhead), indent=1) if as_json else str(overhead))
        return
    figures = benchmark.run(
        trial,
        pack or benchmark.default_packs(device),
        resolve_device(device),
        benchmark.Effort(steps, repetitions, workers),
        say=lambda line: typer.echo(line, err=True),
    )
    benchmark.remember(trial, figures)
    typer.echo(json.dumps(figures.to_json(), indent=1) if as_json else benchmark.table(figures))
