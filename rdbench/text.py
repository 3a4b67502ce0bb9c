"""Wording shared by all of rdbench."""

import difflib
from collections.abc import Sequence


def choose(value: object, known: Sequence[str], alike: float = 0.6) -> str:
    """Return how to fix a name that is not among ``known``: the closest one, else all of them.

    ``alike``: how similar two names must be for one to be taken for a typo of the other, 0 to 1.
    """
    close = difflib.get_close_matches(str(value), known, 1, alike)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 beta``, ``1,200 trials``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Return text without line breaks and control characters, for one line of a terminal or a file."""
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).split())


def in_words(error: BaseException) -> str:
    """Return an exception in a line: its type, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def shown(value: object) -> str:
    """Return the value of a setting as it would be typed: 0.01, 1, 100, 1e-05, [1, 2]."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time span in words: 42 s, 3 min 20 s, 5 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
