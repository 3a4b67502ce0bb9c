"""The verbs of ``rdbench data``: list the datasets, prepare one, verify what was prepared."""

from typing import Annotated

import typer
from typer import Argument, Option

from rdbench.cli import streams
from rdbench.cli.options import DataRoot

data_app = typer.Typer(help="List, prepare, verify datasets.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, Argument(help="Name of a dataset.", metavar="NAME")]
Options = Annotated[
    list[str] | None,
    Option("--set", help="An option of the dataset: --set path=photos. Repeatable.", metavar="KEY=VALUE"),
]

EXIT_DAMAGED = 1


@data_app.command("list")
def data_list(data: DataRoot = None) -> None:
    """List the datasets, and say which are there and prepared.

    Example: rdbench data list --data ~/data
    """
    from rdbench import datasets
    from rdbench.storage import paths

    for dataset in datasets.status(paths.data_root(data)):
        raw = {True: "raw data there", False: "raw data missing", None: "needs options"}[dataset.raw]
        typer.echo(f"{dataset.name:14} {dataset.summary}")
        lines = [f"training images: {dataset.augmentation}", f"{raw}, {len(dataset.prepared)} prepared"]
        for line in filter(None, [*lines, dataset.needs, *map(str, dataset.prepared)]):
            typer.echo(f"{'':14} {line}")


@data_app.command("prepare")
def data_prepare(name: Name, data: DataRoot = None, set_: Options = None) -> None:
    """Prepare a dataset for training, downloaded if possible.

    Examples:

      rdbench data prepare mnist --data ~/data

      rdbench data prepare folder --set path=~/photos --set size=32

      rdbench data prepare ./my_data.py:rings --set count=5000
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
def data_verify(name: Name) -> None:
    """Read all prepared files of a dataset and compare their checksums.

    Exit code 0: intact; 1: a file is damaged.

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
