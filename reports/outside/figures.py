"""Print rates and squared errors of the outside training beside rdbench's, seeds as the sample.

    uv run python reports/outside/figures.py results/outside reports/outside/outside.csv

Means with 95 % intervals by Student's t; their difference with Welch's interval and p-value.
"""

import sys

import pandas as pd
from scipy import stats

from rdbench.results.load import load_results
from rdbench.storage.places import place


def measured(root: str) -> pd.DataFrame:
    """Return variant, beta, seed, rate (nats) and sse of each trial of a results folder, test split."""
    points = load_results(place(root)).points
    return points[(points["split"] == "test") & (points["reading"] == "half")]


def mean(values: pd.Series) -> str:
    """Write a mean over seeds with its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.3f} ± {half:.3f}"


def main(root: str, path: str) -> None:
    """Print a row for each setting and quantity."""
    outside, ours = pd.read_csv(path), measured(root)
    print("| variant | β | quantity | outside | rdbench | difference, 95 % interval | p | seeds |")
    print("|---|--:|---|--:|--:|--:|--:|--:|")
    for (variant, beta), rows in outside.groupby(["variant", "beta"]):
        own = ours[(ours["variant"] == variant) & (ours["beta"] == beta)]
        for quantity in ("rate", "sse"):
            test = stats.ttest_ind(own[quantity], rows[quantity], equal_var=False)
            low, high = test.confidence_interval()
            less = own[quantity].mean() - rows[quantity].mean()
            cells = [f"`{variant}`", f"{beta:g}", quantity, mean(rows[quantity]), mean(own[quantity])]
            cells += [f"{less:+.3f} ({low:+.3f} to {high:+.3f})", f"{test.pvalue:.2f}"]
            print(f"| {' | '.join(cells)} | {len(rows)} and {len(own)} |")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
