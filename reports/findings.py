"""Print what a study found: the page's verdict, its claims, and each trial beside the linear coder.

    uv run python reports/findings.py results/mnist [results/mnist_codecs]

Each sentence and each row is computed from the tables of the results folder. Intervals are 95 %, Student's t
over seeds; a single seed has none, and says so.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from rdbench.report.contents import SectionContents, contents
from rdbench.report.tables.write import to_markdown
from rdbench.storage.places import place

CODER = "linear_coder"
TABLES = ("claims", "linear_coder", "equal_weight", "training_progress")


def with_interval(values: pd.Series, digits: int = 2) -> str:
    """Write a mean over seeds with its 95 % interval."""
    if len(values) < 2:
        return f"{values.mean():.{digits}f} (one seed)"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def beside_the_coder(points: pd.DataFrame) -> pd.DataFrame:
    """Add the linear coder's squared error at each trial's rate, and what the trial's is above it, per cent.

    Between its points the coder's curve is taken as a straight line in the logarithm of its error; beyond its
    highest rate there is none.
    """
    coder = points[points["variant"] == CODER].groupby("beta")[["rate", "sse"]].mean().sort_values("rate")
    trained = points[points["variant"] != CODER].copy()
    line = np.interp(trained["rate"], coder["rate"], np.log(coder["sse"]), right=np.nan)
    trained["coder_sse"] = np.exp(line)
    trained["percent"] = 100 * (trained["sse"] / trained["coder_sse"] - 1)
    return trained


def against_the_coder(points: pd.DataFrame) -> None:
    """Print of each variant and beta rate and error, the coder's error at this rate, and the difference."""
    print("\n## Each trial beside the linear coder at equal rate\n")
    print("Squared error a test image; difference in per cent of the linear coder's, negative: better.\n")
    print("| variant | β | seeds | rate, nats | squared error | linear coder's | difference, % |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for (variant, beta), rows in beside_the_coder(points).groupby(["variant", "beta"]):
        cells = [with_interval(rows[name]) for name in ("rate", "sse")]
        if rows["coder_sse"].isna().any():
            cells += ["beyond its highest rate", "–"]
        else:
            cells += [f"{rows['coder_sse'].mean():.2f}", with_interval(rows["percent"], 1)]
        print(f"| `{variant}` | {beta:g} | {len(rows)} | {' | '.join(cells)} |")


def found(section: SectionContents) -> None:
    """Print the verdict of a section, its tables of claims, and its trials beside the linear coder."""
    print(f"# {section.heading}\n")
    for sentence in section.verdict:
        print(f"- {sentence}")
    points = section.section.points
    if CODER in section.variants:
        against_the_coder(points[(points["split"] == "test") & (points["reading"] == "optimal_train")])
    for table in section.tables:
        if table.name in TABLES:
            print(f"\n## {table.name.replace('_', ' ').capitalize()}\n\n{to_markdown(table)}")


if __name__ == "__main__":
    for one in contents([place(name) for name in map(Path, sys.argv[1:])]).sections:
        found(one)
