"""Arguments and options that several verbs take: one declaration of each, so that they read the same."""

from pathlib import Path
from typing import Annotated

import typer

from rdbench import paths

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
