"""Optuna's storage, in the results folder: its own journal format, written whole.

``optuna.journal`` is what Optuna's ``JournalFileBackend`` writes, an operation a line, and Optuna's own tools
open it. That backend does not serve: it appends, which a bucket cannot, and a driver that is killed leaves
its lock. Here operations are collected in memory and the file is replaced at once, so it is there as before
or as after. (One driver at a time is at work in a results folder.) And a last line that is torn nevertheless,
by a full disk or in a copy, is left out.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
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
        content = self._file.read_bytes() if self._file.is_file() else b""
        *lines, last = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._logs += [json.loads(line)] if line else []
            except ValueError:
                raise self.unreadable(f"line {number} is no line of Optuna's journal") from None
        with suppress(ValueError):  # torn
            self._logs += [json.loads(last)] if last else []
        self._kept = 0 if last else len(self._logs)

    def unreadable(self, why: str) -> ResultsError:
        """Return the error that says why the journal cannot be read, and the fix."""
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
        """Write the operations into the results folder, or raise StorageError."""
        if len(self._logs) != self._kept:
            lines = (json.dumps(log, separators=(",", ":")) + "\n" for log in self._logs)
            write_atomically(self._file, "".join(lines).encode())
            self._kept = len(self._logs)
