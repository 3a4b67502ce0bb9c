"""Errors that are the user's to mend: each message is one line that says what, where, and the mend.

And the words that such lines share.
"""

import difflib
from collections.abc import Sequence


def choose(value: object, known: Sequence[str], alike: float = 0.6) -> str:
    """Return the mend of a name that is not among ``known``: the closest one, else all of them.

    Args:
        value: what was given.
        known: the names there are.
        alike: how much of two names has to agree for one to be taken for a slip of the other, 0 to 1.
    """
    close = difflib.get_close_matches(str(value), known, 1, alike)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}"


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 beta``, ``1,200 trials``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class UserError(Exception):
    """A request that cannot be served as asked. The command line prints it without a traceback.

    Attributes:
        exit_code: 2 where the request has to change; 5 where the same request may do another time.
    """

    exit_code = 2


class SpecError(UserError):
    """A sweep file, or a ``--set`` override, that does not say a valid sweep."""


class DatasetError(UserError):
    """Data that is not there, is not what it should be, or cannot be prepared."""


class ResultsError(UserError):
    """A results folder that cannot be read, or that holds another sweep's trials."""


class StorageError(ResultsError):
    """Results that cannot be read or written just now: disk full, no permission, folder or network gone."""

    exit_code = 5


class ClusterError(UserError):
    """A Ray cluster that cannot be joined, is not fit for the sweep, or keeps dying."""


class RayDiedError(ClusterError):
    """Ray died again and again, or does not start."""

    exit_code = 5
