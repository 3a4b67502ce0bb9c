"""Print the tables of this study: what a lead over constant variance is after 20, 60, 200 and 400 epochs.

    uv run python reports/digits_length/figures.py results/digits_length

First what each longer training changes: the mean lead over the betas that all lengths have, seed by seed,
less that of the length before, with its 95 % interval; and ELBO by split, which tells fitting by heart.
"""

import math
import sys
from collections.abc import Iterator
from itertools import pairwise

from rdbench.report.contents import SectionContents, contents
from rdbench.report.numbers import Estimate, interval
from rdbench.report.statistics import series
from rdbench.report.statistics.curves import estimate
from rdbench.report.statistics.difference import difference
from rdbench.report.statistics.weights import at_weight, on_curves, weights
from rdbench.report.tables.write import to_markdown
from rdbench.storage.places import place

CONSTANT, VARIANTS = "beta_vae", ("bs_vae", "sigma_vae_optimal")
Leads = dict[float, dict[int, float]]
"""Beta of constant variance -> seed -> lead in ELBO."""


def leads(section: SectionContents, variant: str, at_equal_weight: bool) -> Leads:
    """Return a variant's ELBO less that of constant variance, at each of its betas that have all seeds."""
    own = section.section
    values = series.elbo(own, "optimal_train").values
    (found, _), lines = weights(own), on_curves(own, values)
    every = {seed for seeds in values.values() for seed in seeds}
    every &= {seed for (name, _), seeds in values.items() if name == CONSTANT for seed in seeds}
    result: Leads = {}
    for name, beta in sorted(values):
        if name != CONSTANT or (at_equal_weight and (name, beta) not in lines):
            continue
        ours = at_weight(lines, found, variant, beta) if at_equal_weight else values.get((variant, beta), {})
        if ours.keys() == every:  # constant variance has w = beta
            result[beta] = {seed: ours[seed] - values[name, beta][seed] for seed in every}
    return result


def changes(lengths: dict[int, SectionContents]) -> Iterator[str]:
    """Yield the lines of a table: what each longer training adds to a lead, on the betas all lengths have."""
    epochs = sorted(lengths)
    yield f"| | {' | '.join(f'{one} to {two} epochs' for one, two in pairwise(epochs))} |"
    yield "| :-- " + "| --: " * (len(epochs) - 1) + "|"
    for variant in VARIANTS:
        for equal, at_equal_weight in (("equal β", False), ("equal weight", True)):
            found = {one: leads(lengths[one], variant, at_equal_weight) for one in epochs}
            betas = set.intersection(*(set(one) for one in found.values()))
            means = {
                one: {seed: math.fsum(by[beta][seed] for beta in betas) / len(betas)
                      for seed in next(iter(by.values()))}
                for one, by in found.items()
            }  # fmt: skip
            gaps = [difference(means[one], means[two]) for one, two in pairwise(epochs)]
            cells = [interval(Estimate(gap.mean, gap.half_width, 3)) for gap in gaps]
            yield f"| `{variant}`, {equal}, {len(betas)} β | {' | '.join(cells)} |"


def by_split(lengths: dict[int, SectionContents]) -> Iterator[str]:
    """Yield the lines of a table: the ELBO of both splits, mean over betas, with its interval over seeds."""
    yield f"| | {' | '.join(f'{one} epochs' for one in sorted(lengths))} |"
    yield "| :-- " + "| --: " * len(lengths) + "|"
    for variant in (CONSTANT, *VARIANTS):
        for split in ("train", "test"):
            cells = []
            for one in sorted(lengths):
                points = lengths[one].section.points
                here = points[(points["variant"] == variant) & (points["split"] == split)]
                here = here[here["reading"] == "optimal_train"]
                cells.append(interval(estimate(here.groupby("seed")["elbo"].mean().tolist())))
            yield f"| `{variant}`, {split} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sections = contents([place(sys.argv[1])]).sections
    alone = {one.section.settings["train"]["epochs"]: one for one in sections if not one.section.varied}
    print("\n## What a longer training adds to a lead, nats of test ELBO\n\n" + "\n".join(changes(alone)))
    print("\n## ELBO of the images trained on, and of others\n\n" + "\n".join(by_split(alone)))
    for section in sections:
        tables = {table.name: table for table in section.tables}
        wanted = ["grid"] if section.section.varied else ["linear_coder", "claims"]
        for name in wanted:
            if name in tables:
                print(f"\n## {section.heading}\n\n{to_markdown(tables[name])}")
