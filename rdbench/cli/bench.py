"""The verb ``bench``."""

import json
from typing import Annotated

import typer
from typer import Option

from rdbench.cli.options import AsJson, Device, Overrides, Spec

Pack = Annotated[
    list[int] | None,
    Option(min=1, help="Trials trained side by side; repeat to compare. Default: 1; on a GPU 1 to 16."),
]
Workers = Annotated[
    int | None, Option(min=1, help="rdbench's processes; default: one a core, on a GPU one.", metavar="N")
]


def bench(
    spec: Spec,
    pack: Pack = None,
    device: Device = "auto",
    steps: Annotated[int, Option(min=1, help="Training steps in a repetition.")] = 10,
    repetitions: Annotated[int, Option(min=1, help="Repetitions of each; medians are shown.")] = 5,
    workers: Workers = None,
    as_json: AsJson = False,
    set_: Overrides = None,
) -> None:
    """Measure how fast this machine trains a sweep's models.

    rdbench and a plain PyTorch loop train in turns on synthetic images of the dataset's shape. The speeds are
    saved: 'rdbench sweep SPEC --dry-run' estimates from them how long the sweep will take.

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
