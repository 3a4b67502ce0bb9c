"""One row of what ``rdbench doctor`` tells."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal


def gigabytes(size: float) -> str:
    """Return a number of bytes as people say it: ``3.1 GB``, ``64 MB``; powers of 1024."""
    for unit, scale in (("TB", 2**40), ("GB", 2**30)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 2**20:.0f} MB"


State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One row: ``what`` was looked at, what was ``found``, how that is, and the mend where it is not ok."""

    what: str
    found: str
    state: State = "ok"
    mend: str = ""


Check = Callable[[], Iterable[Finding]]
