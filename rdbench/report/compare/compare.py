"""Compare results from before (A) and after (B) a change: differences with intervals, and verdicts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pandas as pd

from rdbench import metrics
from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report.headline import UNTESTED
from rdbench.report.numbers import Estimate
from rdbench.report.references import Reference
from rdbench.report.sections import Section, gather, records
from rdbench.report.statistics.bd_rate import LEAST_RATE, BdRate, bd_rate_between
from rdbench.report.statistics.curves import estimate, finite_points
from rdbench.report.statistics.difference import Difference, difference, holm
from rdbench.report.statistics.series import Key, Series, not_compared_under, series
from rdbench.report.statistics.states import in_curves
from rdbench.report.statistics.verdict import LEVEL
from rdbench.report.tables import measured, sources
from rdbench.report.tables.bd_rate import against_references
from rdbench.results.load import load_results
from rdbench.results.model_states import State
from rdbench.storage.places import Place

_VERSION = re.compile(r" \[[0-9a-f]{6}\]$")

# Beginnings of the names of measures of points whose zero depends on the unit; metrics declare theirs.
ARBITRARY_ZERO = ("elbo_", "psnr")

Verdict = Literal[
    "better", "worse", "mixed", "different", "no difference shown", "untested", "not comparable"
]
Way = Literal["better", "worse", "different"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True, kw_only=True)
class Change(Difference):
    """One metric at one (variant, beta), B less A."""

    variant: str
    beta: float
    before: Estimate  # the mean over seeds in A
    after: Estimate  # and in B
    adjusted: float | None = None  # ``p`` after Holm's correction over the metric's points

    @property
    def shown(self) -> bool:
        """Whether the difference is shown, at ``LEVEL`` over all points of its metric."""
        return self.adjusted is not None and self.adjusted <= LEVEL


@dataclass(frozen=True)
class Metric:
    """One metric on both sides."""

    series: Series  # as A has it, or B where A has not
    changes: tuple[Change, ...] = ()  # at each (variant, beta) that both sides have, sorted
    lost: tuple[Key, ...] = ()  # where A has a value of some seed and B, though asked for that seed, has none
    reason: str = ""  # why it is not compared; "" where it is
    same: bool = False  # all compared trials hold the very same numbers

    def count(self, way: Way) -> int:
        """Return at how many points a difference of this kind is shown."""
        return sum(self.kind(change) == way for change in self.changes)

    def kind(self, change: Change) -> str:
        """Return "better", "worse", "different" where neither way is better, "" where none is shown."""
        return self.leaning(change) if change.shown else ""

    def leaning(self, change: Change) -> str:
        """Return :meth:`kind` by the means alone; "" where they are equal."""
        if change.mean == 0:
            return ""
        if self.series.better is None:
            return "different"
        return "better" if (change.mean > 0) == (self.series.better == "higher") else "worse"

    @property
    def why(self) -> str:
        """Why the metric is not comparable, or its differences are untested; "" where there is a test."""
        if self.reason or self.same or any(change.p is not None for change in self.changes):
            return self.reason
        if any(1 in (change.before.n, change.after.n) for change in self.changes):
            return UNTESTED
        return f"at every point {'; or '.join(dict.fromkeys(change.reason for change in self.changes))}"

    @property
    def mean_change(self) -> float | None:
        """The mean change over the points, in the metric's unit; None without points."""
        means = [change.mean for change in self.changes]
        return sum(means) / len(means) if means else None

    def percent(self, change: Change) -> float | None:
        """Return a difference in per cent of A's mean; None where that is 0, or next to it, or says nothing.

        Of a rate that has collapsed (``LEAST_RATE``) some thousandths of a nat would be hundreds of per cent.
        """
        size = abs(change.before.mean)
        if without_percent(self.series.name) or size <= (LEAST_RATE if self.series.name == "rate" else 0):
            return None
        return 100 * change.mean / size

    @property
    def relative(self) -> float | None:
        """The mean change over the points, in per cent; None where no point has one."""
        values = [value for value in map(self.percent, self.changes) if value is not None]
        return sum(values) / len(values) if values else None

    @property
    def verdict(self) -> Verdict:
        """How B does: better (worse) where that is shown at a point or more, and at none the other way."""
        if self.why:
            return "untested" if self.changes and not self.reason else "not comparable"
        ways: list[Way] = [way for way in WAYS if self.count(way)]
        return "mixed" if len(ways) > 1 else ways[0] if ways else "no difference shown"


@dataclass(frozen=True)
class BdRates:
    """BD-rates of B against A, a variant each."""

    quality: str  # "mse" or a reading, whose distortion it is
    variants: tuple[BdRate, ...]
    lost: tuple[Key, ...] = ()  # points that B was asked for and has not, so that its curve is another one

    @property
    def title(self) -> str:
        """The quality for a reader."""
        return "MSE" if self.quality == "mse" else f"distortion, {READING_NAMES[self.quality]}"


@dataclass(frozen=True)
class Pair:
    """A section of A and the one of B it is compared with."""

    heading: str
    settings: tuple[tuple[str, str, str], ...]  # (setting, in A, in B) of those that differ
    same: int  # trials of the very same numbers, of those
    finished: int  # that both sides finished
    metrics: tuple[Metric, ...]
    rates: tuple[BdRates, ...]
    one_sided: tuple[tuple[str, str], ...]  # what one side has alone, and which
    states: tuple[dict[Key, State], dict[Key, State]] = ({}, {})  # collapsed and unstable models of A and B
    references: tuple[tuple[str, str, BdRate], ...] = ()  # side, quality, against a curve from a file
    sides: tuple[Section, ...] = ()  # A's and B's


@dataclass(frozen=True)
class Comparison:
    """Two sets of results, compared."""

    pairs: tuple[Pair, ...]
    refused: tuple[str, ...]  # sections of one dataset and protocol that could not be compared, and why
    apart: tuple[str, ...]  # sections that only one side has
    problems: tuple[str, ...]  # files and trials that were left out, and why


def without_percent(name: str) -> bool:
    """Tell whether a measure is one of which a change in per cent says nothing, by its name."""
    quantity = metrics.quantity(name)
    return not quantity.has_zero if quantity else name.startswith(ARBITRARY_ZERO)


def change(key: Key, before: dict[int, float], after: dict[int, float]) -> Change:
    """Return the :func:`difference` of the means of two samples, seed -> finite value, neither empty."""
    one, other = estimate(list(before.values())), estimate(list(after.values()))
    if one is None or other is None:
        raise ValueError("a difference needs a finite value on both sides")
    variant, beta = key
    return Change(**vars(difference(before, after)), variant=variant, beta=beta, before=one, after=other)


def compare(a: Sequence[Place], b: Sequence[Place], references: Sequence[Reference] = ()) -> Comparison:
    """Compare results folders A, the baseline, with B; and both with curves from files, if any.

    Sections are matched by dataset and protocol: those of equal settings first, then what is left where it
    is one on each side; the settings that differ are listed. Data of different checksums are not compared.

    Raises ResultsError: a folder is not a results folder.
    """
    (before, left_a), (after, left_b) = (gather([load_results(path) for path in side]) for side in (a, b))
    after = [_as_before(section, before) for section in after]
    problems = [f"{side}: {line}" for side, lines in (("A", left_a), ("B", left_b)) for line in lines]
    headings = {id(section): name for side in (before, after)
                for section, (name, _) in zip(side, sources.headings(side), strict=True)}  # fmt: skip
    pairs, refused, apart = [], [], []
    for kind in sorted({(section.dataset, section.protocol) for section in (*before, *after)}):
        ours, theirs = ([section for section in side if (section.dataset, section.protocol) == kind]
                        for side in (before, after))  # fmt: skip
        matched = []
        for one in list(ours):
            same = (each for each in theirs if each.settings == one.settings and not _other_data(one, each))
            if (other := next(same, None)) is not None:
                matched.append((one, other))
                ours.remove(one)
                theirs.remove(other)
        if not (ours and theirs):
            apart += [f"{headings[id(left)]}: only in {'A' if ours else 'B'}" for left in (*ours, *theirs)]
        elif len(ours) > 1 or len(theirs) > 1:
            refused.append(
                f"{kind[0]}, protocol {kind[1]}: {len(ours)} sets of settings in A and {len(theirs)} in B,"
                " none the same; compare folders of one each"
            )
        elif _other_data(ours[0], theirs[0]):
            sums = f"{str(ours[0].checksum)[:12]} in A and {str(theirs[0].checksum)[:12]} in B"
            refused.append(f"{headings[id(ours[0])]}: the data differ, checksum {sums}")
        else:
            matched.append((ours[0], theirs[0]))
        for one, other in matched:
            rates = tuple(
                (side, title, rate)
                for side, section in (("A", one), ("B", other))
                for title, rate in against_references(section, references)
            )
            pairs.append(replace(_pair(headings[id(one)], one, other), references=rates))
    return Comparison(tuple(pairs), tuple(refused), tuple(apart), tuple(problems))


def _as_before(section: Section, before: Sequence[Section]) -> Section:
    """Return a section of B in which a variant from a user's file is called as in A, if each has one version.

    A change of its file is what is to be compared; the hash in its name would keep the two apart.
    """
    names = {name for other in before for name, _ in measured.keys(other)}
    here = {name for name, _ in measured.keys(section)}
    versions = [Counter(_VERSION.sub("", name) for name in side) for side in (names, here)]
    called = {_VERSION.sub("", name): name for name in names}

    def as_before(name: str) -> str:
        bare = _VERSION.sub("", name)
        return called[bare] if bare != name and versions[0][bare] == versions[1][bare] == 1 else name

    tables = ("points", "history", "trials", "images", "metrics", "per_image", "missing")
    frames = {table: frame.assign(variant=frame["variant"].map(as_before))
              for table in tables if len(frame := getattr(section, table))}  # fmt: skip
    return replace(section, **frames)


def _other_data(one: Section, other: Section) -> bool:
    return None not in (one.checksum, other.checksum) and one.checksum != other.checksum


def _pair(heading: str, a: Section, b: Section) -> Pair:
    flat_a, flat_b = sources.flatten(a.settings), sources.flatten(b.settings)
    settings = tuple(
        (key, flat_a.get(key, "not set"), flat_b.get(key, "not set"))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(key) != flat_b.get(key)
    )
    ours, theirs = _measurements(a), _measurements(b)
    finished = set(ours) & set(theirs)
    same = {key for key in finished if ours[key] == theirs[key]}
    return Pair(heading, settings, len(same), len(finished), tuple(_metrics(a, b)), tuple(_rates(a, b)),
                tuple(_one_sided(a, b)), (a.states, b.states), sides=(a, b))  # fmt: skip


def _measurements(section: Section) -> dict[str, list[tuple[str, ...]]]:
    """Return what each finished trial measured, by its id, which stands for all its settings."""
    measurements: dict[str, list[tuple[str, ...]]] = {}
    for row in records(section.points):
        values = (repr(row[name]) for name in ("split", "reading", "rate", "sse", "elbo"))
        measurements.setdefault(row["trial"], []).append(tuple(values))
    return {trial: sorted(rows) for trial, rows in measurements.items()}


def _metrics(a: Section, b: Section) -> list[Metric]:
    ours, theirs = ({(each.title, each.how): each for each in series(side)} for side in (a, b))
    asked, compared = measured.asked(b), []
    for (title, how), one in ours.items():
        if (title, how) in theirs:
            compared.append(_metric(one, theirs[title, how], asked))
        else:
            others = [other.how for other in theirs.values() if other.title == title]
            reason = f"measured differently: {how} in A, {others[0]} in B" if others else "not measured in B"
            compared.append(Metric(one, reason=reason))
    names = {metric.series.name for metric in compared}
    only_b = [other for way, other in theirs.items() if way not in ours and other.name not in names]
    return compared + [Metric(other, reason="not measured in A") for other in only_b]


def _metric(one: Series, other: Series, asked: dict[Key, set[int]]) -> Metric:
    silent = one.silent | other.silent
    shared = sorted(key for key in set(one.values) & set(other.values) if key[0] not in silent)
    changes = [change(key, one.values[key], other.values[key]) for key in shared]
    adjusted = iter(holm([change.p for change in changes if change.p is not None]))
    changes = [replace(change, adjusted=None if change.p is None else next(adjusted)) for change in changes]
    lost = tuple(
        key for key, values in sorted(one.values.items())
        if key[0] not in silent
        and (values.keys() & asked.get(key, set())) - other.values.get(key, {}).keys()
    )  # fmt: skip
    same = all(one.values[key] == other.values[key] for key in shared)
    reason = "" if shared else "no variant and beta has a value on both sides"
    if not shared and silent:
        reason += f" that {READING_NAMES[one.reading]} says something of"
    return Metric(one, tuple(changes), lost, reason, same)


def _rates(a: Section, b: Section) -> list[BdRates]:
    """Return BD-rates of each variant that A has points of, B asked for, and the reading can compare."""
    asked = measured.asked(b)
    asked_for = {variant for variant, _ in measured.keys(b)}
    shared = [reading for reading in a.readings if reading in b.readings]
    qualities = []
    # MSE is the same under every reading.
    for quality, reading, measure in [("mse", "half", "mse"), *((r, r, "distortion") for r in shared)]:
        silent = not_compared_under(a, quality) | not_compared_under(b, quality)
        before, after = (
            in_curves(finite_points(side.points, "test", reading), side.states, collapsed=True)
            for side in (a, b)
        )
        before, after = (rows[~rows["variant"].isin(silent)] for rows in (before, after))
        rates = []
        for variant in sorted(set(before["variant"]) & asked_for):
            one, other = (rows[rows["variant"] == variant] for rows in (before, after))
            name = f"{variant} in A"
            if len(other):
                rates.append(bd_rate_between(other, one, measure, variant=variant, name=name))
            else:
                rates.append(BdRate(variant, name, measure, reason="no finite point in B"))
        qualities.append(BdRates(quality, tuple(rates), _lost_points(before, after, asked)))
    return qualities


def _lost_points(before: pd.DataFrame, after: pd.DataFrame, asked: dict[Key, set[int]]) -> tuple[Key, ...]:
    """Return the (variant, beta) at which A has a finite point of a seed that B was asked for and lacks."""
    ours, theirs = (
        {*zip(rows["variant"], rows["beta"], rows["seed"], strict=True)} for rows in (before, after)
    )
    return tuple(sorted({(v, b) for v, b, seed in ours - theirs if seed in asked.get((v, b), set())}))


def _one_sided(a: Section, b: Section) -> list[tuple[str, str]]:
    """Return what only one side was asked for, and what either side was asked for and has not."""
    ours, theirs = set(measured.keys(a)), set(measured.keys(b))
    whats = [(key, "only in A") for key in sorted(ours - theirs)]
    whats += [(key, "only in B") for key in sorted(theirs - ours)]
    for side, section in (("A", a), ("B", b)):
        whats += [(key, f"{what} in {side}") for key, what in sorted(measured.losses(section).items())]
    return [(f"{variant} at β = {beta:g}", what) for (variant, beta), what in whats]
