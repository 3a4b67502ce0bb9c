"""Gates: conditions on a comparison that must not hold, so that a script stops at a change for the worse.

A gate is ``<quantity> <operator> <number>``, the operator one of ``> >= < <=``. It fails where its
condition holds for any variant (and beta), and where its quantity could not be measured: never in silence.
It goes by means over seeds, not by intervals.

==================  ===================================================================================
``bd_rate``         BD-rate of B against A in per cent, of MSE and of every reading's distortion
``bd_rate.mse``     that of MSE alone; ``bd_rate.optimal`` of the distortion under one reading
``delta.NAME``      mean of B less mean of A of the metric ``NAME``, in its unit; with ``%`` after the
                    number, in per cent of A's mean, where that has a zero to be relative to: not of an
                    ELBO, IWAE, PSNR or KID, nor of a collapsed rate
==================  ===================================================================================

BD-rate compares the best that each side reaches at any beta, where both reach it: a point that got worse
hides behind others of its curve that are as good, and where the curves share less than three quarters of
their qualities the gate fails, as what changed may lie in the rest. So put ``delta.mse`` beside it, which
looks at every beta by itself::

    --fail-if 'bd_rate.mse > 2' --fail-if 'delta.mse > 5%'

Under the reading ``beta_half`` a gate looks at the variants that the reading says something of
(:func:`rdbench.report.statistics.series.says_nothing_of`), and at no others.
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
from rdbench.report.compare.compare import Comparison, Metric, Pair, without_percent
from rdbench.report.compare.render import as_data, as_markdown, as_text
from rdbench.report.numbers import number
from rdbench.report.statistics.bd_rate import LEAST_RATE, LITTLE_OVERLAP
from rdbench.report.tables.write import markdown_text, one_line

OPERATORS: dict[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
BD_RATES = ("bd_rate", "bd_rate.mse", *(f"bd_rate.{reading}" for reading in (*READINGS, OWN)))
_POINTS = ("rate", "mse", "psnr", *(f"elbo_{reading}" for reading in (*READINGS, OWN)))
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
        """Return the line that is printed."""
        return one_line(f"gate {self.gate.text!r} {'passed' if self.passed else 'FAILED'}: {self.reason}")


def render(found: Comparison, outcomes: Sequence[Outcome], form: Literal["markdown", "json", "text"]) -> str:
    """Return a comparison and what came of its gates, to be read or pasted."""
    if form == "json":
        gates = [{"gate": each.gate.text, "passed": each.passed, "reason": each.reason} for each in outcomes]
        return (
            json.dumps(as_data(found) | {"gates": gates}, allow_nan=False, ensure_ascii=False, indent=1)
            + "\n"
        )
    if form == "text":
        return as_text(found) + "".join(f"{each}\n" for each in outcomes)
    lines = "".join(f"- {markdown_text(str(each))}\n" for each in outcomes)
    return f"{lines}\n{as_markdown(found)}" if lines else as_markdown(found)


def parse_gate(text: str) -> Gate:
    """Return the gate that a text says.

    Raises:
        ResultsError: it says none; the message names the token that is wrong.
    """
    quantity, operator, amount = re.fullmatch(
        r"\s*([^\s<>=!]*)\s*([<>=!]*)\s*(.*?)\s*", text, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    form = "a gate is QUANTITY OPERATOR NUMBER, such as 'bd_rate > 2'"
    if not (quantity in BD_RATES or quantity.startswith("delta.")):
        hint = f" (did you mean delta.{quantity}?)" if _may_be_metric(quantity) else ""
        raise ResultsError(_line(text, f"{quantity!r} is no quantity{hint}; there are {', '.join(BD_RATES)}"
                                 f" and delta.NAME of a metric; {form}"))  # fmt: skip
    if amount.endswith("%") and without_percent(quantity.removeprefix("delta.")):
        mend = "leave the % out: the number is then in its unit"
        raise ResultsError(_line(text, f"{quantity} has no zero to be relative to, so no per cent; {mend}"))
    if operator not in OPERATORS:
        raise ResultsError(
            _line(text, f"{operator!r} is no operator; there are {' '.join(OPERATORS)}; {form}")
        )
    bare = amount.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(bare) or not math.isfinite(float(bare)):
        raise ResultsError(_line(text, f"{amount!r} is no number; {form}"))
    return Gate(one_line(text), quantity, operator, float(bare), amount.endswith("%") or quantity in BD_RATES)


def _line(text: str, reason: str) -> str:
    return one_line(f"--fail-if {text!r}: {reason}")


def _may_be_metric(name: str) -> bool:
    """Tell whether a name could be that of a metric, had it been measured."""
    return name in _POINTS or any(name == own or name.startswith(f"{own}_") for own in metrics.names())


def check_gate(gate: Gate, found: Comparison) -> Outcome:
    """Return what comes of a gate.

    It passes only where it could look at everything: it fails where the quantity is not there on both sides,
    where B was asked for a value that A has and has none, where a BD-rate speaks of a part of the curves
    only, or where a section was refused. What B was never asked for does not count; the comparison lists it.

    Raises:
        ResultsError: the gate's metric is none that A, B or this rdbench knows.
    """
    name = gate.quantity.removeprefix("delta.")
    if gate.quantity not in BD_RATES:
        known = sorted({metric.series.name for pair in found.pairs for metric in pair.metrics})
        if name not in known and not _may_be_metric(name):
            there = ", ".join(known) or "none"
            raise ResultsError(_line(gate.text, f"no metric is named {name!r}; compared here: {there}"))
    if found.refused:
        return Outcome(gate, False, f"not compared: {found.refused[0]}")
    values: list[tuple[float, str]] = []
    for pair in found.pairs:
        each = (
            _bd_rates(pair, gate.quantity) if gate.quantity in BD_RATES else _deltas(pair, name, gate.percent)
        )
        for value, where in each:
            where = f"{where} ({pair.heading})" if len(found.pairs) > 1 else where
            if value is None:
                return Outcome(gate, False, f"not everything could be compared: {where}")
            values.append((value, where))
    if not values:
        return Outcome(gate, False, f"{gate.quantity} was not measured on both sides")
    value, where = (max if gate.operator in (">", ">=") else min)(values, key=lambda pair: pair[0])
    passed = not OPERATORS[gate.operator](value, gate.threshold)
    figure = f"{number(value)}{'%' if gate.percent else ''}"
    extreme = "highest" if gate.operator in (">", ">=") else "lowest"
    return Outcome(gate, passed, f"{extreme} of {len(values)}: {figure}, {where}")


def _bd_rates(pair: Pair, quantity: str) -> Iterator[tuple[float | None, str]]:
    """Yield (BD-rate or None, where and why) of each variant and quality that a gate asks for."""
    wanted = quantity.removeprefix("bd_rate").removeprefix(".")
    chosen = [rates for rates in pair.rates if wanted in ("", rates.quality)]
    if not any(rates.found for rates in chosen):
        yield None, f"{quantity}, no variant has one"
    for rates in chosen:
        for each in rates.found:
            where = f"{each.variant}, {rates.quality}"
            if each.percent is None:
                yield None, f"{where}: {each.reason}"
            elif each.overlaps_little:
                shared = f"the curves overlap over {each.overlap:.0%} of their qualities only"
                mend = "gate on delta.mse, or give A and B betas that reach the same qualities"
                yield None, f"{where}: {shared}, less than {LITTLE_OVERLAP:.0%}; {mend}"
            else:
                yield each.percent, where
        for variant, beta in rates.lost:
            yield None, f"{rates.quality} at {variant}, beta {beta:g}: B lacks a point that A has"


def _deltas(pair: Pair, name: str, percent: bool) -> Iterator[tuple[float | None, str]]:
    """Yield (difference or None, where and why) at each (variant, beta) of a metric."""
    metric: Metric | None = next((own for own in pair.metrics if own.series.name == name), None)
    if metric is None:
        return  # on neither side here; another section may have it
    if metric.reason:
        yield None, f"{name}, {metric.reason}"
        return
    for variant, beta in metric.lost:
        yield None, f"{name} at {variant}, beta {beta:g}: B lacks a value that A has"
    for each in metric.changes:
        value = metric.percent(each) if percent else each.mean
        where = f"{each.variant}, beta {each.beta:g}"
        if value is None:
            least = f"at most {LEAST_RATE:g} nats" if name == "rate" else "0"
            where += f": A is {least}, so there is no change in per cent of it"
        yield value, where
