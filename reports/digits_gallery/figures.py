"""Print the table of this study's findings.

    uv run python reports/digits_gallery/figures.py results/digits_again

A row a variant: BD-rate at equal squared error against the linear coder and against beta_vae, each with the
overlap of the two curves, the highest rate, the best test ELBO at the sigma^2 fitted to the test images, and,
where the metrics are kept, the best Fréchet distance in classifier features.
"""

import json
import math
import sys
from pathlib import Path

import pandas as pd
from scipy import stats

from rdbench.report.statistics.bd_rate import CurvePoints, bd_rate

BASELINES = ("linear_coder", "beta_vae")


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


def compared(curve: CurvePoints, baseline: CurvePoints, name: str) -> list[str]:
    """Write BD-rate with its interval, and the overlap."""
    found = bd_rate(curve, baseline, variant="", name=name)
    if found.percent is None or curve is baseline:
        return ["–", "–"]
    interval = "no interval" if found.low is None else f"{found.low:.0f} to {found.high:,.0f}"
    return [f"{found.percent:+.0f} % ({interval})", f"{found.overlap:.0%}"]


def main(root: Path) -> None:
    """Print the table, without the distance where that is not kept."""
    points, trials = (pd.read_parquet(root / name) for name in ("points", "trials"))
    names = trials.assign(name=trials["spec"].map(named))[["trial", "name"]]
    print(len(trials), trials["status"].value_counts().to_dict())
    test = points[(points["split"] == "test") & (points["reading"] == "optimal_shared")]
    test = test.drop(columns="variant").merge(names, on="trial").rename(columns={"name": "variant"})
    distances = pd.DataFrame(columns=["name", "beta", "value"])
    if (root / "metrics").exists():
        metrics = pd.read_parquet(root / "metrics")
        distances = metrics[metrics["name"] == "fd_classifier"].dropna(subset="value")[["trial", "value"]]
        distances = distances.merge(names, on="trial").merge(trials[["trial", "beta", "seed"]], on="trial")
    finite = test.dropna(subset=["rate", "mse"])
    curves = {name: CurvePoints(rows, "mse") for name, rows in finite.groupby("variant")}
    for variant, rows in test.groupby("variant"):
        cells = [f"`{variant}`"]
        for baseline in BASELINES:
            has_both = variant in curves and baseline in curves
            cells += compared(curves[variant], curves[baseline], baseline) if has_both else ["–", "–"]
        cells.append(f"{rows['rate'].max():.1f}" if rows["rate"].notna().any() else "–")
        for own, column, digits in ((rows, "elbo", 1), (distances[distances["name"] == variant], "value", 0)):
            if own[column].notna().any():
                beta, chosen = best(own, column, lowest=column == "value")
                cells.append(f"{mean_of(chosen[column], digits)} at {beta:.2g}")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
