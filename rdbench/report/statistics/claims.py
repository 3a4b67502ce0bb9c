"""What decides each claim of Kim & Lee, "Beta-Sigma VAE", ICPR 2024: a finding from the points of a section.

A function here takes :class:`Evidence` and returns a :class:`~rdbench.report.statistics.verdict.Finding`.
:mod:`rdbench.report.tables.claims` says which claim is which function on which quantity, and shows the
verdicts.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rdbench.numerics.likelihood import READING_NAMES
from rdbench.report.numbers import Estimate, count, interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.band import Band, Curves, difference_band
from rdbench.report.statistics.bd_rate import HUGE, LEAST_RATE
from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.series import Series, values_by_seed
from rdbench.report.statistics.verdict import Finding, every

OURS, CONSTANT = "bs_vae", "beta_vae"
LIKELIHOOD = "optimal_train"
"""The reading of sigma^2 that is the likelihood of a model: one number, fitted on the training images."""
NAMED = 5
"""Of the betas that decide a claim, so many are named, the closest calls first."""

Seeds = dict[int, float]
"""Seed -> value."""

NO_COMMON_RATE = "there is no rate that all seeds of both reach"


@dataclass(frozen=True)
class Evidence:
    """What a claim is tested on: the trials, a quantity of theirs and the betas of the paper's Table 1.

    ``how`` it was measured, where others have its name; ``missing``: why it has no value at all; ``floor``:
    the rate in nats below which curves are not compared.
    """

    section: Section
    noun: str
    series: Series
    paper_betas: frozenset[float] = frozenset()
    how: str = ""
    missing: str = ""
    floor: float = LEAST_RATE

    def of(self, variant: str) -> dict[float, Seeds]:
        """Return beta -> seed -> value of a variant."""
        return {beta: values for (name, beta), values in self.series.values.items() if name == variant}

    def in_table_1(self, beta: float) -> bool:
        """Tell whether the paper's Table 1 has this beta."""
        return any(math.isclose(beta, other, rel_tol=1e-9) for other in self.paper_betas)

    def better(self, ours: Seeds, theirs: Seeds) -> Difference:
        """Return by how much ours are better, positive where they are."""
        return difference(theirs, ours) if self.series.better == "higher" else difference(ours, theirs)


# Curves


def below(ours: str, theirs: str, evidence: Evidence) -> Finding:
    """C2: BS-VAE's curve, read in one way, is below constant variance's, read in another, at every rate."""
    curves = _curves(evidence.section, ours, theirs)
    if isinstance(curves, str):
        return Finding(None, reason=curves)
    band = difference_band(curves.theirs, curves.ours, evidence.floor)
    if band is None:
        return Finding(None, reason=NO_COMMON_RATE)
    agrees = bool((band.mean > 0).all())
    # Held is what each rate shows by itself; its opposite is what the band over all of them shows at one.
    half = band.pointwise_half_width if agrees else band.half_width
    smallest = int(band.mean.argmin())
    figures = f"below it by {'' if agrees else 'as little as '}{_at(band, smallest, half)}"
    if agrees and half is not None:
        # Not where the gap is smallest but where its interval comes nearest to zero the claim is decided.
        decides = int((band.mean / half).argmin())
        if decides != smallest:
            figures += f", and, least certain, by {_at(band, decides, half)}"
    if not agrees:
        figures += f", and below it over {_percent(_share_positive(band))} of the rates that both reach"
    else:
        figures += ", over the rates that both reach"
    figures += f", {_range(band.rates[0], band.rates[-1])}"
    if band.alone:
        stretches = " and ".join(_range(*ends) for ends in band.alone)
        figures += f"; at {stretches} {OURS} meets no rival, and nothing is claimed there"
    return Finding(agrees, band.p(positive=agrees), figures + curves.left_out, band.reason)


def _at(band: Band, place: int, half: np.ndarray | None) -> str:
    """Write the gap at one of the band's rates, with the half-width of its interval."""
    gap = Estimate(float(band.mean[place]), None if half is None else float(half[place]), band.seeds)
    return f"{interval(gap)} nats at a rate of {number(float(band.rates[place]))}"


def gap_grows(evidence: Evidence) -> Finding:
    """C3: the gap to constant variance at beta/2 is larger in each lower third of the common rates."""
    curves = _curves(evidence.section, "optimal", "beta_half")
    if isinstance(curves, str):
        return Finding(None, reason=curves)
    both = sorted(curves.ours.keys() & curves.theirs.keys())
    if not both:
        return Finding(None, reason=f"{OURS} and {CONSTANT} have no seed in common")
    pairs = {seed: (curves.ours[seed], curves.theirs[seed]) for seed in both}
    low = max(evidence.floor, *(rate.min() for pair in pairs.values() for rate, _ in pair))
    high = min(rate.max() for pair in pairs.values() for rate, _ in pair)
    if not low < high:
        return Finding(None, reason=NO_COMMON_RATE)
    thirds = list(itertools.pairwise(np.linspace(low, high, 4).tolist()))
    gaps = [
        {seed: _mean_height(theirs, *third) - _mean_height(ours, *third)
         for seed, (ours, theirs) in pairs.items()}
        for third in thirds
    ]  # fmt: skip
    agrees, p, reason = every({place: difference(gaps[place + 1], gaps[place]) for place in (0, 1)})
    means = (
        f"{number(sum(gap.values()) / len(gap))} nats at {_range(*third)}"
        for gap, third in zip(gaps, thirds, strict=True)
    )
    return Finding(agrees, p, f"mean gap {', '.join(means)}{curves.left_out}", reason)


class _Curves(NamedTuple):
    """The curves of both variants by seed, and a clause on the points that are left out of them."""

    ours: Curves
    theirs: Curves
    left_out: str


def _curves(section: Section, ours: str, theirs: str) -> _Curves | str:
    """Return the curves of both variants under a reading each, or why there are none."""
    found, lost = [], []
    for variant, reading in ((OURS, ours), (CONSTANT, theirs)):
        curves, without = seed_curves(section, variant, reading)
        if not curves:
            where = READING_NAMES.get(reading, "the σ² fitted on the training images")
            return f"{variant} has fewer than two β with a value at {where}, so there is no curve"
        found.append(curves)
        lost += [f"{count(without, 'point')} of {variant}"] if without else []
    left_out = f"; left out: {' and '.join(lost)} at β that not all seeds have" if lost else ""
    return _Curves(found[0], found[1], left_out)


def seed_curves(
    section: Section, variant: str, reading: str, measure: str = "distortion"
) -> tuple[Curves, int]:
    """Return the test curve of each seed of a variant, all of the same betas; how many points are left out.

    Lines through few betas of one seed and many of another are different curves, so of the sets of betas that
    some seeds share the one with the most points is taken; of two seeds or more where there is one. Unstable
    models are part of no curve, and not counted.
    """
    rates, heights = (values_by_seed(section, name, reading) for name in ("rate", measure))
    points = {beta: {seed: (rate, heights[name, beta][seed]) for seed, rate in of_seed.items()
                     if abs(heights.get((name, beta), {}).get(seed, math.inf)) < HUGE and rate < HUGE}
              for (name, beta), of_seed in rates.items()
              if name == variant and section.states.get((name, beta)) != "unstable"}  # fmt: skip
    best: tuple[bool, int, frozenset[int], list[float]] | None = None
    for seeds in {frozenset(own) for own in points.values() if own}:
        betas = sorted(beta for beta, own in points.items() if seeds <= own.keys())
        rank = (len(seeds) > 1, len(seeds) * len(betas), seeds, betas)
        if len(betas) > 1 and (best is None or (*rank[:2], sorted(seeds)) > (*best[:2], sorted(best[2]))):
            best = rank
    if best is None:
        return {}, 0
    *_, seeds, betas = best
    curves = {
        seed: (np.array([points[beta][seed][0] for beta in betas]),
               np.array([points[beta][seed][1] for beta in betas]))
        for seed in sorted(seeds)
    }  # fmt: skip
    lost = sum(map(len, points.values())) - len(seeds) * len(betas)
    return curves, lost


def _mean_height(curve: tuple[np.ndarray, np.ndarray], low: float, high: float) -> float:
    """Return the mean of a curve over a range of rates, exact for its straight lines."""
    order = np.argsort(curve[0], kind="stable")
    rate, height = curve[0][order], curve[1][order]
    at = np.unique(np.concatenate([[low, high], rate[(rate > low) & (rate < high)]]))
    return float(np.trapezoid(np.interp(at, rate, height), at) / (high - low))


def _share_positive(band: Band) -> float:
    """Return over which share of the rates the mean is positive; it is straight between them."""
    start, end, width = band.mean[:-1], band.mean[1:], np.diff(band.rates)
    top, low = np.maximum(start, end), np.minimum(start, end)
    part = np.where(low > 0, 1.0, np.where(top <= 0, 0.0, top / np.where(top > low, top - low, 1.0)))
    return float((part * width).sum() / width.sum())


# Values at the betas


def better_at_each(evidence: Evidence) -> Finding:
    """C5: BS-VAE has the better value at every beta that both variants have."""
    ours, theirs = evidence.of(OURS), evidence.of(CONSTANT)
    shared, single = ours.keys() & theirs.keys(), ours.keys() ^ theirs.keys()
    rest = f"; not compared, as one of the two has no value: β = {listed(single)}" if single else ""
    if not shared:
        return Finding(None, reason=f"there is no β at which both have a value{rest}")
    leads = {beta: evidence.better(ours[beta], theirs[beta]) for beta in shared}
    return _decided(leads, "better", evidence, rest,
                    {beta: ((OURS, beta), (CONSTANT, beta)) for beta in shared})  # fmt: skip


def better_than_all(evidence: Evidence) -> Finding:
    """C4: BS-VAE at beta = 1 is better than constant variance at beta = 1, and at every other beta."""
    ours, theirs = evidence.of(OURS), evidence.of(CONSTANT)
    one = next((beta for beta in ours if math.isclose(beta, 1, rel_tol=1e-9)), None)
    if one is None:
        return Finding(None, reason=f"{OURS} has no value at β = 1")
    if not any(math.isclose(beta, 1, rel_tol=1e-9) for beta in theirs):
        return Finding(None, reason=f"{CONSTANT} has no value at β = 1")
    leads = {beta: evidence.better(ours[one], values) for beta, values in theirs.items()}
    return _decided(leads, "better", evidence, "", {beta: ((OURS, one), (CONSTANT, beta)) for beta in leads})


def best_at(claimed: float, gone: Mapping[float, str], evidence: Evidence) -> Finding:
    """C6: BS-VAE's best value is at the claimed beta, of those of Table 1: against each of the others.

    Among many more betas, often of one seed each, the luckiest trial would decide.

    Args:
        gone: betas of Table 1 at which BS-VAE has no value -> why.
    """
    every_beta = evidence.of(OURS)
    values = {beta: own for beta, own in every_beta.items() if evidence.in_table_1(beta)}
    here = next((beta for beta in (*values, *gone) if math.isclose(beta, claimed, rel_tol=1e-9)), None)
    if here is None:
        return Finding(None, reason=f"β = {plain(claimed)} is not in the sweep")
    if here in gone:
        return Finding(None, reason=f"β = {plain(claimed)} has no value ({gone[here]})")
    if len(values) < 2:
        alone = f"of the β of Table 1 only {plain(claimed)} has a value, and a single β has no best"
        return Finding(None, reason=alone)
    leads = {beta: evidence.better(values[here], own) for beta, own in values.items() if beta != here}
    rest = f"; no value at β = {listed(gone)}" if gone else ""
    sign, means = 1 if evidence.series.better == "higher" else -1, evidence.series.estimates
    top = max(every_beta, key=lambda beta: (sign * means[OURS, beta].mean, -beta))
    if top not in values:
        rest += f"; not of Table 1, β = {plain(top)} has {interval(means[OURS, top])}"
    return _decided(leads, "better than", evidence, rest, {b: ((OURS, here), (OURS, b)) for b in leads})


def rises_as_beta_falls(evidence: Evidence) -> Finding:
    """C7: constant variance has the better value at the lower of any two neighbouring betas of Table 1."""
    values = evidence.of(CONSTANT)
    betas = sorted(beta for beta in values if evidence.in_table_1(beta))
    if len(betas) < 2:
        return Finding(None, reason=f"{CONSTANT} has a value at fewer than two β of Table 1")
    neighbours = list(itertools.pairwise(betas))
    steps = {high: evidence.better(values[low], values[high]) for low, high in neighbours}
    pairs = {high: ((CONSTANT, low), (CONSTANT, high)) for low, high in neighbours}
    return _decided(steps, "the lower β better", evidence, "", pairs)


def error_grows_less(evidence: Evidence) -> Finding:
    """C8: from the lowest to the highest common beta BS-VAE's error grows by the smaller factor."""
    ours, theirs = evidence.of(OURS), evidence.of(CONSTANT)
    shared = sorted(ours.keys() & theirs.keys())
    several = [beta for beta in shared if min(len(ours[beta]), len(theirs[beta])) > 1]
    shared = several if len(several) > 1 else shared
    if len(shared) < 2:
        return Finding(None, reason="fewer than two β at which both have an error")
    low, high = shared[0], shared[-1]
    grown = []
    for values in (ours, theirs):
        seeds = values[low].keys() & values[high].keys()
        grown.append({seed: math.log(values[high][seed] / values[low][seed]) for seed in seeds
                      if values[low][seed] > 0 and values[high][seed] > 0})  # fmt: skip
    if not all(grown):
        return Finding(None, reason="no seed has a positive error at both ends")
    agrees, p, reason = every({high: difference(grown[0], grown[1])})
    factors = [number(math.exp(sum(side.values()) / len(side)), 2) for side in grown]
    figures = (
        f"from β = {plain(low)} to {plain(high)} the test MSE grows by a factor of {factors[0]}, that of"
        f" constant variance of {factors[1]}"
    )
    return Finding(agrees, p, figures, reason)


def reading_matters_less(evidence: Evidence) -> Finding:
    """C9: the ELBO of constant variance differs more between its readings than that of BS-VAE between its."""
    spreads = [_spread(evidence.section, variant, readings) for variant, readings in (
        (OURS, ("optimal", LIKELIHOOD)), (CONSTANT, ("half", "beta_half", LIKELIHOOD)))]  # fmt: skip
    shared = sorted(spreads[0].keys() & spreads[1].keys())
    if not shared:
        return Finding(None, reason="there is no β at which both are read in all these ways")
    leads = {beta: difference(spreads[0][beta], spreads[1][beta]) for beta in shared}
    tested, left_out = _testable(leads)
    agrees, p, reason = every(tested)
    ends = []
    for spread in spreads:
        means = [sum(spread[beta].values()) / len(spread[beta]) for beta in tested]
        ends.append(f"{number(min(means))} to {number(max(means))}")
    figures = (
        f"over {len(tested)} β the readings 1/2, β/2 and fitted on training images differ by {ends[1]} nats"
        f" for constant variance. Those of BS-VAE, fitted to each image and on training images, differ by"
        f" {ends[0]}{left_out}"
    )
    return Finding(agrees, p, figures, reason)


def _spread(section: Section, variant: str, readings: Iterable[str]) -> dict[float, Seeds]:
    """Return beta -> seed -> how far the highest and lowest test ELBO of some readings are apart, nats."""
    elbos = [values_by_seed(section, "elbo", reading) for reading in readings]
    spreads: dict[float, Seeds] = {}
    for (name, beta), own in elbos[0].items():
        if name != variant:
            continue
        for seed in own:
            values = [elbo.get((name, beta), {}).get(seed, math.nan) for elbo in elbos]
            if all(map(math.isfinite, values)):
                spreads.setdefault(beta, {})[seed] = max(values) - min(values)
    return spreads


# Shared


def _testable(leads: Mapping[float, Difference]) -> tuple[dict[float, Difference], str]:
    """Return the differences that have a test, and what is left out; all where none has one.

    The lucky training of a beta with a single seed neither shows a claim nor refutes it.
    """
    tested = {beta: lead for beta, lead in leads.items() if lead.p is not None}
    if not tested or len(tested) == len(leads):
        return dict(leads), ""
    rest = [beta for beta in leads if beta not in tested]
    reasons = "; ".join(dict.fromkeys(leads[beta].reason for beta in rest))
    which = f"β = {listed(rest)}" if len(rest) <= NAMED else f"{len(rest)} further β"
    return tested, f"; left out: {which} ({reasons})"


def _decided(
    leads: Mapping[float, Difference],
    head: str,
    evidence: Evidence,
    rest: str,
    sides: Mapping[float, tuple[tuple[str, float], tuple[str, float]]],
) -> Finding:
    """Return the finding that all leads are positive; the figures name those that decide."""
    tested, left_out = _testable(leads)
    agrees, p, reason = every(tested)
    failed = {beta for beta, lead in tested.items() if not lead.mean > 0}
    decisive = sorted(failed or tested, key=lambda beta: (abs(tested[beta].mean), beta))
    means = evidence.series.estimates
    parts = []
    for beta in sorted(decisive[:NAMED]):
        (one, here), (other, there) = sides[beta]
        where = f"β = {plain(here)}" if here == there else f"β = {plain(here)} against {plain(there)}"
        own = tested[beta].p
        single = "" if own is None else f" (p {p_value(own)})"
        parts.append(f"{where}: {interval(means[one, here])} against {interval(means[other, there])}{single}")
    more = f"; and {len(decisive) - NAMED} more" if len(decisive) > NAMED else ""
    figures = f"{head} at {len(tested) - len(failed)} of {len(tested)} β; {'; '.join(parts)}{more}"
    return Finding(agrees, p, figures + left_out + rest + evidence.how, reason)


def p_value(p: float) -> str:
    """Write a p-value after the letter: "= 0.012", "< 0.0001"."""
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def listed(betas: Iterable[float]) -> str:
    """Write betas in ascending order."""
    return ", ".join(map(plain, sorted(betas)))


def _range(low: float, high: float) -> str:
    return f"{number(float(low))} to {number(float(high))} nats"


def _percent(share: float) -> str:
    """Return a share in per cent: only all of it is 100%, only nothing 0%."""
    return f"{number(100 * (share if share in (0, 1) else min(0.999, max(0.001, share))), 1)}%"
