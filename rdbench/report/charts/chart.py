"""What every chart of the report shares: its shape, its colours, its data, and how its specs are made.

The specs of a chart differ in fields, titles and domains only, and Altair takes a tenth of a second for each.
So Altair writes a template, in which ``$names`` stand for what differs, and :func:`fill` makes them of it.
"""

import contextlib
import copy
import functools
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rdbench.errors import StorageError
from rdbench.report.charts import label_placement
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.series import Key
from rdbench.storage.places import write_atomically

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe & Ito 2008, told apart by colour-blind readers. Yellow is left out, which does not show on white, and
grey stands in for black, which does not show on a dark page."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
"""One more than the colours, so that the pairs repeat only after 56 variants."""

DIGITS = 7
"""Significant digits of the numbers in a chart's data: an ELBO of -12,345 nats keeps its hundredths."""

Rows = list[dict[str, Any]]
Values = Mapping[Key, Mapping[int, float]]
"""(variant, beta) -> seed -> value, as in a :class:`rdbench.report.statistics.series.Series`."""


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
        kind: "search" of one that shows what a search tried; its views are different charts, and an export
            writes them all.
    """

    name: str
    title: str
    notes: tuple[str, ...]
    controls: tuple[Control, ...]
    switches: tuple[Switch, ...]
    views: dict[str, dict[str, Any]]
    data: dict[str, Rows]
    kind: Literal["", "search"] = ""

    @property
    def first(self) -> str:
        """The key of the view that is shown at first."""
        return "/".join(control.options[0][0] for control in self.controls)

    @property
    def finding(self) -> str:
        """What is to be seen in the first view."""
        return str(self.views[self.first]["description"])

    @property
    def pickable(self) -> bool:
        """Whether its points stand for trials that may have pictures: those have a ``key``."""
        return any("key" in row for row in self.data.get("means", [])[:1])


def look(variant: str, variants: Sequence[str]) -> tuple[str, str]:
    """Return (colour, shape) of a variant, the same in every chart; ``variants`` are all of its section."""
    place = variants.index(variant)
    return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]


def by_variant(variants: Sequence[str]) -> dict[str, Any]:
    """Return the values for a template that draws by :func:`encode_variant`."""
    looks = [look(variant, variants) for variant in variants]
    colours, shapes = ([each[place] for each in looks] for place in (0, 1))
    return {"$variants": list(variants), "$colours": colours, "$shapes": shapes}


def legend_columns(variants: Sequence[str]) -> int:
    """Return how many columns the legend of a drawn file has."""
    return 1 if max(map(len, variants)) > 18 else 3


@functools.cache
def template(draw: Callable[..., dict[str, Any]], *arguments: str | bool | int) -> dict[str, Any]:
    """Return a template, from the cache where it has been made before.

    Args:
        draw: writes it with Altair, which only it imports: a report made of kept templates starts without.
        arguments: for it.
    """
    from rdbench.storage import paths

    code = hashlib.sha256(importlib.metadata.version("altair").encode())
    for module in sorted(Path(__file__).parent.glob("*.py")):  # a template of other code is another one
        code.update(module.read_bytes())
    name = f"{draw.__module__.rpartition('.')[2]}{draw.__name__}"
    words = "-".join(map(str, (name, *arguments, code.hexdigest()[:16])))
    kept = paths.cache_root() / "report" / f"{words}.json"
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    os.environ.update(paths.home_variable())  # Altair is not imported without
    made = draw(*arguments)
    with contextlib.suppress(StorageError):  # a cache that cannot be written to costs time, not the report
        write_atomically(kept, json.dumps(made).encode())
    return made


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a template in which values stand for their names.

    Args:
        template: JSON. A text that is a name becomes the value, as does an expression that is one, where
            Altair takes no text; an item of a list that is the name of a list becomes that list's items; a
            name within a text becomes the value's text. Names are of the letters a to z.
        values: "$name" -> value. Values are not searched for names, so text from users stays as it is.

    Raises:
        KeyError: the template holds a name without a value.
    """
    if isinstance(template, dict):
        if template.keys() == {"expr"} and template["expr"] in values:
            return values[template["expr"]]
        return {key: fill(value, values) for key, value in template.items()}
    if isinstance(template, list):
        filled: list[Any] = []
        for item in template:
            value = fill(item, values)
            filled += value if isinstance(item, str) and isinstance(value, list) else [value]
        return filled
    if not isinstance(template, str) or "$" not in template:
        return template
    if re.fullmatch(r"\$[a-z]+", template):
        return copy.deepcopy(values[template])
    return re.sub(r"\$[a-z]+", lambda found: str(values[found[0]]), template)


def rounded(value: float, digits: int = DIGITS) -> float:
    """Return a number with so many significant digits, whole where it is, which makes its JSON short."""
    near = float(f"{value:.{digits}g}")
    return int(near) if near.is_integer() and abs(near) < 1e15 else near


def wide(variants: Sequence[str], quantities: Mapping[str, Values]) -> tuple[Rows, Rows]:
    """Return the data of charts by (variant, beta): one row a point, with every quantity.

    Args:
        variants: all variants of the section, in order.
        quantities: name -> its values; no name may be that of another with "_low", "_high" or "_n" after it.

    Returns:
        (rows of means: variant, beta, ``key`` "<place of the variant>/<beta>", which names the trial's
        pictures on the page, label, and of each quantity its mean, the ends ``_low`` and ``_high`` of its 95%
        interval and its number of seeds ``_n``, null where there is none;
        rows of seeds, of points with several: variant, beta, seed and the quantities).
    """
    keys = {key for values in quantities.values() for key in values}
    means: Rows = []
    seeds: Rows = []
    for variant, beta in sorted(keys, key=lambda key: (variants.index(key[0]), key[1])):
        name = f"{variants.index(variant)}/{beta:.12g}"
        mean: dict[str, Any] = {
            "variant": variant,
            "beta": beta,
            "key": name,
            "label": label_placement.short(beta),
        }
        own = {quantity: values.get((variant, beta), {}) for quantity, values in quantities.items()}
        for quantity, by_seed in own.items():
            found = estimate(list(by_seed.values()))
            half = found.half_width if found else None
            mean[quantity] = rounded(found.mean) if found else None
            mean[f"{quantity}_low"] = rounded(found.mean - half) if found and half is not None else None
            mean[f"{quantity}_high"] = rounded(found.mean + half) if found and half is not None else None
            mean[f"{quantity}_n"] = found.n if found else 0
        means.append(mean)
        every = sorted({seed for by_seed in own.values() for seed in by_seed})
        for seed in every if len(every) > 1 else []:
            row: dict[str, Any] = {"variant": variant, "beta": beta, "seed": seed}
            for quantity, by_seed in own.items():
                row[quantity] = rounded(by_seed[seed]) if seed in by_seed else None
            seeds.append(row)
    return means, seeds
