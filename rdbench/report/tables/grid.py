"""How a difference between variants depends on what a grid varies: most of all, on the length of training."""

from collections.abc import Mapping, Sequence

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report.numbers import plain
from rdbench.report.sections import Section
from rdbench.report.statistics import series
from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.weights import NOT_EQUAL, Values, at_weight, weights
from rdbench.report.tables.measured import LONG
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.weights import BASELINE, difference_cell, equal_weight_cell, mean_weight

Gaps = tuple[Difference | None, Difference | None]
"""The mean over betas of a difference at equal beta, and at equal weight."""


def table(parts: Sequence[tuple[str, Section]]) -> Table | None:
    """Return each variant's ELBO less the baseline's, at every combination of a grid side by side.

    Args:
        parts: what each combination is called, and its section.

    Returns:
        A row for each variant, of its means over beta, then one for each of the baseline's betas. None where
        no combination has the baseline and another variant.
    """
    elbos = [series.elbo(section, LIKELIHOOD).values for _, section in parts]
    found = [weights(section)[0] for _, section in parts]
    variants = sorted({name for elbo in elbos for name, _ in elbo} - {BASELINE})
    if not variants or not any(name == BASELINE for elbo in elbos for name, _ in elbo):
        return None
    rows: list[tuple[Cell, ...]] = []
    sentences = []
    for variant in variants:
        means = [_mean_gaps(elbo, w, variant) for elbo, w in zip(elbos, found, strict=True)]
        cells = [difference_cell(gap or "no β in common, or no weight") for pair in means for gap in pair]
        rows.append((Cell(variant), Cell("mean"), *cells))
        sentences += _sentence(variant, [name for name, _ in parts], [pair[0] for pair in means])
        for beta in sorted({beta for elbo in elbos for name, beta in elbo if name == BASELINE}):
            cells = []
            for elbo, w in zip(elbos, found, strict=True):
                ours, theirs = elbo.get((variant, beta)), elbo.get((BASELINE, beta))
                cells.append(difference_cell(difference(theirs, ours) if ours and theirs else None))
                cells.append(equal_weight_cell(elbo, w, ((BASELINE, beta), variant)))
            rows.append((Cell(variant), Cell(plain(beta)), *cells))
    caption = (
        f"Test ELBO under {READING_NAMES[LIKELIHOOD]}, nats per image: the variant's less that of {BASELINE},"
        f" with 95% intervals over seeds. {NOT_EQUAL} At equal w: at the weight of {BASELINE} at this β. The"
        f" mean is over the β at which all seeds of both have a value. {' '.join(sentences)}"
    )
    columns = [Column("variant", kind="key"), Column(f"β of {BASELINE}", kind="key")]
    for name, _ in parts:
        columns += [Column("at equal β", name), Column("at equal w", name)]
    title = f"ELBO against {BASELINE}, over the grid"
    return Table("grid", title, caption.strip(), tuple(columns), tuple(rows), folded=len(rows) >= 2 * LONG)


def _mean_gaps(elbo: Values, found: Values, variant: str) -> Gaps:
    """Return the mean over the baseline's betas of the differences, seed by seed."""
    at_beta: list[tuple[Mapping[int, float], Mapping[int, float]]] = []
    at_w = []
    for (name, beta), theirs in sorted(elbo.items()):
        if name != BASELINE:
            continue
        if ours := elbo.get((variant, beta)):
            at_beta.append((theirs, ours))
        w = mean_weight(found, (BASELINE, beta))
        if w is not None and w > 0:
            at_w.append((at_weight(elbo, found, BASELINE, w), at_weight(elbo, found, variant, w)))
    return _over(at_beta), _over(at_w)


def _over(pairs: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> Difference | None:
    """Return the mean of differences over those pairs that have all the seeds that any has."""
    pairs = [(theirs, ours) for theirs, ours in pairs if theirs and ours]
    seeds = {seed for theirs, ours in pairs for seed in theirs.keys() & ours.keys()}
    pairs = [(theirs, ours) for theirs, ours in pairs if seeds <= theirs.keys() & ours.keys()]
    if not pairs or not seeds:
        return None
    before, after = (
        {seed: sum(pair[side][seed] for pair in pairs) / len(pairs) for seed in seeds} for side in (0, 1)
    )
    return difference(before, after)


def _sentence(variant: str, names: Sequence[str], gaps: Sequence[Difference | None]) -> list[str]:
    """Return what the first combination's lead at equal beta becomes at the last."""
    first, last = gaps[0], gaps[-1]
    if first is None or last is None or first.half_width is None or last.half_width is None:
        return []
    return [
        f"{variant} less {BASELINE} at equal β, in the mean over β: {_signed(first)} nats at {names[0]},"
        f" {_signed(last)} at {names[-1]}."
    ]


def _signed(gap: Difference) -> str:
    return f"{gap.mean:+.2f} ± {gap.half_width:.2f}"
