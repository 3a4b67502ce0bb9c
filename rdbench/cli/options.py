"""Arguments and options that several verbs take: one declaration of each, so that they read the same."""

from pathlib import Path
from typing import Annotated

import typer

from rdbench.spec import sweep_files
from rdbench.storage import paths


def _names(incomplete: str) -> list[str]:
    """Complete the name of a sweep that ships, beside the files; where none begins so, the shell does it."""
    names = [name for name in sweep_files.shipped() if incomplete and name.startswith(incomplete)]
    files = [str(path) for path in Path().iterdir() if path.name.startswith(incomplete)] if names else []
    return sorted({*names, *files})


_SPEC = typer.Argument(
    help="The sweep: a file (YAML), '-' for standard input, or the name of one that ships, such as"
    " quickstart.",
    metavar="SPEC",
    autocompletion=_names,
)
# Text: a Path makes one slash of the two in an address.
Spec = Annotated[str, _SPEC]
PerhapsSpec = Annotated[str | None, _SPEC]
Results = Annotated[
    str, typer.Argument(help="A results folder, or its address: s3://bucket/prefix.", metavar="RESULTS")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data",
        parser=paths.local,
        help="Folder of the raw data; else RDBENCH_DATA, else the user's data folder.",
        metavar="DIR",
    ),
]
Device = Annotated[
    str, typer.Option(help="'cpu' or 'cuda'; by default the GPU if there is one.", metavar="DEVICE")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one value of the sweep: --set train.epochs=2 --set beta=[1,10]. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
