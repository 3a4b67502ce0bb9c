"""YAML text to plain values that remember where they were written, so that an error can name its place.

The words of YAML 1.2 are read here, not YAML 1.1's: ``1e-4`` is a number, ``on`` and ``yes`` are text. Tags
are refused, so a file cannot name a Python object; anchors, aliases and merges (``<<: *base``) work; a key
may stand only once. Top-level keys that begin with ``x-`` are there to hold anchors, and are left out.

This reads ruamel's events, not the tree of its round-trip loader (``typ="rt"``), which was tried: its errors
(a key twice, an unknown alias, a wrong merge) name no key, it takes ``!!int 3`` for 3 without a trace of
the tag, 1_000 for a number and 2020-01-01 for a date, reads ``&a [*a]`` as ``[None]``, ends deep nesting in a
RecursionError, and takes 1.7 ms a file instead of 1.0. What would have to be checked again is most of this.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rdbench.errors import SpecError
from rdbench.spec.sweep_files import MAX_BYTES, find
from rdbench.storage.places import Remote

KeyPath = tuple[str | int, ...]

# Bounds no sweep file comes near; they stop an alias bomb.
MAX_DEPTH = 20
MAX_VALUES = 50_000

ANCHORS = "x-"  # how a top-level key begins that only holds anchors
_MERGE = "<<"

_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Place(NamedTuple):
    """Where a value was written; places sort as a reader meets them, files before overrides."""

    source: int  # 0 the file, 1 the first override, ...
    line: int
    text: str  # as an error names it: 'sweeps/x.yaml:7' or '--set train.epochs=2'


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML, and where each of its values was written."""

    data: dict[str, Any]
    places: Mapping[KeyPath, Place]
    overrides: int = 0

    def place(self, path: KeyPath) -> Place:
        """Return where ``path`` was written, or the nearest thing around it that was."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


def dotted(path: KeyPath) -> str:
    """Return a key path as messages write it: ``variants[1].name``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def error_at(place: str, path: KeyPath, problem: str) -> SpecError:
    """Return the one-line error of a problem; what the user wrote cannot break the line."""
    message = ": ".join(part for part in (place, dotted(path), problem) if part)
    return SpecError("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


def read_document(path: Path | Remote) -> Document:
    """Read the YAML that :func:`rdbench.spec.sweep_files.find` finds at ``path``; it must hold one mapping.

    SpecError: it cannot be read, is not YAML, or holds something else.
    """
    source = path if isinstance(path, Remote) else find(path)
    name = str(source)
    try:
        with source.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error_at(name, (), "there is no such file; check the path") from None
    except IsADirectoryError:
        raise error_at(name, (), "is a folder; name a YAML file in it") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error_at(name, (), f"cannot be read: {reason}; check the path and its permissions") from None
    if len(raw) > MAX_BYTES:
        raise error_at(name, (), "is larger than 1 MB; name a sweep file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise error_at(f"{name}:{line}", (), "is not UTF-8 text; save the file as UTF-8") from None
    reader = _Reader(text, lambda line: Place(0, line, f"{name}:{line}"))
    data = reader.value
    if data is None:
        raise error_at(f"{name}:1", (), "the file is empty; write name, dataset, variants and beta")
    if not isinstance(data, dict):
        raise error_at(f"{name}:1", (), f"expected keys and values, got {kind(data)}; write 'name: ...'")
    data = {key: value for key, value in data.items() if not key.startswith(ANCHORS)}
    return Document(data, reader.places)


def override(document: Document, text: str, written: str = "") -> Document:
    """Return ``document`` with one value replaced, as ``train.epochs=2`` asks; the value is YAML.

    ``written`` is what the user wrote for it, for errors; by default ``--set`` and the text. SpecError: the
    text is not KEY=VALUE, the value is not YAML, or the key leads through a value.
    """
    source = document.overrides + 1
    written = written or f"--set {text}"
    place = Place(source, 0, written if len(written) <= 86 else f"{written[:83]}...")
    key, equals, value_text = text.partition("=")
    *steps, last = key.strip().split(".")
    path: KeyPath = (*steps, last)
    if not equals or not all(path):
        raise error_at(place.text, (), "expected KEY=VALUE, such as --set train.epochs=2")
    if key.strip().startswith(ANCHORS):
        why = "what repeats it was read already; set that instead, such as --set train.epochs=2"
        raise error_at(place.text, path, f"only holds anchors, and {why}")
    reader = _Reader(value_text, lambda line: place, path)
    places = {at: old for at, old in document.places.items() if at[: len(path)] != path} | reader.places
    data = holder = dict(document.data)
    for depth, step in enumerate(steps, start=1):
        inner = holder.get(step, {})
        if not isinstance(inner, dict):
            problem = f"holds {kind(inner)}, no keys; set it whole: {dotted(path[:depth])}=..."
            raise error_at(place.text, path[:depth], problem)
        if step not in holder:
            places[path[:depth]] = place
        holder[step] = dict(inner)
        holder = holder[step]
    holder[last] = reader.value
    return Document(data, places, source)


def kind(value: object) -> str:
    """Return a value as messages name it, short enough for one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


@dataclass(frozen=True)
class _Node:
    """A value and the line it was written on; lists hold nodes, mappings (line of the key, node)."""

    line: int
    value: Any


class _Reader:
    """Reads one YAML document into ``value`` and ``places``; raises SpecError."""

    def __init__(self, text: str, place: Callable[[int], Place], root: KeyPath = ()) -> None:
        # Slow to import (0.2 s), and only needed once there is a file to read.
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        self._place, self._root = place, root
        self._anchors: dict[str, _Node] = {}
        self._values = 0
        self.places: dict[KeyPath, Place] = {root: place(1)}
        try:
            self.value = self._plain(self._document(YAML(typ="safe", pure=True).parse(text)), root)
        except MarkedYAMLError as problem:
            # What is never closed is noticed at the end of the file; the place to fix is where it opens.
            lines = len(text.splitlines())
            marks = [mark.line + 1 for mark in (problem.problem_mark, problem.context_mark) if mark]
            line = next((mark for mark in marks if mark <= lines), max(lines, 1))
            what = problem.problem or problem.context or "it cannot be read"
            fix = "check the indentation, brackets and quotes there"
            if "\\t" in what:
                fix = f"write spaces for the tab, and {fix}"
            raise self._error(line, root, f"is not valid YAML: {what}; {fix}") from None
        except YAMLError as problem:  # the reader's own: a character YAML does not allow
            line = text.count("\n", 0, getattr(problem, "position", 0)) + 1
            raise self._error(line, root, "holds a character that YAML does not allow; remove it") from None

    def _error(self, line: int, path: KeyPath, problem: str) -> SpecError:
        return error_at(self._place(line).text, path, problem)

    def _check_size(self, line: int, path: KeyPath, values: int = 0) -> None:
        """Refuse deep nesting, and what aliases and merges blow up."""
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(line, path[:1], f"holds more than {MAX_VALUES:,} values; use fewer aliases")
        if len(path) > MAX_DEPTH:
            raise self._error(line, path[:3], f"is nested more than {MAX_DEPTH} levels deep; flatten it")

    def _document(self, events: Iterator[Any]) -> _Node:
        """Read the events of a stream that holds one document, or none."""
        node = None
        for start in (event for event in events if type(event).__name__ == "DocumentStartEvent"):
            if node:
                line = start.start_mark.line + 1
                raise self._error(line, self._root, "a second document starts here; keep one a file")
            node = self._node(next(events), events, self._root)
        return node or _Node(1, None)

    def _node(self, event: Any, events: Iterator[Any], path: KeyPath) -> _Node:
        """Read one value, whose first event is ``event``."""
        line = event.start_mark.line + 1
        what = type(event).__name__
        self._check_size(line, path)
        if what == "AliasEvent":
            if event.anchor not in self._anchors:
                fix = f"write &{event.anchor} on an earlier value"
                raise self._error(line, path, f"alias *{event.anchor} stands before its anchor ends; {fix}")
            return self._anchors[event.anchor]
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(line, path, f"YAML tags such as {tag} are refused; remove the tag")
        value: Any
        if what == "SequenceStartEvent":
            value = []
            while type(following := next(events)).__name__ != "SequenceEndEvent":
                value.append(self._node(following, events, (*path, len(value))))
        elif what == "MappingStartEvent":
            value = self._mapping(events, path)
        else:
            value = event.value if event.style else self._scalar(event.value, line, path)
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                raise self._error(line, path, "holds half a character (a lone surrogate); remove it")
        node = _Node(line, value)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, events: Iterator[Any], path: KeyPath) -> dict[str, tuple[int, _Node]]:
        """Read the rest of a mapping; what its own keys say goes before what it merges."""
        value: dict[str, tuple[int, _Node]] = {}
        merges = False
        while type(following := next(events)).__name__ != "MappingEndEvent":
            at = self._node(following, events, path)
            line, key = following.start_mark.line + 1, at.value
            if not isinstance(key, str):
                plain = key if not isinstance(key, list | dict) else type(key)()
                raise self._error(line, path, f"a key must be text, got {kind(plain)}; put it in quotes")
            if key in value:
                problem = f"the key stands on line {value[key][0]} too; remove one of them"
                raise self._error(line, (*path, key), problem)
            value[key] = (line, self._node(next(events), events, (*path, key)))
            merges = merges or (key == _MERGE and not getattr(following, "style", None))  # "<<" is a key
        return self._merged(*value.pop(_MERGE), path) | value if merges else value

    def _merged(self, line: int, node: _Node, path: KeyPath) -> dict[str, tuple[int, _Node]]:
        """Return the keys and values that a merge brings; the first of several mappings goes before."""
        merged: dict[str, tuple[int, _Node]] = {}
        for base in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(base.value, dict):
                usage = "write <<: *base, or <<: [*base, *other], with &base on an earlier mapping"
                problem = f"expected a mapping, got {kind(base.value)}; {usage}"
                raise self._error(line, (*path, _MERGE), problem)
            self._check_size(line, path, len(base.value))
            merged |= {key: entry for key, entry in base.value.items() if key not in merged}
        return merged

    def _scalar(self, text: str, line: int, path: KeyPath) -> Any:
        """Return the value of an unquoted word, by YAML 1.2's core schema."""
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            raise self._error(line, path, f"{text} is not a finite number; write a number")
        if _INTEGER.fullmatch(text) and len(text) <= 18:
            return int(text, 0) if text.startswith("0") and not text.isdigit() else int(text)
        if _INTEGER.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
            raise self._error(line, path, f"{kind(text)} is too large a number; write a smaller one")
        return float(text) if _FLOAT.fullmatch(text) else text

    def _plain(self, node: _Node, path: KeyPath) -> Any:
        """Return the plain value of a node and note the places within; aliases are expanded here."""
        self._check_size(node.line, path, values=1)
        if isinstance(node.value, list):
            for index, item in enumerate(node.value):
                self.places[*path, index] = self._place(item.line)
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node.value, dict):
            for key, (line, _) in node.value.items():
                self.places[*path, key] = self._place(line)
            return {key: self._plain(item, (*path, key)) for key, (_, item) in node.value.items()}
        return node.value
