"""Compare results from before (A) and after (B) a change: differences with intervals, and verdicts."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import pandas as pd

from rdbench import metrics
from rdbench.report.numbers import Estimate
from rdbench.report.sections import Section, gather, records
from rdbench.report.statistics.bd_rate import LEAST_RATE, BdRate, bd_rate_between
from rdbench.report.statistics.curves import estimate, finite_points
from rdbench.report.statistics.difference import Test, difference
from rdbench.report.statistics.series import READING_NAMES, Key, Series, says_nothing_of, series
from rdbench.report.tables import measured, sources
from rdbench.results.load import load_results
from rdbench.storage.places import Place

_VERSION = re.compile(r" \[[0-9a-f]{6}\]$")

LEVEL = 0.05
"""Of the whole family of tests of one metric, after Holm's correction."""

ARBITRARY_ZERO = ("elbo_", "psnr")
"""Beginnings of the names of measures of points whose zero depends on the unit; metrics declare theirs."""

Verdict = Literal["better", "worse", "mixed", "different", "no difference shown", "not comparable"]
Way = Literal["better", "worse", "different"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True)
class Change:
    """One metric at one (variant, beta), B less A.

    Attributes:
        before, after: the means over seeds in A and B.
        mean, half_width: the difference of the means and of its 95% interval; None without an interval.
        test: what the interval and ``p`` come from; "none" where the spread of seeds is not known.
        p: two-sided; None without a test.
        adjusted: ``p`` after Holm's correction over the metric's points.
        reason: why there is no test; "" where there is one.
    """

    variant: str
    beta: float
    before: Estimate
    after: Estimate
    mean: float
    half_width: float | None
    test: Test
    p: float | None
    adjusted: float | None = None
    reason: str = ""

    @property
    def shown(self) -> bool:
        """Whether the difference is shown, at ``LEVEL`` over all points of its metric."""
        return self.adjusted is not None and self.adjusted <= LEVEL


@dataclass(frozen=True)
class Metric:
    """One metric on both sides.

    Attributes:
        series: as A has it, or B where A has not.
        changes: at each (variant, beta) that both sides have, sorted.
        lost: where A has a value of some seed and B, though asked for that seed, has none.
        reason: why it is not compared; "" where it is.
        same: all compared trials hold the very same numbers.
    """

    series: Series
    changes: tuple[Change, ...] = ()
    lost: tuple[Key, ...] = ()
    reason: str = ""
    same: bool = False

    def count(self, way: Way) -> int:
        """Return at how many points a difference of this kind is shown."""
        return sum(self.kind(change) == way for change in self.changes)

    def kind(self, change: Change) -> str:
        """Return "better", "worse", "different" where neither way is better, "" where none is shown."""
        if not change.shown:
            return ""
        if self.series.better is None:
            return "different"
        return "better" if (change.mean > 0) == (self.series.better == "higher") else "worse"

    @property
    def why(self) -> str:
        """Why the metric is not comparable; "" where it is."""
        if self.reason or self.same or any(change.p is not None for change in self.changes):
            return self.reason
        return f"at every point {'; or '.join(dict.fromkeys(change.reason for change in self.changes))}"

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
        found = [value for value in map(self.percent, self.changes) if value is not None]
        return sum(found) / len(found) if found else None

    @property
    def verdict(self) -> Verdict:
        """Say how B does.

        Better (worse) where at one point or more the difference is shown to be so, and at none the other
        way; mixed where both occur. A difference is shown where its test, after Holm's correction over
        the metric's points, is significant at 5%.
        """
        better, worse = self.count("better"), self.count("worse")
        if self.why:
            return "not comparable"
        if better and worse:
            return "mixed"
        if better or worse:
            return "better" if better else "worse"
        return "different" if self.count("different") else "no difference shown"


@dataclass(frozen=True)
class Rates:
    """BD-rates of B against A by variant; ``quality`` is "mse" or a reading, whose distortion it is.

    ``lost`` are the points that B was asked for and has not, so that its curve is another one.
    """

    quality: str
    found: tuple[BdRate, ...]
    lost: tuple[Key, ...] = ()

    @property
    def title(self) -> str:
        """The quality for a reader."""
        return "MSE" if self.quality == "mse" else f"distortion, {READING_NAMES[self.quality]}"


@dataclass(frozen=True)
class Pair:
    """A section of A and the one of B it is compared with.

    Attributes:
        heading: dataset and protocol, and what else tells it from others.
        settings: (setting, in A, in B) of those that differ.
        same: trials on both sides that hold the very same numbers, ``finished`` those that both finished.
        one_sided: (what, in which folder) of what only one side has, or lost.
    """

    heading: str
    settings: tuple[tuple[str, str, str], ...]
    same: int
    finished: int
    metrics: tuple[Metric, ...]
    rates: tuple[Rates, ...]
    one_sided: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Comparison:
    """Two sets of results, compared.

    Attributes:
        pairs: what could be compared.
        refused: sections of one dataset and protocol that could not be compared, and why.
        apart: sections that only one side has.
        problems: files and trials that were left out, and why.
    """

    pairs: tuple[Pair, ...]
    refused: tuple[str, ...]
    apart: tuple[str, ...]
    problems: tuple[str, ...]


def without_percent(name: str) -> bool:
    """Tell whether a measure is one of which a change in per cent says nothing, by its name."""
    quantity = metrics.quantity(name)
    return not quantity.has_zero if quantity else name.startswith(ARBITRARY_ZERO)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): all those <= 0.05 hold together at 5%."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def change(key: Key, before: dict[int, float], after: dict[int, float]) -> Change:
    """Return the :func:`difference` of the means of two samples, seed -> finite value, neither empty."""
    one, other = estimate(list(before.values())), estimate(list(after.values()))
    if one is None or other is None:
        raise ValueError("a difference needs a finite value on both sides")
    found = difference(before, after)
    return Change(*key, one, other, found.mean, found.half_width, found.test, found.p, reason=found.reason)


def compare(a: Sequence[Place], b: Sequence[Place]) -> Comparison:
    """Compare results folders A, the baseline, with B.

    Sections are matched by dataset and protocol: those of equal settings first, then what is left where it
    is one on each side; the settings that differ are listed. Data of different checksums are not compared.

    Raises:
        ResultsError: a folder is not a results folder.
    """
    (before, left_a), (after, left_b) = (gather([load_results(path) for path in each]) for each in (a, b))
    after = [_as_before(section, before) for section in after]
    problems = [f"{side}: {line}" for side, lines in (("A", left_a), ("B", left_b)) for line in lines]
    headings = {id(section): name for each in (before, after)
                for section, (name, _) in zip(each, sources.headings(each), strict=True)}  # fmt: skip
    pairs, refused, apart = [], [], []
    for kind in sorted({(section.dataset, section.protocol) for section in [*before, *after]}):
        ours = [section for section in before if (section.dataset, section.protocol) == kind]
        theirs = [section for section in after if (section.dataset, section.protocol) == kind]
        for one in list(ours):
            for other in list(theirs):
                if one.settings == other.settings and not _other_data(one, other):
                    pairs.append(_pair(headings[id(one)], one, other))
                    ours.remove(one)
                    theirs.remove(other)
                    break
        if len(ours) == len(theirs) == 1 and not _other_data(ours[0], theirs[0]):
            pairs.append(_pair(headings[id(ours[0])], ours[0], theirs[0]))
        elif len(ours) == len(theirs) == 1:
            sums = (str(own[0].checksum)[:12] for own in (ours, theirs))
            refused.append(
                f"{headings[id(ours[0])]}: the data differ, checksum {' in A and '.join(sums)} in B"
            )
        elif ours and theirs:
            refused.append(
                f"{kind[0]}, protocol {kind[1]}: {len(ours)} sets of settings in A and {len(theirs)} in B,"
                " none the same; compare folders of one each"
            )
        else:
            apart += [f"{headings[id(each)]}: only in {'A' if ours else 'B'}" for each in [*ours, *theirs]]
    return Comparison(tuple(pairs), tuple(refused), tuple(apart), tuple(problems))


def _as_before(section: Section, before: Sequence[Section]) -> Section:
    """Return a section of B in which a variant of one's own is called as in A, where both have one version.

    A change of its file is what is to be compared; the hash in its name would keep the two apart.
    """
    names = {name for own in before for name, _ in measured.keys(own)}
    versions = [Counter(_VERSION.sub("", name) for name in each)
                for each in (names, {name for name, _ in measured.keys(section)})]  # fmt: skip
    called = {_VERSION.sub("", name): name for name in names}

    def as_before(name: str) -> str:
        bare = _VERSION.sub("", name)
        return called[bare] if bare != name and versions[0][bare] == versions[1][bare] == 1 else name

    frames = {}
    for name in ("points", "history", "trials", "images", "metrics", "per_image", "missing"):
        frame = getattr(section, name)
        if len(frame):
            frames[name] = frame.assign(variant=[as_before(own) for own in frame["variant"]])
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
                tuple(_one_sided(a, b)))  # fmt: skip


def _measurements(section: Section) -> dict[str, list[tuple[str, ...]]]:
    """Return what each finished trial measured, by its id, which stands for all its settings."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in records(section.points):
        values = (repr(row[name]) for name in ("split", "reading", "rate", "sse", "elbo"))
        found.setdefault(row["trial"], []).append(tuple(values))
    return {trial: sorted(rows) for trial, rows in found.items()}


def _metrics(a: Section, b: Section) -> list[Metric]:
    ours, theirs = ({(each.title, each.how): each for each in series(own)} for own in (a, b))
    asked, found = measured.asked(b), []
    for (title, how), one in ours.items():
        if (title, how) in theirs:
            found.append(_metric(one, theirs[title, how], asked))
        else:
            others = [each.how for each in theirs.values() if each.title == title]
            reason = f"measured differently: {how} in A, {others[0]} in B" if others else "not measured in B"
            found.append(Metric(one, reason=reason))
    taken = {metric.series.name for metric in found}
    for (title, how), other in theirs.items():
        if (title, how) not in ours and other.name not in taken:
            found.append(Metric(other, reason="not measured in A"))
    return found


def _metric(one: Series, other: Series, asked: dict[Key, set[int]]) -> Metric:
    silent = one.silent | other.silent
    shared = sorted(key for key in set(one.values) & set(other.values) if key[0] not in silent)
    changes = [change(key, one.values[key], other.values[key]) for key in shared]
    adjusted = iter(holm([each.p for each in changes if each.p is not None]))
    changes = [
        Change(**vars(each) | {"adjusted": None if each.p is None else next(adjusted)}) for each in changes
    ]
    lost = tuple(
        key for key, own in sorted(one.values.items())
        if key[0] not in silent and (own.keys() & asked.get(key, set())) - other.values.get(key, {}).keys()
    )  # fmt: skip
    same = all(one.values[key] == other.values[key] for key in shared)
    reason = "" if shared else "no variant and beta has a value on both sides"
    if not shared and silent:
        reason += f" that {READING_NAMES[one.reading]} says something of"
    return Metric(one, tuple(changes), lost, reason, same)


def _rates(a: Section, b: Section) -> list[Rates]:
    """Return BD-rates of each variant that A has points of and B asked for, and the reading speaks of."""
    asked = {variant for variant, _ in measured.keys(b)}
    readings = [reading for reading in a.readings if reading in b.readings]
    found = []
    # MSE is the same under every reading.
    for quality, reading, measure in [
        ("mse", "half", "mse"),
        *((each, each, "distortion") for each in readings),
    ]:
        silent = says_nothing_of(a, quality) | says_nothing_of(b, quality)
        before, after = (finite_points(own.points, "test", reading) for own in (a, b))
        before, after = (own[~own["variant"].isin(silent)] for own in (before, after))
        each = []
        for variant in sorted(set(before["variant"]) & asked):
            one, other = (own[own["variant"] == variant] for own in (before, after))
            if len(other):
                each.append(bd_rate_between(other, one, measure, variant=variant, name=f"{variant} in A"))
            else:
                reason = "no finite point in B"
                each.append(
                    BdRate(variant, f"{variant} in A", measure, None, None, None, 0, None, None, reason)
                )
        found.append(Rates(quality, tuple(each), _lost_points(before, after, measured.asked(b))))
    return found


def _lost_points(before: pd.DataFrame, after: pd.DataFrame, asked: dict[Key, set[int]]) -> tuple[Key, ...]:
    """Return the (variant, beta) at which A has a finite point of a seed that B was asked for and lacks."""
    ours, theirs = (
        set(zip(own["variant"], own["beta"], own["seed"], strict=True)) for own in (before, after)
    )
    return tuple(sorted({(v, b) for v, b, seed in ours - theirs if seed in asked.get((v, b), set())}))


def _one_sided(a: Section, b: Section) -> list[tuple[str, str]]:
    """Return what only one side was asked for, and what either side was asked for and has not."""
    ours, theirs = set(measured.keys(a)), set(measured.keys(b))
    found = [(f"{variant} at β = {beta:g}", "only in A") for variant, beta in sorted(ours - theirs)]
    found += [(f"{variant} at β = {beta:g}", "only in B") for variant, beta in sorted(theirs - ours)]
    for side, section in (("A", a), ("B", b)):
        for (variant, beta), what in sorted(measured.losses(section).items()):
            found.append((f"{variant} at β = {beta:g}", f"{what} in {side}"))
    return found
