"""What every chart of the report shares: its fields, its colours, its data, and how its specs are made.

The specs of a chart differ in fields, titles and domains only, and Altair takes a tenth of a second for each.
So a template (``templates.py``) holds ``$names`` for what differs, and :func:`fill` makes the specs of it.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rdbench.report.charts import label_placement
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.series import Key

# Okabe & Ito 2008, distinguishable for colour-blind readers. Without yellow, which does not show on white;
# with grey for black, which does not show on a dark page.
GREY = "#808080"  # for what belongs to no variant; it shows on a white and on a dark page
REFERENCE = "linear_coder"  # the variant that is drawn thin and grey, as what the others are held against
SHOWN = (
    "indexof(hidden, datum.member || datum.variant) < 0"  # a curve may be of another name than its variant
)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
# One more than the colours, so that the pairs repeat only after 56 variants.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
DIGITS = 7  # significant ones of a chart's data: an ELBO of -12,345 nats keeps its hundredths

Spec = dict[str, Any]
Rows = list[dict[str, Any]]
Values = Mapping[Key, Mapping[int, float]]  # (variant, beta) -> seed -> value, as those of a Series


@dataclass(frozen=True)
class Control:
    """A select on the page: ``label`` says what is chosen, ``options`` are (key, text), the default first."""

    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Switch:
    """A checkbox on the page, and a boolean parameter of every spec."""

    parameter: str
    label: str
    on: bool


@dataclass(frozen=True)
class Chart:
    """One chart, ready to embed.

    A view is a Vega-Lite spec. Its key holds an option of each control, joined by "/"; its ``description`` is
    its finding: one sentence made from the data, which is also its text for screen readers.
    """

    name: str  # the stem of its file in an export, unique within a section: "rate_distortion"
    title: str
    notes: tuple[str, ...]  # what is not in it, and why
    controls: tuple[Control, ...]
    switches: tuple[Switch, ...]
    views: dict[str, Spec]
    data: dict[str, Rows]  # of each named dataset of the specs
    caption: str = ""  # one short line under it: what it shows, and which way is better
    kind: Literal["", "search"] = ""  # "search": its views are different charts, all exported

    @property
    def first(self) -> str:
        """The key of the default view."""
        return "/".join(control.options[0][0] for control in self.controls)

    @property
    def finding(self) -> str:
        """The finding of the default view."""
        return str(self.views[self.first]["description"])


def is_reference(variant: str) -> bool:
    """Tell whether a variant's name, which options or a grid's settings may follow, is the reference's."""
    return variant == REFERENCE or variant.startswith((f"{REFERENCE} ", f"{REFERENCE},"))


def by_variant(variants: Sequence[str]) -> dict[str, Any]:
    """Return the values for legend, colours and shapes, alike in all charts of a section of ``variants``."""
    others = [name for name in variants if not is_reference(name)]
    looks = _families(others) or {
        name: (COLOURS[at % len(COLOURS)], SHAPES[at % len(SHAPES)]) for at, name in enumerate(others)
    }
    colours, shapes = zip(*(looks.get(name, (GREY, "circle")) for name in variants), strict=True)
    columns = 1 if max(map(len, variants)) > 18 else 3
    marks = {"$colours": [*colours], "$shapes": [*shapes]}
    return {"$variants": [*variants], "$columns": columns} | marks


def _families(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return a look for each name: families by colour, members by shape.

    A family is a variant with its options, else variants of one first word ("beta_vae", "beta_tc"). Empty
    where every name can have a colour, or where families or their members are too many for that.
    """
    if len(names) <= len(COLOURS):
        return {}
    for separators in (r"[ ,(]", r"[ ,(_]"):
        families: dict[str, list[str]] = {}
        for name in names:
            families.setdefault(re.split(separators, name)[0], []).append(name)
        if len(families) <= len(COLOURS) and max(map(len, families.values())) <= len(SHAPES):
            return {
                name: (colour, shape)
                for colour, members in zip(COLOURS, families.values(), strict=False)
                for name, shape in zip(members, SHAPES, strict=False)
            }
    return {}


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy of a template in which values stand for their names.

    Args:
        template: JSON. A text that is a name becomes the value, as does an expression that is one, where
            Altair takes no text; an item of a list that is the name of a list becomes that list's items; a
            name within a text becomes the value's text. Names are of the letters a to z.
        values: "$name" -> value. Values are not searched for names, so text from users stays as it is.

    Raises KeyError: the template holds a name without a value.
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
    return re.sub(r"\$[a-z]+", lambda name: str(values[name[0]]), template)


def rounded(value: float, digits: int = DIGITS) -> float:
    """Return a number with so many significant digits, whole where it is, which makes its JSON short."""
    near = float(f"{value:.{digits}g}")
    return int(near) if near.is_integer() and abs(near) < 1e15 else near


def wide(variants: Sequence[str], quantities: Mapping[str, Values]) -> tuple[Rows, Rows]:
    """Return the data of charts by (variant, beta): rows of means, and rows of seeds of points with several.

    A mean has variant, beta, ``key`` "<index of the variant>/<beta>" (which names the trial's pictures on the
    page), label, and of each quantity its mean, the ends ``_low`` and ``_high`` of its 95% interval and its
    number of seeds ``_n``, null where there is none. A seed has variant, beta, seed and the quantities. Both
    have ``signs``, which is empty: "≥ " or "≤ " by quantity, for those that are known as a bound only. No
    quantity may be named as another with "_low", "_high" or "_n" after it.
    """
    means: Rows = []
    seeds: Rows = []
    points = {point for values in quantities.values() for point in values}
    for variant, beta in sorted(points, key=lambda point: (variants.index(point[0]), point[1])):
        here = {name: values.get((variant, beta), {}) for name, values in quantities.items()}
        key, label = f"{variants.index(variant)}/{beta:.12g}", label_placement.short(beta)
        mean = {"variant": variant, "beta": beta, "key": key, "label": label, "signs": {}}
        for name, by_seed in here.items():
            mean |= _mean(name, [*by_seed.values()])
        means.append(mean)
        all_seeds = sorted({seed for by_seed in here.values() for seed in by_seed})
        for seed in all_seeds if len(all_seeds) > 1 else []:
            row = {name: rounded(here[name][seed]) if seed in here[name] else None for name in here}
            seeds.append({"variant": variant, "beta": beta, "seed": seed, "signs": {}} | row)
    return means, seeds


def _mean(name: str, values: Sequence[float]) -> dict[str, Any]:
    mean = low = high = None
    if (average := estimate(values)) is not None:
        mean = rounded(average.mean)
        if (half := average.half_width) is not None:
            low, high = rounded(average.mean - half), rounded(average.mean + half)
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": average.n if average else 0}
