"""Variants in one ranking by the likelihood that each model has, whatever its family."""

from rdbench.numerics.likelihood import LIKELIHOOD, OWN, READING_NAMES
from rdbench.report.numbers import ABSENT, plain
from rdbench.report.sections import Section
from rdbench.report.statistics.difference import difference
from rdbench.report.statistics.series import has_own, likelihood
from rdbench.report.statistics.training_progress import mean_rise, progress
from rdbench.report.tables.bold import MARKED, marked_cell
from rdbench.report.tables.measured import most_seeds
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.training_progress import RISE, ROSE, rise_cell
from rdbench.report.tables.weights import difference_cell


def table(section: Section) -> Table | None:
    """Return each variant at its best beta, the highest likelihood first; None with fewer than two."""
    series, own = likelihood(section), has_own(section)
    variants = {variant for variant, _ in series.values}
    best = [key for variant in variants if (key := series.best(variant)) is not None]
    if len(best) < 2:
        return None
    best.sort(key=lambda key: (-series.estimates[key].mean, key))
    most = most_seeds([series])
    trainings, unknown = progress(section)
    rows = []
    for place, key in enumerate(best, start=1):
        tried = sum(variant == key[0] for variant, _ in series.values)
        behind = difference(series.values[best[0]], series.values[key]) if place > 1 else None
        rows.append((
            Cell(str(place), value=place), Cell(key[0]), Cell(plain(key[1]), f"best of {tried} β"),
            Cell(READING_NAMES[OWN if key[0] in own else LIKELIHOOD]),
            marked_cell(series, key, "", "", most=most),
            difference_cell(behind) if behind else Cell(ABSENT, "the first"),
            rise_cell(mean_rise(trainings.get(key, {}).values(), LIKELIHOOD), behind.mean if behind else None,
                      unknown.get(key, "")),
        ))  # fmt: skip
    flatters = "" if series.choice else ", these very ones, which flatters all variants"
    chosen = f"{series.chosen_on}{flatters}"
    caption = "Each variant at its best β; test ELBO, nats per image."
    method = (
        "The ELBO is a lower bound of log p(x). It is under the model's own likelihood where it has one, else"
        f" a Gaussian's with the {READING_NAMES[LIKELIHOOD]}."
        " Nats on the same pixels compare, whatever the family. But a density has no upper bound. Where a"
        " pixel is the same in every image, a likelihood that gives it next to no variance gains from that"
        f" alone. Each β was {chosen}. {ROSE} It is"
        f" that under {READING_NAMES[LIKELIHOOD]}, marked where it is more than the difference. {MARKED}"
    )
    columns = (
        Column("place", kind="key"), Column("variant", kind="key"), Column("β", kind="key"),
        Column("likelihood", kind="text"), Column("test ELBO"), Column("less the first"), Column(RISE),
    )  # fmt: skip
    return Table("likelihood", "Variants by likelihood", caption, columns, tuple(rows), method=method)
