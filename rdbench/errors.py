"""Errors that are the user's to mend: each message is one line that says what, where, and the mend."""


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
