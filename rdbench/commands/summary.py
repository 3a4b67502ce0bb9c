"""Results in the console: a line a variant, by rate, PSNR and ELBO under one reading, and a verdict.

Every variant is told by the same quantities, whatever its own loss reads: the ELBO is that at
``optimal_train``, the one reading that is a likelihood of any model. Start with :func:`summary_lines`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rdbench.errors import UserError
from rdbench.numerics.likelihood import LIKELIHOOD
from rdbench.report.numbers import ABSENT, Estimate, count, interval, number, plain
from rdbench.report.sections import Section, gather
from rdbench.report.statistics.bd_rate import BdRate, CurvePoints, bd_rate
from rdbench.report.statistics.curves import finite_points
from rdbench.report.statistics.difference import Difference, difference, holm
from rdbench.report.statistics.series import Key, Series, elbo, series
from rdbench.report.statistics.states import in_curves, mean_image_mse, said
from rdbench.report.statistics.training_progress import mean_rise, progress
from rdbench.report.tables import sources
from rdbench.report.tables.bd_rate import baselines, is_linear_coder
from rdbench.results.load import load_results
from rdbench.storage.places import Place

LEVEL = 0.05
"""Of all tests that a verdict is chosen from, after Holm's correction."""
UNTESTED = "one seed, untested"
"""What stands beside a difference of single trainings."""
SHOWN = 12
"""Variants that a table has at most; the report has all."""


def summary_lines(root: Place) -> list[str]:
    """Return a table and a verdict of each section of a results folder; nothing where none has a point."""
    try:
        sections, _ = gather([load_results(root)])
    except UserError as error:
        return [f"no summary: {error}"]
    named = zip(sections, sources.headings(sections), strict=True)
    lines = []
    for section, (heading, _) in named:
        if len(section.points):
            lines += [heading] if len(sections) > 1 else []
            lines += [*table_lines(section), *filter(None, [_marked(section), verdict(section)])]
    return lines


def _marked(section: Section) -> str:
    return said(section.states, mean_image_mse(section.trials) is not None)


def table_lines(section: Section) -> list[str]:
    """Return :func:`table_rows` as lines: a heading, and one a variant."""
    rows, left = table_rows(section)
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return lines + ([f"and {count(left, 'variant')} more, in the report"] if left > 0 else [])


def table_rows(section: Section) -> tuple[list[list[str]], int]:
    """Return a heading and a row a variant, and how many variants are left out.

    A row has the range of rates, the best PSNR and the best ELBO over beta, and the number of seeds, all of
    models that neither collapsed nor are unstable.
    """
    by_name = {one.name: one for one in series(section)}
    likelihood = elbo(section, LIKELIHOOD)
    quality = by_name.get("psnr") or by_name.get("mse")
    if quality is None:
        return [], 0
    named = ", ".join(filter(None, (f"best {quality.title.removeprefix('test ')}", quality.unit)))
    heading = ["", "rate, nats", named, f"best ELBO at {LIKELIHOOD}, nats", "seeds"]
    variants = sorted({variant for variant, _ in quality.values}, key=lambda name: _rank(likelihood, name))
    rows = [heading]
    for variant in variants[:SHOWN]:
        seeds = [len(values) for (name, _), values in quality.values.items() if name == variant]
        spread = f"{min(seeds)} to {max(seeds)}" if min(seeds) < max(seeds) else str(seeds[0])
        rows.append([variant, _rates(by_name.get("rate"), variant), _best(quality, variant),
                     _best(likelihood, variant), spread])  # fmt: skip
    return rows, len(variants) - SHOWN


def _rank(likelihood: Series, variant: str) -> tuple[float, str]:
    best = likelihood.best(variant)
    return (-likelihood.estimates[best].mean if best else float("inf"), variant)


def _rates(rates: Series | None, variant: str) -> str:
    if rates is None:
        return ABSENT
    means = [
        mean.mean for key, mean in rates.estimates.items() if key[0] == variant and key not in rates.states
    ]
    return f"{number(min(means))} to {number(max(means))}" if means else ABSENT


def _best(quality: Series, variant: str) -> str:
    """Write a variant's best mean with its interval and beta, or why it has none."""
    if (key := quality.best(variant)) is not None:
        return f"{interval(quality.estimates[key])} (β {plain(key[1])})"
    if any(name == variant for name, _ in quality.values):
        return f"{ABSENT} (all collapsed or unstable)"
    return ABSENT


@dataclass(frozen=True)
class _Statement:
    """What the means say of two variants, and the test that decides whether it is shown."""

    words: str
    p: float | None  # two-sided; None without a test


def verdict(section: Section) -> str:
    """Return one sentence: the difference between two variants that the trials show most clearly.

    Chosen among BD-rates at equal PSNR and differences of the best ELBO at ``optimal_train``, after Holm's
    correction over them. Where none is shown it says so; of single seeds, what differs and that it is
    untested. "" with fewer than two variants.
    """
    statements = [*_rate_statements(section), *_elbo_statements(section)]
    if not statements:
        return ""
    tested = [(one, one.p) for one in statements if one.p is not None]
    if not tested:
        said_of = "; ".join(one.words for one in statements[:2])
        return f"Verdict ({_why_untested(section)}): {said_of}{_length(section)}."
    corrected = zip(holm([p for _, p in tested]), tested, strict=True)
    p, (best, _) = min(corrected, key=lambda pair: pair[0])
    shown = "" if p <= LEVEL else "no difference between variants is shown; the clearest: "
    return f"Verdict: {shown}{best.words}{_length(section)}."


def _why_untested(section: Section) -> str:
    return UNTESTED if section.points["seed"].nunique() == 1 else "untested"


def _pairs(variants: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (variant, baseline): against constant variance, or the first; the linear coder only if alone."""
    names = sorted(variants)
    trained = [name for name in names if not is_linear_coder(name)]
    against = baselines(trained if len(trained) > 1 else names)
    if against:
        yield from ((name, against[0]) for name in names if name != against[0] and name in (trained or names))


def _rate_statements(section: Section) -> Iterator[_Statement]:
    points = in_curves(finite_points(section.points, "test", "half"), section.states, collapsed=True)
    variants = sorted(points["variant"].unique())
    curves = {name: CurvePoints(points[points["variant"] == name], "mse") for name in variants}
    for variant, baseline in _pairs(variants):
        rate = bd_rate(curves[variant], curves[baseline], variant=variant, name=baseline)
        if rate.percent is not None and not rate.overlaps_little:
            yield _of_rate(rate)


def _of_rate(rate: BdRate) -> _Statement:
    percent = rate.percent or 0.0
    ends = "" if rate.low is None or rate.high is None else (
        f" (95% interval of the difference {number(rate.low, 1)} to {number(rate.high, 1)}%, n = {rate.n})"
    )  # fmt: skip
    size = f"{number(abs(percent), 1)}% {'more' if percent > 0 else 'less'} rate"
    return _Statement(
        f"at equal PSNR {rate.variant} needs {size} than {rate.baseline}{ends}",
        rate.p,
    )


def _elbo_statements(section: Section) -> Iterator[_Statement]:
    likelihood = elbo(section, LIKELIHOOD)
    variants = {variant for variant, _ in likelihood.values if likelihood.best(variant) is not None}
    for variant, baseline in _pairs(variants):
        one, other = likelihood.best(variant), likelihood.best(baseline)
        if one is None or other is None:
            continue
        gap = difference(likelihood.values[other], likelihood.values[one])
        yield _of_elbo(likelihood, one, other, gap)


def _of_elbo(likelihood: Series, one: Key, other: Key, gap: Difference) -> _Statement:
    higher = "higher" if gap.mean > 0 else "lower"
    seeds = min(likelihood.estimates[key].n for key in (one, other))
    by = interval(Estimate(abs(gap.mean), gap.half_width, seeds))
    values = " and ".join(
        f"{number(likelihood.estimates[key].mean, 1)} at β {plain(key[1])}" for key in (one, other)
    )
    return _Statement(
        f"{one[0]}'s best ELBO at {LIKELIHOOD} is {by} nats {higher} than {other[0]}'s ({values},"
        f" {count(seeds, 'seed')}, β {likelihood.chosen_on})",
        gap.p,
    )


def _length(section: Section) -> str:
    """Return a clause on how far training had come, where the ELBO of a variant's best rose by a nat yet."""
    trainings, _ = progress(section)
    likelihood = elbo(section, LIKELIHOOD)
    best = {key for variant, _ in likelihood.values if (key := likelihood.best(variant)) is not None}
    rises = [rise for key, by_seed in trainings.items() if key in best
             and (rise := mean_rise(by_seed.values(), LIKELIHOOD)) is not None]  # fmt: skip
    if (most := max(rises, default=0.0)) < 1:
        return ""
    rose = f"the training ELBO still rose by up to {number(most, 1)} nats in its second half"
    return f"; training was short: {rose}"
