"""Errors that are the user's to mend: each message is one line that says what, where, and the mend."""


class UserError(Exception):
    """A request that cannot be served as asked. The command line prints it without a traceback, exit 2."""


class SpecError(UserError):
    """A sweep file, or a ``--set`` override, that does not say a valid sweep."""


class DatasetError(UserError):
    """Data that is not there, is not what it should be, or cannot be prepared."""


class ResultsError(UserError):
    """A results folder that cannot be read, or that holds another sweep's trials."""
