"""Optuna's storage, in the results folder: its own journal format, written whole.

``optuna.journal`` is what Optuna's ``JournalFileBackend`` writes, an operation a line, and Optuna's own tools
open it. Two things differ in how it is written. Operations are collected in memory and the file is replaced
at once, under a temporary name and a rename (or by one PUT, where results lie in a bucket, which cannot
append): whoever is killed at any moment leaves the journal before or after, and no lock that another would
have to wait for. (One driver at a time is at work in a results folder.) And a last line that is torn
nevertheless, by a full disk or in a copy, is left out instead of being an error.
"""

import json
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from rdbench.errors import ResultsError
from rdbench.storage.places import Place, write_atomically

NAME = "optuna.journal"


class Journal(BaseJournalBackend):
    """The journal of a results folder, which need not exist yet."""

    def __init__(self, root: Place) -> None:
        self._file = root / NAME
        self._logs: list[dict[str, Any]] = []
        self._kept = 0
        content = self._file.read_bytes() if self._file.is_file() else b""
        lines = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                if line:
                    self._logs.append(json.loads(line))
            except ValueError:
                if number == len(lines):  # torn
                    break
                raise self.unreadable(f"line {number} is no line of Optuna's journal") from None
        self._kept = len(self._logs) if content.endswith(b"\n") else 0

    def unreadable(self, why: str) -> ResultsError:
        """Return the error that says why the journal cannot be read, and the mend."""
        return ResultsError(
            f"{self._file}: {why}; move it away together with search.json, and the search begins anew from"
            " the trials that are there"
        )

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the operations from one on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add operations, in memory."""
        self._logs += json.loads(json.dumps(logs))

    def keep(self) -> None:
        """Write the operations into the results folder.

        Raises:
            StorageError: the folder cannot be written.
        """
        if len(self._logs) != self._kept:
            lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in self._logs)
            write_atomically(self._file, "".join(lines).encode())
            self._kept = len(self._logs)
