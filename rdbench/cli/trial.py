"""The verbs about a single trial: ``trial``; of its network ``sample``, ``compress`` and ``decompress``."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from rdbench.cli import streams
from rdbench.cli.options import DataRoot, Device, Overrides, Results, Spec
from rdbench.errors import need

EXIT_NOT_DONE = 1

Variant = Annotated[
    str | None, Option(help="As written in a sweep file; default: the file's first.", metavar="VARIANT")
]
TrialName = Annotated[
    str,
    Argument(help="Its id, the beginning of its id, or its name: 'bs_vae beta 1 seed 0'.", metavar="TRIAL"),
]
Step = Annotated[
    float,
    Option(min=0.01, max=100, help="Size of the grid's steps, in posterior deviations; smaller: more bits."),
]


def trial(
    spec: Spec,
    variant: Variant = None,
    beta: Annotated[float | None, Option(help="Default: the file's first.")] = None,
    seed: Annotated[int | None, Option(help="Default: the file's first.")] = None,
    data: DataRoot = None,
    device: Device = "auto",
    set_: Overrides = None,
) -> None:
    """Run one trial in this process, with full tracebacks.

    Without Ray; nothing is stored. For debugging a variant: breakpoint() works. The numbers are those the
    sweep would store, except for a variant that one training gives the whole curve of, such as multi_rate:
    --beta trains that beta alone.

    Exit code 0: done; 1: diverged, or a metric could not be measured.

    Examples:

      rdbench trial sweeps/quickstart.yaml --variant bs_vae --beta 1

      python -m pdb -m rdbench trial sweeps/quickstart.yaml --variant my_vae.py:my_vae --set train.epochs=1
    """
    from rdbench.commands import trial as foreground
    from rdbench.spec.sweep import load_sweep
    from rdbench.storage import paths

    chosen = (("variants", "variant", variant), ("beta", "beta", beta), ("seeds", "seed", seed))
    written = {
        f"{key}=[{value}]": f"--{option} {value}" for key, option, value in chosen if value is not None
    }
    sweep = load_sweep(spec, [*(set_ or []), *written], written=written)
    if foreground.run(sweep, paths.chosen_data_root(data), device, typer.echo) != "done":
        raise typer.Exit(EXIT_NOT_DONE)


def sample(
    results: Results,
    trial: TrialName,
    n: Annotated[int, Option("--n", min=1, max=10_000, help="Number of images.")] = 64,
    out: Annotated[str, Option(help="The PNG file, - for standard output.", metavar="FILE")] = "samples.png",
    seed: Annotated[int, Option(help="Seed of the samples.")] = 0,
    data: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Draw images from the prior of a trained network.

    Its sweep has to have run with keep_weights: true. A variant from a file runs from the copy in the results
    folder: do not use a folder from somebody whose code you would not run. The training data are not needed;
    --data is for results of an older rdbench, which may not hold the number of training images.

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


def compress(
    results: Results,
    trial: TrialName,
    images: Annotated[str, Argument(help="Folder of images of the trial's size.", metavar="IMAGES")],
    out: Annotated[str, Argument(help="The file to write.", metavar="FILE")],
    step: Step = 1.0,
    data: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Code a folder of images into one file by a trained network.

    Its sweep has to have run with keep_weights: true. What comes out of decompress is the network's
    reconstruction, not the images themselves. The file needs the very same network, and a machine that
    computes it alike: it decodes to the same pixels, or is refused.

    Example: rdbench compress results/kept 'bs_vae beta 1' photos photos.rdb
    """
    need("metrics", "constriction")
    from rdbench.commands import compress as coder
    from rdbench.storage import paths
    from rdbench.storage.outputs import output
    from rdbench.storage.places import place

    root, target = place(results), output(out)
    done = coder.compress(root, trial, Path(images), target, paths.chosen_data_root(data), (step, device))
    typer.echo(done)


def decompress(
    results: Results,
    file: Annotated[str, Argument(help="What compress wrote.", metavar="FILE")],
    images: Annotated[str, Argument(help="The folder to write, new or empty.", metavar="IMAGES")],
    data: DataRoot = None,
    device: Device = "auto",
) -> None:
    """Decode a file that compress wrote into a folder of PNG images.

    Example: rdbench decompress results/kept photos.rdb again
    """
    need("metrics", "constriction")
    from rdbench.commands import compress as coder
    from rdbench.storage import paths
    from rdbench.storage.places import place

    root = place(results)
    typer.echo(coder.decompress(root, Path(file), Path(images), paths.chosen_data_root(data), device))
