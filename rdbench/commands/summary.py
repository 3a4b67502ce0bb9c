"""Results in the console: a line a variant, by rate, PSNR and ELBO under one reading, and a verdict.

Every variant is told by the same quantities, whatever its own loss reads: the ELBO is that at
``optimal_train``, the one reading that is a likelihood of any model. Start with :func:`summary_lines`.
"""

from rdbench.errors import UserError
from rdbench.numerics.likelihood import LIKELIHOOD
from rdbench.report.numbers import ABSENT, count, interval, number, plain
from rdbench.report.sections import Section, gather
from rdbench.report.statistics.series import Series, elbo, series
from rdbench.report.statistics.states import mean_image_mse, said
from rdbench.report.tables import claims, sources
from rdbench.results.load import load_results
from rdbench.storage.places import Place

SHOWN = 12
"""Variants that a table has at most; the report has all."""


def summary_lines(root: Place) -> list[str]:
    """Return a table and a verdict of each section of a results folder; nothing where none has a point."""
    try:
        sections, _ = gather([load_results(root)])
    except UserError as error:
        return [f"no summary: {error}"]
    named = zip(sections, sources.headings(sections), claims.verdicts(sections), strict=True)
    lines = []
    for section, (heading, _), told in named:
        if len(section.points):
            lines += [heading] if len(sections) > 1 else []
            verdict = [f"Verdict: {' '.join(told.sentences)}"] if told.sentences else []
            marked = said(section.states, mean_image_mse(section.trials) is not None)
            lines += [*table_lines(section), *filter(None, [marked]), *verdict]
    return lines


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
