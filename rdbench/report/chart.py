"""What every chart of the report shares: its shape, its colours, and the settings of its Vega-Lite specs."""

from dataclasses import dataclass
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe & Ito 2008, told apart by colour-blind readers. Yellow is left out, which does not show on white, and
grey stands in for black, which does not show on a dark page."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
"""One more than the colours, so that the pairs repeat only after 56 variants."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Control:
    """A choice a reader has: a select on the page.

    Attributes:
        label: what is chosen: "vertical axis".
        options: (key, what the reader sees), the first is the one shown at first.
    """

    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Switch:
    """Something a reader turns on and off: a checkbox on the page, a boolean parameter of every spec."""

    parameter: str
    label: str
    on: bool


@dataclass(frozen=True)
class Chart:
    """One chart, ready to embed.

    Attributes:
        name: the stem of its file in an export, unique within a section: "rate_distortion".
        title: what it shows.
        notes: what is not in it, and why.
        controls: the choices; a view's key holds an option of each, joined by "/".
        switches: what can be turned on and off.
        views: key -> Vega-Lite spec. Its ``description`` says what is to be seen, in a sentence, from the
            data: the chart's finding, and its text for screen readers.
        data: the rows of each named dataset of the specs.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    controls: tuple[Control, ...]
    switches: tuple[Switch, ...]
    views: dict[str, dict[str, Any]]
    data: dict[str, Rows]

    @property
    def first(self) -> str:
        """The key of the view that is shown at first."""
        return "/".join(control.options[0][0] for control in self.controls)
