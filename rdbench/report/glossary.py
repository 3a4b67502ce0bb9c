"""Terms that a reader may not know: what each means, and its mark in a page's prose.

``glossary.csv`` holds them: a term, other ways to write it (with ``|`` between), its meaning. The report
marks each term once in a section, where it first stands in prose: its meaning shows on hover, on focus and to
a screen reader. The documentation prints the list.
"""

import csv
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup, escape

FILE = Path(__file__).with_name("glossary.csv")
QUIET = ("a", "button", "code", "h1", "h2", "label", "option", "pre", "script", "select", "style", "summary",
         "svg", "textarea", "title", "dfn")  # fmt: skip
"""Elements whose text is no prose, or that take no further stop of the keyboard within."""
FOLDED = ("details",)
"""Elements that a reader has to open: a term is marked there only if it stands nowhere else."""

# A table is one token: of some pages it is most of the text.
_TOKEN = re.compile(r"<table\b.*?</table>|<(/?)([a-zA-Z][a-zA-Z0-9]*)[^>]*>|<!--.*?-->|[^<]+", re.DOTALL)


class Term(NamedTuple):
    """A term, the other ways to write it, and what it means: sentences of at most 25 words."""

    term: str
    also: tuple[str, ...]
    meaning: str


@functools.cache
def terms() -> tuple[Term, ...]:
    """Return all terms, in the order of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    return tuple(
        Term(row["term"], tuple(filter(None, row["also"].split("|"))), row["meaning"]) for row in rows
    )


@functools.cache
def _pattern() -> tuple[re.Pattern[str], dict[str, Term]]:
    """Return what finds a term in escaped text, the longest first, and the term of each way to write it.

    Small letters also find a capital at the start of a sentence; capitals find only themselves.
    """
    written = {str(escape(way)): term for term in terms() for way in (term.term, *term.also)}
    for way in [way for way in written if way[:1].islower() and len(way) > 1]:
        written.setdefault(way[:1].upper() + way[1:], written[way])
    ways = "|".join(re.escape(way) for way in sorted(written, key=len, reverse=True))
    return re.compile(rf"(?<![\w&#/^.-])(?:{ways})(?![\w^=-])"), written


def mark_terms(html: str) -> Markup:
    """Return HTML with each term marked once: where it first stands in prose, if need be in folded prose.

    Args:
        html: escaped, with every element closed.
    """
    pattern, written = _pattern()
    tokens = [*_TOKEN.finditer(html)]
    texts = [match[0] for match in tokens]
    places = _prose(tokens)
    marked: set[str] = set()
    for folded in (False, True):
        for place in (index for index, closed in places.items() if closed == folded):
            texts[place] = pattern.sub(_marker(written, marked), texts[place])
    return Markup("".join(texts))


def _prose(tokens: list[re.Match[str]]) -> dict[int, bool]:
    """Return which tokens are prose, and whether each is folded."""
    quiet = folded = 0
    places = {}
    for index, token in enumerate(tokens):
        name, step = (token[2] or "").lower(), -1 if token[1] else 1
        if name in QUIET:
            quiet += step
        elif name in FOLDED:
            folded += step
        elif not token[0].startswith("<") and not quiet:
            places[index] = folded > 0
    return places


def _marker(written: dict[str, Term], marked: set[str]) -> Callable[[re.Match[str]], str]:
    def mark(match: re.Match[str]) -> str:
        term = written[match[0]]
        if term.term in marked:
            return match[0]
        marked.add(term.term)
        return f'<dfn tabindex="0" title="{escape(term.meaning)}">{match[0]}</dfn>'

    return mark
