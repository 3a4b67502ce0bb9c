"""Gates: conditions on a comparison that fail a script when a change makes results worse.

A gate is ``<quantity> <operator> <number>``, of the quantities that ``rdbench compare --help`` explains. It
fails where its condition holds for any variant (and beta), and where its quantity could not be measured:
never in silence. It compares means over seeds, not intervals. What has no zero to be relative to takes no
``%``: ELBO, IWAE, PSNR, KID; nor does a rate that has collapsed.

BD-rate compares the best that each side reaches at any beta, so a point that got worse hides behind others
of its curve that are as good. Where the curves share less than three quarters of their qualities the gate
fails, as the change may lie in the rest. So add ``delta.mse``, which looks at every beta by itself.

Under the reading ``beta_half`` a gate looks at the variants that the reading says something of
(:func:`rdbench.report.statistics.series.not_compared_under`), and at no others.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Literal

from rdbench import metrics
from rdbench.errors import ResultsError
from rdbench.numerics.likelihood import OWN, READINGS
from rdbench.report.compare.compare import Comparison, Pair, without_percent
from rdbench.report.compare.render import as_data, as_markdown, as_text
from rdbench.report.numbers import number
from rdbench.report.statistics.bd_rate import LEAST_RATE, LITTLE_OVERLAP
from rdbench.report.tables.write import markdown_text
from rdbench.text import one_line

OPERATORS: dict[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
BD_RATES = ("bd_rate", "bd_rate.mse", *(f"bd_rate.{reading}" for reading in (*READINGS, OWN)))
_POINTS = ("rate", "mse", "psnr", "elbo_likelihood", *(f"elbo_{reading}" for reading in (*READINGS, OWN)))
_GATE = re.compile(r"\s*([^\s<>=!]*)\s*([<>=!]*)\s*(.*?)\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Gate:
    """One condition; ``percent``: the number is in per cent (a BD-rate always is)."""

    text: str
    quantity: str
    operator: str
    threshold: float
    percent: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a gate, and the figure that decided, in a line."""

    gate: Gate
    passed: bool
    reason: str

    def __str__(self) -> str:
        return one_line(f"gate {self.gate.text!r} {'passed' if self.passed else 'FAILED'}: {self.reason}")


def render(
    comparison: Comparison, outcomes: Sequence[Outcome], form: Literal["markdown", "json", "text"]
) -> str:
    """Return a comparison and what came of its gates, to be read or pasted."""
    if form == "json":
        gates = [{"gate": one.gate.text, "passed": one.passed, "reason": one.reason} for one in outcomes]
        data = as_data(comparison) | {"gates": gates}
        return json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1) + "\n"
    if form == "text":
        return as_text(comparison) + "".join(f"{outcome}\n" for outcome in outcomes)
    lines = "".join(f"- {markdown_text(str(outcome))}\n" for outcome in outcomes)
    return f"{lines}\n{as_markdown(comparison)}" if lines else as_markdown(comparison)


def parse_gate(text: str) -> Gate:
    """Return the gate that a text says; or raise ResultsError, which names the wrong token."""
    quantity, operator, amount = _GATE.fullmatch(text).groups()  # type: ignore[union-attr]
    form = "a gate is QUANTITY OPERATOR NUMBER, such as 'bd_rate > 2'"
    if not (quantity in BD_RATES or quantity.startswith("delta.")):
        hint = f" (did you mean delta.{quantity}?)" if _may_be_metric(quantity) else ""
        known = f"there are {', '.join(BD_RATES)} and delta.NAME of a metric"
        raise _wrong(text, f"{quantity!r} is no quantity{hint}; {known}; {form}")
    if amount.endswith("%") and without_percent(quantity.removeprefix("delta.")):
        fix = "leave the % out: the number is then in its unit"
        raise _wrong(text, f"{quantity} has no zero to be relative to, so no per cent; {fix}")
    if operator not in OPERATORS:
        raise _wrong(text, f"{operator!r} is no operator; there are {' '.join(OPERATORS)}; {form}")
    bare = amount.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(bare) or not math.isfinite(float(bare)):
        raise _wrong(text, f"{amount!r} is no number; {form}")
    return Gate(one_line(text), quantity, operator, float(bare), amount.endswith("%") or quantity in BD_RATES)


def _wrong(text: str, reason: str) -> ResultsError:
    return ResultsError(one_line(f"--fail-if {text!r}: {reason}"))


def _may_be_metric(name: str) -> bool:
    """Tell whether a name could be that of a metric, had it been measured."""
    return name in _POINTS or any(f"{name}_".startswith(f"{metric}_") for metric in metrics.names())


def check_gate(gate: Gate, comparison: Comparison) -> Outcome:
    """Return what comes of a gate.

    It passes only where it could check everything: it fails where a side lacks the quantity, where B was
    asked for a value that A has and lacks it, where a BD-rate covers only part of the curves, or where a
    section was refused. What B was never asked for does not count; the comparison lists it.

    Raises ResultsError: the gate's metric is none that A, B or this rdbench knows.
    """
    name = gate.quantity.removeprefix("delta.")
    if gate.quantity not in BD_RATES:
        known = sorted({metric.series.name for pair in comparison.pairs for metric in pair.metrics})
        if name not in known and not _may_be_metric(name):
            names = ", ".join(known) or "none"
            raise _wrong(gate.text, f"no metric is named {name!r}; compared here: {names}")
    if comparison.refused:
        return Outcome(gate, False, f"not compared: {comparison.refused[0]}")
    values: list[tuple[float, str]] = []
    for pair in comparison.pairs:
        bd_rate = gate.quantity in BD_RATES
        for value, where in _bd_rates(pair, gate.quantity) if bd_rate else _deltas(pair, name, gate.percent):
            where += f" ({pair.heading})" if len(comparison.pairs) > 1 else ""
            if value is None:
                return Outcome(gate, False, f"not everything could be compared: {where}")
            values.append((value, where))
    if not values:
        return Outcome(gate, False, f"{gate.quantity} was not measured on both sides")
    extreme, choose = ("highest", max) if gate.operator in (">", ">=") else ("lowest", min)
    value, where = choose(values, key=lambda pair: pair[0])
    passed = not OPERATORS[gate.operator](value, gate.threshold)
    figure = f"{number(value)}{'%' if gate.percent else ''}"
    return Outcome(gate, passed, f"{extreme} of {len(values)}: {figure}, {where}")


def _bd_rates(pair: Pair, quantity: str) -> Iterator[tuple[float | None, str]]:
    """Yield (BD-rate or None, where and why) of each variant and quality that a gate asks for."""
    wanted = quantity.removeprefix("bd_rate").removeprefix(".")
    chosen = [rates for rates in pair.rates if wanted in ("", rates.quality)]
    if not any(rates.variants for rates in chosen):
        yield None, f"{quantity}, no variant has one"
    for rates in chosen:
        for rate in rates.variants:
            where = f"{rate.variant}, {rates.quality}"
            if rate.percent is None:
                yield None, f"{where}: {rate.reason}"
            elif rate.overlaps_little:
                shared = f"the curves overlap over {rate.overlap:.0%} of their qualities only"
                fix = "gate on delta.mse, or give A and B betas that reach the same qualities"
                yield None, f"{where}: {shared}, less than {LITTLE_OVERLAP:.0%}; {fix}"
            else:
                yield rate.percent, where
        for variant, beta in rates.lost:
            yield None, f"{rates.quality} at {variant}, beta {beta:g}: B lacks a point that A has"


def _deltas(pair: Pair, name: str, percent: bool) -> Iterator[tuple[float | None, str]]:
    """Yield (difference or None, where and why) at each (variant, beta) of a metric."""
    metric = next((metric for metric in pair.metrics if metric.series.name == name), None)
    if metric is None:
        return  # on neither side here; another section may have it
    if metric.reason:
        yield None, f"{name}, {metric.reason}"
        return
    for variant, beta in metric.lost:
        yield None, f"{name} at {variant}, beta {beta:g}: B lacks a value that A has"
    for change in metric.changes:
        value = metric.percent(change) if percent else change.mean
        where = f"{change.variant}, beta {change.beta:g}"
        if value is None:
            least = f"at most {LEAST_RATE:g} nats" if name == "rate" else "0"
            where += f": A is {least}, so there is no change in per cent of it"
        yield value, where
