"""What was run, in one line: dataset, variants, betas, seeds, protocol, length, and what became of it."""

from rdbench.report.numbers import count, plain
from rdbench.report.sections import Section
from rdbench.report.tables.linear_coder import length_of_training
from rdbench.report.tables.measured import keys, progress, trials_asked_for

NAMED = 4
"""Variants that the line names; of more it gives the number."""

PROTOCOLS = {
    "clean": "scored on plain test images (protocol clean)",
    "paper": "scored as by the paper's code (protocol paper)",
}


def run_line(section: Section) -> str:
    """Return the line of a section: parts joined by " · "."""
    found = keys(section)
    variants = sorted({variant for variant, _ in found})
    betas = sorted({beta for _, beta in found})
    seeds = {seed for _, seed, _ in trials_asked_for(section)}
    named = ", ".join(variants) if len(variants) <= NAMED else f"{len(variants)} variants"
    if len(betas) == 1:
        span = f"β = {plain(betas[0])}"
    else:
        span = f"{len(betas)} β from {plain(betas[0])} to {plain(betas[-1])}" if betas else ""
    parts = [
        section.dataset, named, span, count(len(seeds), "seed") if seeds else "",
        PROTOCOLS[section.protocol], length_of_training(section), progress(section),
    ]  # fmt: skip
    return " · ".join(filter(None, parts))
