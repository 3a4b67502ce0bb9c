"""The verbs about a single trial: ``trial`` and ``sample``; no logic."""

from typing import Annotated

import typer

from rdbench.cli import streams
from rdbench.cli.options import DataRoot, Device, Overrides, Results, Spec

EXIT_NOT_DONE = 1


def trial(
    spec: Spec,
    variant: Annotated[
        str | None,
        typer.Option(help="As a sweep file would name it; by default the file's first.", metavar="VARIANT"),
    ] = None,
    beta: Annotated[float | None, typer.Option(help="By default the file's first.")] = None,
    seed: Annotated[int | None, typer.Option(help="By default the file's first.")] = None,
    data: DataRoot = None,
    device: Device = "auto",
    set_: Overrides = None,
) -> None:
    """Run one trial of a sweep here and now: no Ray, nothing stored, every exception with its whole stack.

    For whoever writes a variant: breakpoint() stops where it stands. The numbers are those the sweep would
    store, but of a variant that one training gives the whole curve of, such as multi_rate: with --beta it
    trains for that beta alone. Exit code 0: done; 1: diverged, or a metric could not be measured.

    Examples:

      rdbench trial sweeps/quickstart.yaml --variant bs_vae --beta 1

      python -m pdb -m rdbench trial sweeps/quickstart.yaml --variant my_vae.py:my_vae --set train.epochs=1
    """
    from rdbench.commands import trial as foreground
    from rdbench.spec.sweep import load_sweep
    from rdbench.storage import paths

    chosen = {"variants": ("--variant", variant), "beta": ("--beta", beta), "seeds": ("--seed", seed)}
    written = {
        f"{key}=[{value}]": f"{option} {value}"
        for key, (option, value) in chosen.items()
        if value is not None
    }
    sweep = load_sweep(spec, [*(set_ or []), *written], written=written)
    if foreground.run(sweep, paths.chosen_data_root(data), device, typer.echo) != "done":
        raise typer.Exit(EXIT_NOT_DONE)


def sample(
    results: Results,
    trial: Annotated[
        str,
        typer.Argument(
            help="Its id or the beginning of it, or its name: 'bs_vae beta 1 seed 0'.", metavar="TRIAL"
        ),
    ],
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="How many images.")] = 64,
    out: Annotated[
        str, typer.Option(help="The PNG to write, - for standard output.", metavar="FILE")
    ] = "samples.png",
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    data: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Draw images from the prior of a trained network that a sweep with keep_weights: true has kept.

    A variant that came from a file runs from the copy in the results folder: use no folder of somebody whose
    code you would not run. The data it was trained on are not needed; --data is for results of an older
    rdbench, which may not say how many images there were.

    Example: rdbench sample results/kept 'bs_vae beta 1' --n 64 --out grid.png
    """
    from rdbench.commands import sample as samples
    from rdbench.storage import paths
    from rdbench.storage.outputs import is_standard_output, output
    from rdbench.storage.places import place

    target = output(out)
    if not is_standard_output(target):
        streams.go_on_without_output()
    draw = samples.Draw(n, seed, device)
    name = samples.sample(place(results), trial, target, paths.chosen_data_root(data), draw)
    typer.echo(f"{n} samples of {name} written to {out}", err=is_standard_output(target))
