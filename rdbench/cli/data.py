"""The verbs of ``rdbench data``: what there is, what is prepared, whether it is whole; no logic."""

from typing import Annotated

import typer

from rdbench.cli import streams
from rdbench.cli.options import DataRoot

data_app = typer.Typer(
    help="The datasets: what there is, what is prepared, whether it is whole.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

EXIT_DAMAGED = 1


@data_app.command("list")
def data_list(data: DataRoot = None) -> None:
    """List the datasets: which raw data are there, and what is prepared.

    Example: rdbench data list --data ~/data
    """
    from rdbench import datasets
    from rdbench.storage import paths

    for found in datasets.status(paths.data_root(data)):
        raw = {True: "raw data there", False: "raw data missing", None: "needs options"}[found.raw]
        typer.echo(f"{found.name:14} {found.summary}\n{'':14} training images: {found.augmentation}")
        typer.echo(f"{'':14} {raw}, {len(found.prepared)} prepared")
        for line in filter(None, [found.needs, *map(str, found.prepared)]):
            typer.echo(f"{'':14} {line}")


@data_app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="A dataset's name.", metavar="NAME")],
    data: DataRoot = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the dataset, e.g. --set path=photos.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Download a dataset where it can be, and prepare it for training.

    Examples:

      rdbench data prepare mnist --data ~/data

      rdbench data prepare folder --set path=~/photos --set size=32
    """
    from rich.console import Console

    from rdbench import datasets
    from rdbench.spec.fields import load_dataset_options
    from rdbench.storage import paths
    from rdbench.trial.progress import preparing

    streams.go_on_without_output()
    options = load_dataset_options(name, set_ or [])
    with preparing(Console(), name) as progress:
        folder = datasets.prepare(options, paths.chosen_data_root(data), progress)
    typer.echo(
        f"{name}: prepared in {folder}" if folder else f"{name}: nothing to prepare, it is made on the fly"
    )
    for remark in datasets.remarks(name, folder) if folder else ():
        typer.echo(f"  {remark}")


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="A dataset's name.", metavar="NAME")]) -> None:
    """Read every byte of what was prepared for a dataset and compare its checksums.

    Exit code 0: it is whole; 1: something is damaged.

    Example: rdbench data verify mnist
    """
    from rdbench import datasets

    checks = datasets.verify(name)
    for check in checks:
        typer.echo(check)
        for remark in datasets.remarks(name, check.folder):
            typer.echo(f"  {remark}")
    if not checks:
        typer.echo(f"{name}: nothing is prepared yet; run 'rdbench data prepare {name}'")
    if any(check.damage for check in checks):
        raise typer.Exit(EXIT_DAMAGED)
