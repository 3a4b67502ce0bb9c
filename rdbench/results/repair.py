"""Find files among the tables that cannot be read, and move them out of the way."""

from pathlib import Path

from rdbench.errors import ResultsError
from rdbench.results import parquet, table_files
from rdbench.results.parquet import TABLES
from rdbench.storage import places
from rdbench.storage.places import Place


def damaged(root: Place) -> table_files.Problems:
    """Return the files among the tables that cannot be read as such, and why.

    In a bucket, where no object is ever half written, only the tables that every report reads are checked.
    """
    problems: table_files.Problems = {}
    for table in TABLES if isinstance(root, Path) else ("points", "metrics", "trials"):
        table_files.Table(root / table).sound(problems)
        for name in places.entries(root / table):
            if not name.startswith(".") and not name.endswith(".parquet"):
                problems[root / table / name] = parquet.TableFileError("not a Parquet file")
    return problems


def set_aside(root: Place) -> list[str]:
    """Move files that cannot be read into ``set_aside/<table>/``; remove temporary files of dead writers.

    Only for the driver that holds the folder's lease.

    Returns:
        A line for each file that was moved: what, why, where to, and whether its trial runs again.

    Raises:
        ResultsError: a file was written by a newer rdbench.
    """
    lines = []
    for file, problem in damaged(root).items():
        if isinstance(problem, parquet.NewerFileError):
            raise ResultsError(f"{file}: {problem}, or give another --results folder")
        table = file.parent.name
        target = _free(root / "set_aside" / table, file.name)
        places.move(file, target)
        lines.append(f"set aside: {file} is now {target}: {problem}; {_consequence(table, file)}")
    for folder in (*TABLES, "resume", "checkpoints"):
        for name in places.entries(root / folder):
            if name.startswith(".") and name.endswith(".tmp"):
                (root / folder / name).unlink(missing_ok=True)
    return lines


def _consequence(table: str, file: Place) -> str:
    if file.suffix != ".parquet":
        return "no trial is concerned"
    many = table_files.generation(file.stem) != table_files.OWN
    who, runs = ("trials it held", "run") if many else ("trial of that name", "runs")
    if table in ("trials", "points"):
        return f"the {who} {runs} again"
    if table in ("metrics", "per_image"):
        return f"the {who} {runs} again where the sweep asks for its {table}"
    what = "pictures" if table == "images" else "training curves"
    return f"{what} are lost; remove trials/{file.stem}.parquet to have that trial run again"


def _free(folder: Place, name: str) -> Place:
    """Return an unused path in a folder, by the name or a numbered one."""
    taken, number, free = places.entries(folder), 1, name
    while free in taken:
        number, free = number + 1, f"{number + 1}-{name}"
    return folder / free
