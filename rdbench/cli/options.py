"""Arguments and options that several verbs take: one declaration of each, so that they read the same."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from rdbench.spec import sweep_files
from rdbench.storage import paths


def _names(incomplete: str) -> list[str]:
    """Complete the name of a shipped sweep or a file; without a match the shell completes files itself."""
    names = [name for name in sweep_files.shipped() if incomplete and name.startswith(incomplete)]
    files = [str(path) for path in Path().iterdir() if path.name.startswith(incomplete)] if names else []
    return sorted({*names, *files})


_SPEC = Argument(
    help="The sweep: a YAML file, '-' for standard input, or the name of a shipped sweep such as quickstart.",
    metavar="SPEC",
    autocompletion=_names,
)
# Text: a Path makes one slash of the two in an address.
Spec = Annotated[str, _SPEC]
PerhapsSpec = Annotated[str | None, _SPEC]
Results = Annotated[
    str, Argument(help="A results folder or address (s3://bucket/prefix).", metavar="RESULTS")
]
DataRoot = Annotated[
    Path | None,
    Option(
        "--data",
        parser=paths.local,
        help="Folder of the raw data; default: RDBENCH_DATA, else your data folder.",
        metavar="DIR",
    ),
]
Device = Annotated[str, Option(help="'cpu' or 'cuda'; 'auto' is the GPU if there is one.", metavar="DEVICE")]
Overrides = Annotated[
    list[str] | None,
    Option(
        "--set",
        help="Override one value of the sweep: --set train.epochs=2 --set beta=[1,10]. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
Concurrency = Annotated[
    int | None, Option(min=1, help="Trials at a time; default: as many as the CPUs allow.", metavar="N")
]
