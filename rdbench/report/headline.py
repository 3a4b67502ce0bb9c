"""What a section shows, in a few sentences: who needs less rate, whose ELBO is higher, how long it trained.

Each statement is a test among those of the whole page, so what is said here and in the page's tables has
one correction. Start with :func:`sentences`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report import calibration
from rdbench.report.numbers import Estimate, count, interval, number, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.bd_rate import BdRate, CurvePoints, bd_rate
from rdbench.report.statistics.claims import p_value
from rdbench.report.statistics.curves import finite_points
from rdbench.report.statistics.difference import difference
from rdbench.report.statistics.series import Key, Series, elbo
from rdbench.report.statistics.states import in_curves
from rdbench.report.statistics.training_progress import mean_rise, progress
from rdbench.report.statistics.verdict import LEVEL, Judgement
from rdbench.report.tables.bd_rate import baselines, is_trained

UNTESTED = "one seed, untested"
"""What stands beside a difference of single trainings."""

LITTLE = 1.0
"""Nats that the ELBO of a training that is called long enough gained in its second cycle at most."""


@dataclass(frozen=True)
class Statement:
    """What the means say of a variant beside a baseline, and the test that decides whether it is shown."""

    quantity: str  # "rate" at equal PSNR, or "ELBO"
    words: str
    within: str  # its interval and seeds, "" without an interval
    where: str  # a sentence on the values it is of
    gain: float  # positive where the variant is better
    p: float | None  # two-sided; None without a test

    def told(self, how: str) -> str:
        """Return it in words; ``how``: its corrected p, or why there is none."""
        return f"{self.words} ({', '.join(filter(None, (self.within, how)))})"


def statements(section: Section) -> list[Statement]:
    """Return what may be said of a section: BD-rates at equal error, differences of best ELBOs.

    Empty with fewer than two variants that have a curve, or a best.
    """
    return [*_rate_statements(section), *_elbo_statements(section)]


def sentences(
    section: Section,
    said: Sequence[Statement],
    corrected: Sequence[float | None],
    coder: Sequence[tuple[BdRate, Judgement]] = (),
) -> tuple[str, ...]:
    """Return the page's verdict on a section: what is shown of rate, of ELBO, and how long it trained.

    Args:
        said: of :func:`statements`; without any, and without a known optimum, there is no sentence.
        corrected: the p-value of each, corrected for all tests of the page; None without a test.
        coder: each trained variant beside the linear coder, judged.
    """
    told = [*_against_theory(section)]
    for quantity in ("rate", "ELBO"):
        own = [(p, one) for p, one in zip(corrected, said, strict=True) if one.quantity == quantity]
        told += _clearest(section, own) if own else []
    if told:
        told += [*_below_coder(coder), *_length(section)]
    return tuple(f"{text[:1].upper()}{text[1:]}." for text in told)


def _against_theory(section: Section) -> Iterator[str]:
    """Say how many points lie where theory has the optimum, where it knows one."""
    if section.dataset == "gaussian" and (checks := calibration.checks(section.trials, section.points)):
        yield calibration.summary(checks)
        yield "the optimum is that of as many latents, which at high rates lies above Shannon's bound"
        if section.points["seed"].nunique() == 1:
            yield "one seed: the distance to it has no interval"


def _clearest(section: Section, own: Sequence[tuple[float | None, Statement]]) -> list[str]:
    """Say the largest gain that is shown; else the largest loss; else the clearest, as not shown."""
    tested = [(p, one) for p, one in own if p is not None]
    if not tested:
        largest = max((one for _, one in own), key=lambda one: abs(one.gain))
        return [largest.told(_why_untested(section)), largest.where]
    shown = [(p, one) for p, one in tested if p <= LEVEL]
    if not shown:
        p, best = min(tested, key=lambda pair: pair[0])
        return [
            f"no difference in {best.quantity} is shown over seeds, after the correction for all tests of"
            " this page",
            f"the clearest: {best.told(f'corrected p {p_value(p)}')}",
            best.where,
        ]
    gains = [(p, one) for p, one in shown if one.gain > 0]
    p, best = (
        max(gains, key=lambda pair: pair[1].gain) if gains else min(shown, key=lambda pair: pair[1].gain)
    )
    told = [best.told(f"corrected p {p_value(p)}"), best.where]
    if len(own) > 1:
        what = "are shown to be better" if gains else "are shown to be worse"
        told.append(f"{len(gains or shown)} of {count(len(own), 'variant')} {what}")
    return told


def _why_untested(section: Section) -> str:
    return UNTESTED if section.points["seed"].nunique() == 1 else "untested"


def _pairs(variants: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (variant, baseline): against constant variance, or the first; the untrained only if alone."""
    names = sorted(variants)
    trained = [name for name in names if is_trained(name)]
    compared = trained if len(trained) > 1 else names
    against = baselines(compared)
    if against:
        yield from ((name, against[0]) for name in compared if name != against[0])


def _rate_statements(section: Section) -> Iterator[Statement]:
    points = in_curves(finite_points(section.points, "test", "half"), section.states, collapsed=True)
    variants = sorted(points["variant"].unique())
    curves = {name: CurvePoints(points[points["variant"] == name], "mse") for name in variants}
    pixels = bool("psnr_of_mse" in points and points["psnr_of_mse"].notna().any())
    for variant, baseline in _pairs(variants):
        rate = bd_rate(curves[variant], curves[baseline], variant=variant, name=baseline)
        tested = (
            rate.p is not None or rate.n == 1
        )  # why several seeds give no test, the table of BD-rates says
        if rate.percent is not None and tested and not rate.overlaps_little:
            yield _of_rate(rate, pixels)


def _of_rate(rate: BdRate, pixels: bool) -> Statement:
    percent = rate.percent or 0.0
    sign = -1 if percent < 0 else 1
    ends = sorted(sign * end for end in (rate.low, rate.high) if end is not None)
    seeds = f", {count(rate.n, 'seed')}" if rate.n > 1 else ""
    within = f"95% interval {number(ends[0], 1)} to {number(ends[1], 1)}%{seeds}" if ends else ""
    at, where = "equal error", "that is on average over the errors that both reach"
    if pixels and rate.quality_range is not None:
        span = " to ".join(number(end, 1) for end in rate.quality_range)
        at, where = "equal PSNR", f"that is on average over the PSNR that both reach, {span} dB"
    size = f"{number(abs(percent), 1)}% {'less' if percent < 0 else 'more'} rate"
    words = f"at {at} {rate.variant} needs {size} than {rate.baseline}"
    return Statement("rate", words, within, where, -percent, rate.p)


def _elbo_statements(section: Section) -> Iterator[Statement]:
    likelihood = elbo(section, LIKELIHOOD)
    variants = {variant for variant, _ in likelihood.values if likelihood.best(variant) is not None}
    for variant, baseline in _pairs(variants):
        one, other = likelihood.best(variant), likelihood.best(baseline)
        if one is not None and other is not None:
            yield _of_elbo(likelihood, one, other)


def _of_elbo(likelihood: Series, one: Key, other: Key) -> Statement:
    gap = difference(likelihood.values[other], likelihood.values[one])
    seeds = min(likelihood.estimates[key].n for key in (one, other))
    by = interval(Estimate(abs(gap.mean), gap.half_width, seeds))
    way = f"{by} nats {'higher' if gap.mean > 0 else 'lower'} than" if gap.mean else "equal to"
    within = f"95% interval over {count(seeds, 'seed')}" if gap.half_width is not None else ""
    values = " against ".join(
        f"{number(likelihood.estimates[key].mean, 1)} at β {plain(key[1])}" for key in (one, other)
    )
    where = f"that is {values}, at the {READING_NAMES[LIKELIHOOD]}, β {likelihood.chosen_on}"
    words = f"the best ELBO of {one[0]} is {way} that of {other[0]}"
    return Statement("ELBO", words, within, where, gap.mean, gap.p)


def _below_coder(coder: Sequence[tuple[BdRate, Judgement]]) -> Iterator[str]:
    """Say so where no trained variant needs less rate than the linear coder, which is not trained."""
    known = [(rate, judged) for rate, judged in coder
             if rate.percent is not None and is_trained(rate.variant)]  # fmt: skip
    if len(known) > 1 and all(rate.percent > 0 for rate, _ in known if rate.percent is not None):
        shown = all(judged.p is not None and judged.p <= LEVEL for _, judged in known)
        words = "at equal error the linear coder needs less rate than any trained variant"
        yield words if shown else f"{words}, in the mean"


def _length(section: Section) -> Iterator[str]:
    """Say how far training had come, by the most that the ELBO of a variant's best still rose."""
    trainings, unknown = progress(section)
    likelihood = elbo(section, LIKELIHOOD)
    best = {key for variant, _ in likelihood.values if (key := likelihood.best(variant)) is not None}
    rises = [rise for key, by_seed in trainings.items() if key in best
             and (rise := mean_rise(by_seed.values(), LIKELIHOOD)) is not None]  # fmt: skip
    if not rises:
        if why := next(iter(unknown.values()), ""):
            yield f"how far training had come is not known: {why}"
        return
    epochs = section.settings.get("train", {}).get("epochs")
    trained = "training" if epochs is None else f"training of {count(epochs, 'epoch')}"
    if (most := max(rises)) < LITTLE:
        found, rose = "was long enough", f"rose by {number(most, 2)} nats at most"
    else:
        found, rose = "was short", f"still rose by up to {number(most, 1)} nats"
    yield f"{trained} {found}: in its second half the best models' ELBO {rose}"
