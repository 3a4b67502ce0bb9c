"""How a difference between variants depends on what a grid varies: most of all, on the length of training."""

from collections.abc import Mapping, Sequence

from rdbench.numerics.likelihood import LIKELIHOOD, READING_NAMES
from rdbench.report.numbers import plain
from rdbench.report.sections import Section
from rdbench.report.statistics import series
from rdbench.report.statistics.difference import Difference, difference
from rdbench.report.statistics.weights import NOT_EQUAL, OFF_CURVES, Values, at_weight, on_curves, weights
from rdbench.report.tables.measured import LONG
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.weights import BASELINE, difference_cell, equal_weight_cell, mean_weight

Pairs = dict[float, tuple[Mapping[int, float], Mapping[int, float]]]
"""Beta -> the values of the baseline and of the variant, seed -> value."""

NONE_IN_COMMON = "no β at which every combination has all seeds"


def table(parts: Sequence[tuple[str, Section]]) -> Table | None:
    """Return each variant's ELBO less the baseline's, at every combination of a grid side by side.

    Args:
        parts: what each combination is called, and its section.

    Returns:
        A row for each variant, of its means over beta, then one for each of the baseline's betas; as notes,
        what each lead becomes. None where no combination has the baseline and another variant.
    """
    elbos = [series.elbo(section, LIKELIHOOD).values for _, section in parts]
    lines = [on_curves(section, elbo) for (_, section), elbo in zip(parts, elbos, strict=True)]
    found = [weights(section)[0] for _, section in parts]
    variants = sorted({name for elbo in elbos for name, _ in elbo} - {BASELINE})
    if not variants or not any(name == BASELINE for elbo in elbos for name, _ in elbo):
        return None
    rows: list[tuple[Cell, ...]] = []
    sentences = []
    for variant in variants:
        betas = sorted({beta for elbo in elbos for name, beta in elbo if name == BASELINE})
        at_beta = [_at_equal_beta(elbo, variant, betas) for elbo in elbos]
        at_w = [_at_equal_weight(elbo, w, variant, betas) for elbo, w in zip(lines, found, strict=True)]
        (means, count), (means_w, count_w) = _means(at_beta), _means(at_w)
        gaps = [gap for pair in zip(means, means_w, strict=True) for gap in pair]
        cells = [difference_cell(gap or NONE_IN_COMMON) for gap in gaps]
        rows.append((Cell(variant), Cell("mean", f"of {count} at equal β, of {count_w} at equal w"), *cells))
        sentences += _sentence(variant, [name for name, _ in parts], means, count)
        for beta in betas:
            cells = []
            for elbo, line, w in zip(elbos, lines, found, strict=True):
                ours, theirs = elbo.get((variant, beta)), elbo.get((BASELINE, beta))
                cells.append(difference_cell(difference(theirs, ours) if ours and theirs else None))
                cells.append(equal_weight_cell(line, w, ((BASELINE, beta), variant)))
            rows.append((Cell(variant), Cell(plain(beta)), *cells))
    caption = (
        f"Test ELBO under {READING_NAMES[LIKELIHOOD]}, nats per image: the variant's less that of {BASELINE},"
        " with 95% intervals over seeds."
    )
    method = (
        f"{NOT_EQUAL} At equal w: at the weight of {BASELINE} at this β. {OFF_CURVES} A mean is"
        " over those β at which every combination has all its seeds of both, so that means compare."
    )
    said = f"ELBO in nats minus that of {BASELINE} at equal β, with 95% intervals over seeds."
    notes = (f"{said} {'. '.join(sentences)}.",) if sentences else ()
    columns = [Column("variant", kind="key"), Column(f"β of {BASELINE}", kind="key")]
    for name, _ in parts:
        columns += [Column("at equal β", name), Column("at equal w", name)]
    title = f"ELBO against {BASELINE}, over the grid"
    return Table("grid", title, caption, tuple(columns), tuple(rows), notes, method=method,
                 folded=len(rows) >= 2 * LONG)  # fmt: skip


def _at_equal_beta(elbo: Values, variant: str, betas: Sequence[float]) -> Pairs:
    return {beta: (elbo.get((BASELINE, beta), {}), elbo.get((variant, beta), {})) for beta in betas}


def _at_equal_weight(elbo: Values, found: Values, variant: str, betas: Sequence[float]) -> Pairs:
    pairs: Pairs = {}
    for beta in betas:
        w = mean_weight(found, (BASELINE, beta))
        if w is not None and w > 0:
            pairs[beta] = (at_weight(elbo, found, BASELINE, w), at_weight(elbo, found, variant, w))
    return pairs


def _means(combinations: Sequence[Pairs]) -> tuple[list[Difference | None], int]:
    """Return the mean over betas of each combination's differences, seed by seed, and of how many betas."""
    seeds = [{seed for pair in pairs.values() for side in pair for seed in side} for pairs in combinations]
    whole = [
        {beta for beta, (theirs, ours) in pairs.items() if wanted and wanted == theirs.keys() & ours.keys()}
        for pairs, wanted in zip(combinations, seeds, strict=True)
    ]
    betas = sorted(set.intersection(*whole)) if whole else []
    if not betas:
        return [None] * len(combinations), 0
    means: list[Difference | None] = []
    for pairs, wanted in zip(combinations, seeds, strict=True):
        before, after = (
            {seed: sum(pairs[beta][side][seed] for beta in betas) / len(betas) for seed in sorted(wanted)}
            for side in (0, 1)
        )
        means.append(difference(before, after))
    return means, len(betas)


def _sentence(variant: str, names: Sequence[str], gaps: Sequence[Difference | None], betas: int) -> list[str]:
    """Return what the first combination's lead at equal beta becomes at the last."""
    first, last = gaps[0], gaps[-1]
    if first is None or last is None or first.half_width is None or last.half_width is None:
        return []
    return [f"{variant} {_signed(first)} at {names[0]}, {_signed(last)} at {names[-1]} (mean over {betas} β)"]


def _signed(gap: Difference) -> str:
    return f"{gap.mean:+.2f} ± {gap.half_width:.2f}".replace("-", "−")
