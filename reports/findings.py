"""Print what a study found, in sentences and tables, each computed from the tables of its results folder.

    uv run python reports/findings.py results/mnist

Of each section: the page's verdict; each variant beside the linear coder, and beside constant variance at
equal beta and at equal weight; the paper's claims; what could undo it. Intervals are 95 %, Student's t over
seeds; a single seed has none, and says so. "Shown by itself" is an interval without zero, of this one
sentence: the verdicts of the claims are corrected for all of the page, these sentences are not.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from rdbench.errors import UserError
from rdbench.report.contents import SectionContents, contents
from rdbench.report.numbers import ABSENT
from rdbench.report.sections import Section
from rdbench.report.statistics.coded import coded_points
from rdbench.report.tables.bd_rate import is_trained
from rdbench.report.tables.table import Cell, Column, Table
from rdbench.report.tables.write import to_markdown
from rdbench.results.model_states import LEAST_RATE
from rdbench.storage.places import place

CODER, CODEC, CONSTANT = "linear_coder", "codec", "beta_vae"
TABLES = ("linear_coder", "training_progress", "decoders", "real_codes")
UNCORRECTED = (
    "Each interval is of its own sentence, uncorrected: of twenty without a difference one leaves zero out."
)

Row = dict[str, Cell]


def estimate(values: pd.Series) -> Cell:
    """Return a mean over seeds with the half-width of its 95 % interval."""
    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf(0.975, n - 1) * stats.sem(values)) if n > 1 else None
    return Cell("", value=mean, half_width=half, n=n)


def told(cell: Cell, form: str = ".1f") -> str:
    """Write a number with its interval: "-33.1 (-40.2 to -26.0)"."""
    if cell.value is None:
        return f"not known ({cell.note})"
    if cell.half_width is None:
        return f"{cell.value:{form}} (one seed)"
    low, high = cell.value - cell.half_width, cell.value + cell.half_width
    return f"{cell.value:{form}} ({low:{form}} to {high:{form}})"


def shown(cell: Cell) -> str:
    """Return whether a number differs from zero beyond its interval, in words."""
    if cell.value is None or cell.half_width is None:
        return "not tested"
    return "shown by itself" if abs(cell.value) > cell.half_width else "not shown"


def per_cent(logarithms: pd.Series) -> tuple[str, str]:
    """Return a mean logarithm of a ratio as per cent with its interval, and whether it is shown."""
    cell = estimate(logarithms)
    mean, half = cell.value or 0.0, cell.half_width
    ends = [100 * np.expm1(end) for end in ((mean,) if half is None else (mean, mean - half, mean + half))]
    interval = "one seed" if half is None else f"{ends[1]:.1f} to {ends[2]:.1f}"
    return f"{ends[0]:.1f} ({interval})", shown(cell)


def rows(table: Table | None) -> Iterator[Row]:
    """Yield a table's rows by heading; of two columns with one heading the first counts."""
    if table is not None:
        headings = [column.heading for column in table.columns]
        yield from ({headings[i]: row[i] for i in reversed(range(len(headings)))} for row in table.rows)


def beside(points: pd.DataFrame, curve: pd.DataFrame) -> pd.DataFrame:
    """Add a curve's squared error at each row's rate, "theirs", and the log of the row's over it, "above".

    Both have columns rate (nats per image) and sse. Between its points the curve is taken as a straight line
    in the logarithm of its error; beyond its rates it has none.
    """
    curve = curve.sort_values("rate")
    line = np.interp(points["rate"], curve["rate"], np.log(curve["sse"]), np.nan, np.nan)
    return points.assign(theirs=np.exp(line), above=np.log(points["sse"]) - line)


def against_the_coder(points: pd.DataFrame) -> Iterator[str]:
    """Say of each variant and beta where it lies beside the linear coder at equal rate."""
    coder = points[points["variant"] == CODER].groupby("beta")[["rate", "sse"]].mean()
    for (variant, beta), trials in beside(points[points["variant"].map(is_trained)], coder).groupby(
        ["variant", "beta"]
    ):
        rate, error = (estimate(trials[name]) for name in ("rate", "sse"))
        start = f"`{variant}` at β = {beta:g}: {told(rate)} nats, squared error {told(error, '.2f')}"
        if trials["rate"].mean() < LEAST_RATE:
            end = "its decoder uses no latents"
        elif trials["theirs"].isna().any():
            ends = f"{coder['rate'].min():.1f} to {coder['rate'].max():.1f} nats"
            end = f"not compared, as a seed lies outside the linear coder's rates, {ends}"
        else:
            difference, certain = per_cent(trials["above"])
            end = f"the linear coder's at the same rate is {trials['theirs'].mean():.2f}, and this is "
            end += f"{difference} per cent off it: {certain}"
        yield f"{start}; {end}."


def real_codes(section: Section) -> Table | None:
    """Return what latents on a grid cost a coder, and their error beside a codec's of that rate, if any."""
    points = section.points[(section.points["split"] == "test") & (section.points["reading"] == "half")]
    keys = ["variant", "beta", "seed"]
    coded = coded_points(section).merge(points[[*keys, "rate"]], on=keys, suffixes=("", "_kl"))
    if not len(coded):
        return None
    codecs = dict(list(points[points["variant"].str.startswith(CODEC)].groupby("variant")))
    coded = coded.drop_duplicates(
        ["variant", "beta", "step", "rate", "sse"]
    )  # seeds of a closed form are one
    lines = []
    for (variant, beta, step), trials in coded.groupby(["variant", "beta", "step"]):
        measured = [Cell(told(estimate(trials[name]), form)) for name, form in
                    (("rate", ".1f"), ("rate_kl", ".1f"), ("sse", ".2f"))]  # fmt: skip
        compared = [beside(trials, curve)["above"] for curve in codecs.values()]
        ratios = [
            Cell(ABSENT, "outside the codec's rates") if logs.isna().any() else Cell(per_cent(logs)[0])
            for logs in compared
        ]
        lines.append((Cell(variant), Cell(f"{beta:g}"), Cell(f"{step:g}"), *measured, *ratios))
    caption = (
        "Posterior means on a grid of so many mean posterior deviations, range-coded: nats an image, and the"
        " squared error of what is decoded; then by how many per cent this lies off a codec's at that rate."
        f" {UNCORRECTED}"
    )
    headings = ("variant", "β", "step", "code, nats", "KL, nats", "squared error")
    columns = tuple(Column(name, kind="text") for name in (*headings, *(f"off {name}, %" for name in codecs)))
    return Table("real_codes", "Real codes", caption, columns, tuple(lines))


def against_constant_variance(table: Table | None, points: pd.DataFrame) -> Iterator[str]:
    """Say what each variant's ELBO is ahead of constant variance by, at equal beta and at equal weight."""
    rates = points.groupby(["variant", "beta"])["rate"].mean()
    for row in rows(table):
        if not is_trained(row["variant"].text):
            continue
        name, beta = row["variant"].text, float(row[f"β of {CONSTANT}"].text)
        at_beta, at_weight = row["at equal β"], row[f"at equal w, that of {CONSTANT}"]
        pair = f"`{name}` less `{CONSTANT}` of β = {beta:g}, nats of ELBO"
        if rates[name, beta] < LEAST_RATE and rates[CONSTANT, beta] < LEAST_RATE:
            yield f"{pair}: {told(at_beta)} at equal β, where neither uses its latents."
            continue
        of_weight = f"{told(at_weight)}, {shown(at_weight)}" if at_weight.value is not None else (
            f"not compared ({at_weight.note})"
        )  # fmt: skip
        yield f"{pair}: at equal β {told(at_beta)}, {shown(at_beta)}; at equal weight {of_weight}."


def claims(table: Table | None) -> Iterator[str]:
    """Say of each claim of the paper what became of it, by how much and how certainly."""
    for row in rows(table):
        p, verdict = row["p, corrected"], row["verdict"].text.capitalize()
        tested = f", corrected p {p.text}" if p.value is not None else ""
        reasons = "; ".join(filter(None, (row["why"].text, row["figures"].text)))
        yield f"{row['no.'].text}: {row['claim'].text} **{verdict}**{tested}: {reasons}."


def what_could_undo_it(section: SectionContents, tables: dict[str, Table]) -> Iterator[str]:
    """Say what the findings hang on, with figures where the tables have them."""
    points = section.section.points
    seeds = points[points["variant"].map(is_trained)].groupby(["variant", "beta"])["seed"].nunique()
    fewest, most = seeds.min(), seeds.max()
    if fewest > 1:
        errors = stats.t.ppf(0.975, fewest - 1)
        yield (f"Seeds: {fewest}{f' to {most}' if most > fewest else ''} of each (variant, β). With {fewest} "
               f"a difference has to be {errors:.1f} of its standard errors to be shown.")  # fmt: skip
    else:
        yield "Seeds: some (variant, β) have a single one, and no interval."
    rises = [(row, row["ELBO gained in the second cycle"]) for row in rows(tables.get("training_progress"))]
    known = [(cell.value, row, cell) for row, cell in rises if cell.value is not None]
    if known:
        _, row, cell = max(known, key=lambda one: one[0])
        epochs = section.section.settings["train"]["epochs"]
        yield (
            f"Length: {epochs} epochs. In the second of the two cycles of the learning rate the ELBO still "
            f"rose, most that of `{row['variant'].text}` at β = {row['β'].text}: by {told(cell)} nats. "
            "A longer training may change any order whose lead is no larger."
        )
    coder = points[(points["variant"] == CODER) & (points["split"] == "test")]
    if len(coder):
        betas, least = coder["beta"].nunique(), coder["sse"].min()
        yield (
            f"The linear coder: straight lines between its {betas} β, in the log of its error, the mean "
            "of its seeds, taken as exact. With as many latents as the others it comes to no error below "
            f"{least:.2f}; with more it would."
        )
        if section.section.protocol == "clean":
            yield (
                "The linear coder is fitted to images as they are, "
                "also where the others train on augmented ones."
            )
    yield "One network, one dataset, one recipe: what is best here is not thereby best elsewhere."


def found(section: SectionContents) -> None:
    """Print the findings of a section, then the tables behind them."""
    tables = {table.name: table for table in section.tables}
    if codes := real_codes(section.section):
        tables[codes.name] = codes
    points = section.section.points
    points = points[(points["split"] == "test") & (points["reading"] == "optimal_train")]
    coder = against_the_coder(points) if CODER in section.variants else ()
    print(f"# {section.heading}")
    for heading, sentences in {
        "In short": section.verdict,
        "Beside the linear coder, at equal rate": coder,
        "Beside constant variance": against_constant_variance(tables.get("equal_weight"), points),
        "The paper's claims": claims(tables.get("claims")),
        "What could undo it": what_could_undo_it(section, tables),
    }.items():
        if lines := [f"- {sentence}" for sentence in sentences]:
            print(f"\n## {heading}\n")
            if heading.startswith("Beside"):
                print(f"{UNCORRECTED}\n")
            print("\n".join(lines))
    for name in TABLES:
        if name in tables:
            print(f"\n## Table: {name.replace('_', ' ')}\n\n{to_markdown(tables[name])}")


if __name__ == "__main__":
    try:
        sections = contents([place(name) for name in map(Path, sys.argv[1:])]).sections
    except UserError as error:
        sys.exit(f"error: {error}")
    for one in sections:
        found(one)
