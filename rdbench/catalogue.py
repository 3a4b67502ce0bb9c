"""What a listing says of a metric or a variant: each option's default, as YAML, and its meaning.

The meanings are those of the docstring, so there is one text of each.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping

_SECTIONS = ("Args:", "Attributes:")
_ENTRY = re.compile(r" {4}(\w+): (.+)")


def meanings(docstring: str | None) -> dict[str, str]:
    """Return what the sections ``Args`` and ``Attributes`` of a docstring say of each name, in one line."""
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line[:1].strip():  # not indented: a section begins or ends
            inside = line in _SECTIONS
        elif inside and (entry := _ENTRY.fullmatch(line)):
            name = entry[1]
            found[name] = entry[2]
        elif inside and name and line.strip():
            found[name] += f" {line.strip()}"
    return {name: text.replace("``", "'") for name, text in found.items()}


def listed(
    name: str,
    summary: str,
    defaults: Mapping[str, object],
    told: Mapping[str, str],
    facts: Iterable[str] = (),
) -> list[str]:
    """Return the lines of one entry; the second is what a sweep file would say for the defaults.

    Args:
        name: of the metric or variant.
        summary: what it is.
        defaults: by option.
        told: the options' meanings.
        facts: what else there is to say of it.
    """
    options = "".join(f", {key}: {json.dumps(value)}" for key, value in defaults.items())
    more = "; ".join(filter(None, facts))
    return [
        f"{name}: {summary}",
        f"  {{name: {name}{options}}}" + (f"  [{more}]" if more else ""),
        *(f"    {key}: {told[key]}" for key in defaults if key in told),
    ]
