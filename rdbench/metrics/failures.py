"""How often a metric failed, and in which way, as the ``settings`` of its row record it.

A metric that failed twice in the same way is not tried again unless the user asks for it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rdbench.metrics import stored

TRIES = 2  # failures in the same way after which a metric is given up


def is_failure(row: Mapping[str, Any]) -> bool:
    """Tell whether a row of the ``metrics`` table has no value, though one has a meaning for its variant."""
    return row["value"] is None and not stored.settings(row).get("undefined", False)


def reason(row: Mapping[str, Any]) -> str:
    """Return the last line of why a row of the ``metrics`` table has no value."""
    try:
        text = stored.settings(row)["error"]
    except (ValueError, TypeError, KeyError):  # a folder may come from anywhere
        text = ""
    return last_line(text)


def last_line(text: object) -> str:
    """Return the last line of an error's text, which of a traceback is the exception."""
    return ["no reason given", *str(text).strip().splitlines()][-1]


def way(error: str) -> str:
    """Return what two errors share that came about in the same way: figures and addresses may differ."""
    return re.sub(r"0x[0-9a-f]+|\d[\d.,]*", "#", error.strip().rpartition("\n")[2])


def added_up(
    rows: Iterable[Mapping[str, Any]], before: Callable[[], Iterable[Mapping[str, Any]]]
) -> list[Mapping[str, Any]]:
    """Return rows of the ``metrics`` table of one trial; a failure counts those in the same way before it.

    ``before`` returns the rows that they replace; it is called only if something failed.
    """
    rows = list(rows)
    failed = {i: settings for i, row in enumerate(rows) if "failures" in (settings := stored.settings(row))}
    if failed:
        known = {_identity(row): stored.settings(row).get("failures", 0) for row in before()}
        for i, settings in failed.items():
            total = settings["failures"] + known.get(_identity(rows[i]), 0)
            rows[i] = stored.with_setting(rows[i], "failures", total)
    return rows


def _identity(row: Mapping[str, Any]) -> str:
    """Return what was asked of a metric, and the way in which it failed."""
    settings = stored.settings(row)
    asked = {key: value for key, value in settings.items() if key not in ("error", "failures", "versions")}
    return json.dumps([row["name"], asked, way(str(settings.get("error", "")))], sort_keys=True)
