"""The verbs that code images by a trained network: ``compress`` and ``decompress``."""

from typing import Annotated

import typer
from typer import Argument, Option

from rdbench.cli.options import DataRoot, Device, Results
from rdbench.cli.trial import TrialName

Step = Annotated[
    float,
    Option(min=0.01, max=100, help="Size of the grid's steps, in posterior deviations; smaller: more bits."),
]


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
    from pathlib import Path

    from rdbench.errors import need

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
    from pathlib import Path

    from rdbench.errors import need

    need("metrics", "constriction")
    from rdbench.commands import compress as coder
    from rdbench.storage import paths
    from rdbench.storage.places import place

    root = place(results)
    typer.echo(coder.decompress(root, Path(file), Path(images), paths.chosen_data_root(data), device))
