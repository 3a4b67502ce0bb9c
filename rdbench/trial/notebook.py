"""A console for notebooks: all its lines, and a bar, in one output of the cell, drawn anew as they come.

A terminal's live line would be as many outputs as it has states. IPython is there where a notebook is.
"""

import html
import importlib
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

LINES = 6
"""The last so many lines are shown; the others fold."""
LEAST_SECONDS = 0.5
"""Between two drawings, but for the last: a browser draws no faster than it is read."""


def in_a_notebook() -> bool:
    """Tell whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


@contextmanager
def told() -> Iterator[Console]:
    """Give a console for the progress of a run: of a notebook where this is one, else the terminal's."""
    if not in_a_notebook():
        yield Console()
        return
    console = NotebookConsole()
    try:
        yield console
    finally:
        console.finish()


class NotebookConsole(Console):
    """Lines that are printed, and how far a run is, in one output of the cell that first prints."""

    def __init__(self) -> None:
        self._written = _Written(self)
        super().__init__(file=self._written, force_jupyter=False, force_terminal=False, color_system=None)
        self._bar: tuple[float, str] | None = None
        self._handle: Any = None
        self._drawn = 0.0

    def progress(self, share: float, note: str) -> None:
        """Show what share of a run is done, and what there is to say of it."""
        self._bar = (share, note)
        self.draw()

    def finish(self) -> None:
        """Take the bar away, and draw the last state."""
        self._bar = None
        if self.lines:
            self.draw(last=True)

    def draw(self, last: bool = False) -> None:
        """Draw the lines and the bar, unless they were drawn a moment ago."""
        if not (last or time.monotonic() - self._drawn > LEAST_SECONDS):
            return
        bundle = {"text/plain": self._as_text(), "text/html": self._as_html()}
        if self._handle is None:
            self._handle = importlib.import_module("IPython.display").DisplayHandle()
            self._handle.display(bundle, raw=True)
        else:
            self._handle.update(bundle, raw=True)
        self._drawn = time.monotonic()

    @property
    def lines(self) -> list[str]:
        """The lines that were printed."""
        return self._written.getvalue().splitlines()

    def _as_text(self) -> str:
        shown = self.lines[-LINES:]
        folded = len(self.lines) - len(shown)
        bar = [self._bar[1]] if self._bar else []
        return "\n".join([*([f"({folded} lines before)"] if folded else []), *shown, *bar])

    def _as_html(self) -> str:
        shown, parts = self.lines[-LINES:], []
        if folded := self.lines[: -len(shown) or None]:
            parts.append(f"<details><summary>{len(folded)} lines before</summary>{_block(folded)}</details>")
        parts.append(_block(shown))
        if self._bar:
            share, note = self._bar
            parts.append(f'<progress value="{share:.3f}"></progress> {html.escape(note)}')
        return "".join(parts)


class _Written(io.StringIO):
    """The text of a console, which is drawn as it grows."""

    def __init__(self, owner: NotebookConsole) -> None:
        super().__init__()
        self._owner = owner

    def flush(self) -> None:
        """Draw: rich flushes after each line."""
        self._owner.draw()


def _block(lines: list[str]) -> str:
    return f'<pre style="margin: 0">{html.escape(chr(10).join(lines))}</pre>'
