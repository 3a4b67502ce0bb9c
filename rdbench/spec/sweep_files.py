"""Which text a sweep is read from: a file, standard input, or a sweep that ships."""

import io
import sys
from pathlib import Path

from rdbench.errors import ResultsError, SpecError
from rdbench.text import choose

MAX_BYTES = 1_000_000
"""A bound no sweep comes near; it stops the reading of what is no sweep at all."""


class StandardInput:
    """What ``-`` stands for."""

    def __str__(self) -> str:
        """Return what errors call it."""
        return "standard input"

    def open(self, mode: str) -> io.BytesIO:
        """Read it, as far as a sweep may reach and one byte further.

        Raises:
            SpecError: nothing was piped in.
        """
        fix = "pipe a sweep file in, as in 'rdbench sweep - < sweep.yaml'"
        if sys.stdin is None or sys.stdin.closed:
            raise SpecError(f"{self}: is closed; {fix}")
        if sys.stdin.isatty():
            raise SpecError(f"{self}: is a terminal; {fix}")
        content = sys.stdin.buffer.read(MAX_BYTES + 1)
        if not content:
            raise SpecError(f"{self}: is empty; {fix}")
        return io.BytesIO(content)


def shipped() -> dict[str, Path]:
    """Return the sweeps that ship, by name: of the installed package, else of the checkout."""
    package = Path(__file__).parents[1]
    folders = (folder for folder in (package / "sweeps", package.parent / "sweeps") if folder.is_dir())
    return {path.stem: path for path in sorted(next(folders, package).glob("*.yaml"))}


def shipped_sweep(name: str) -> Path:
    """Return the file of a sweep that ships.

    Raises:
        ResultsError: it is not there.
    """
    if path := shipped().get(name):
        return path
    raise ResultsError(f"no sweep {name}.yaml came with this installation; install rdbench again")


def find(spec: Path) -> Path | StandardInput:
    """Return what a sweep is read from.

    Args:
        spec: ``-`` for standard input, a file, or a plain name: of a file here but for its ``.yaml``, or else
            of a sweep that ships.

    Raises:
        SpecError: no file and no sweep that ships has that name.
    """
    if spec == Path("-"):
        return StandardInput()
    name, known = str(spec), shipped()
    missing = f"{spec}: there is no such file"
    try:
        if not name.isprintable() or (spec.exists() and not (spec.is_dir() and name in known)):
            return spec
        here = {path.stem: path for path in Path().glob("*.yaml") if path.stem.isprintable()}
    except (OSError, ValueError):  # no name that a file can have, no right to look: reading it tells
        return spec
    if spec.name == name and not spec.suffix:
        if path := here.get(name, known.get(name)):
            return path
        fix = choose(name, [*known, *here])
        fix = fix if fix.endswith("?") else f"check the path, or {fix}"
        raise SpecError(f"{missing}, and no sweep of that name ships with rdbench; {fix}")
    if spec.stem in known:
        raise SpecError(f"{missing}; did you mean {spec.stem!r}, which ships with rdbench?")
    return spec
