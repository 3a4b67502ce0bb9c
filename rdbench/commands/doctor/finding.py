"""One line of ``rdbench doctor``."""

from dataclasses import dataclass, replace
from typing import Literal


def gigabytes(size: float) -> str:
    """Return a number of bytes as text: ``3.1 GB``, ``64 MB``; powers of 1024."""
    for unit, scale in (("TB", 2**40), ("GB", 2**30)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 2**20:.0f} MB"


State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line: ``what`` was checked, what was ``found``, how that is, and the fix where it is not ok."""

    what: str
    found: str
    state: State = "ok"
    fix: str = ""

    def graded(self, amount: float, *limits: tuple[float, State, str]) -> "Finding":
        """Return this finding with state and fix of the first limit that an amount is below, if any."""
        passed = ((state, fix) for limit, state, fix in limits if amount < limit)
        state, fix = next(passed, (self.state, self.fix))
        return replace(self, state=state, fix=fix)


def problem(what: str, error: object) -> Finding:
    """Return what a message of rdbench says: what is wrong; and the fix."""
    found, _, fix = str(error).partition("; ")
    return Finding(what, found, "problem", fix)
