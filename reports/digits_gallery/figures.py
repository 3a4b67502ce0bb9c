"""Print the table of this study's findings.

    uv run python reports/digits_gallery/figures.py results/digits_gallery

A row a variant: BD-rate against beta_vae at equal squared error, the overlap of the two curves, the highest
rate, the best test ELBO at one sigma^2 for all images, the best Fréchet distance in classifier features.
"""

import json
import math
import sys
from pathlib import Path

import pandas as pd
from scipy import stats

from rdbench.report.statistics.bd_rate import bd_rate


def named(spec: str) -> str:
    """Return a trial's variant, with the target that tells one of geco's from another."""
    variant = json.loads(spec)["variant"]
    mse = variant.get("options", {}).get("mse")
    return variant["name"] if mse is None else f"{variant['name']} {mse:g}"


def mean_of(values: pd.Series, digits: int) -> str:
    """Write a mean with half of its 95% interval over seeds."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / math.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def best(rows: pd.DataFrame, column: str, lowest: bool) -> tuple[float, pd.DataFrame]:
    """Return the beta of the best mean, and the rows at it."""
    means = rows.groupby("beta")[column].mean()
    beta = means.idxmin() if lowest else means.idxmax()
    return beta, rows[rows["beta"] == beta]


def main(root: Path) -> None:
    """Print the table."""
    points, metrics, trials = (pd.read_parquet(root / name) for name in ("points", "metrics", "trials"))
    names = trials.assign(name=trials["spec"].map(named))[["trial", "name"]]
    print(len(trials), trials["status"].value_counts().to_dict(), f"{trials['seconds'].sum() / 3600:.2f} h")
    test = points[(points["split"] == "test") & (points["reading"] == "optimal_shared")]
    test = test.drop(columns="variant").merge(names, on="trial").rename(columns={"name": "variant"})
    distances = metrics[metrics["name"] == "fd_classifier"].dropna(subset="value")
    distances = distances[["trial", "value"]].merge(names, on="trial")
    distances = distances.merge(trials[["trial", "beta", "seed"]], on="trial")
    for variant, rows in test.groupby("variant"):
        found = bd_rate(test, variant, "beta_vae", "mse")
        cells = [f"`{variant}`"]
        if variant == "beta_vae" or found.percent is None:
            cells += ["–", "–"]
        else:
            interval = "no interval" if found.low is None else f"{found.low:.0f} to {found.high:.0f}"
            cells += [f"{found.percent:+.0f} % ({interval})", f"{found.overlap:.0%}"]
        cells.append(f"{rows['rate'].max():.1f}" if rows["rate"].notna().any() else "–")
        if rows["elbo"].notna().any():
            beta, own = best(rows, "elbo", lowest=False)
            cells += [f"{mean_of(own['elbo'], 1)} at {beta:.2g}"]
        else:
            cells += ["–"]
        values = distances[distances["name"] == variant]
        if len(values):
            beta, own = best(values, "value", lowest=True)
            cells += [f"{mean_of(own['value'], 0)} at {beta:.2g}"]
        else:
            cells += ["–"]
        print("| " + " | ".join(cells) + " |")
    lost = trials[trials["status"] != "done"]
    print(lost.groupby(["variant", "beta"])["seed"].count().to_string() if len(lost) else "none lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
