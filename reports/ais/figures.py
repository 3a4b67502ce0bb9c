"""Print the tables of this study: what of each variant's ELBO is its decoder and what its encoder.

uv run python reports/ais/figures.py results/digits_ais [results/ais_default]

The second folder is one whose networks were measured by 300 and by 600 levels: what twice the levels move.
"""

import json
import sys
from typing import Any

import pandas as pd

from rdbench.report.contents import contents
from rdbench.report.tables.write import to_markdown
from rdbench.results.load import load_results
from rdbench.storage.places import place

REFERENCE = "beta_vae"


def measured(root: str) -> pd.DataFrame:
    """Return a row a training: its quantities that are no function of the slope, and their errors."""
    results = load_results(place(root))
    names = results.trials.set_index("trial")[["variant", "beta", "seed"]]
    rows: dict[str, dict[str, float]] = {}
    for row in results.metrics[results.metrics["name"] == "ais"].to_dict("records"):
        settings = json.loads(row["settings"])
        if "slope" not in settings and row["value"] is not None:
            values = rows.setdefault(str(row["trial"]), {})
            values |= {row["quantity"]: row["value"], f"{row['quantity']}_se": row["standard_error"]}
    return names.join(pd.DataFrame.from_dict(rows, orient="index"), how="inner").reset_index(drop=True)


def differences(table: pd.DataFrame) -> None:
    """Print ELBO less that of the reference at equal beta and seed, and its two parts, a number a seed."""
    table = table.assign(elbo=table["log_likelihood"] - table["inference_gap"])
    wide = table.set_index(["variant", "beta", "seed"]).sort_index()
    print(
        "\n| variant | β | ELBO, difference | of it the decoder: ln p(x) | of it the encoder: inference gap |"
    )
    print("|---|---|---|---|---|")
    for variant in sorted(set(table["variant"]) - {REFERENCE}):
        for beta in sorted(set(table.loc[table["variant"] == variant, "beta"])):
            less = (wide.loc[(variant, beta)] - wide.loc[(REFERENCE, beta)]).dropna(how="all")
            parts = (less["elbo"], less["log_likelihood"], -less["inference_gap"])
            cells = [f"{part.mean():+.2f} ({', '.join(f'{value:+.2f}' for value in part)})" for part in parts]
            print(f"| `{variant}` | {beta:g} | {' | '.join(cells)} |")


def checks(table: pd.DataFrame) -> None:
    """Print how loose the bounds are, and how far below its decoder's curve an encoder lies at most."""
    print(f"\n{len(table)} trainings; bounds of ln p(x) on the model's own samples apart, nats:")
    print(f"mean {table['gap'].mean():.3f}, largest {table['gap'].max():.3f}")
    low = table.loc[(table["amortisation_gap"] / table["amortisation_gap_se"]).idxmin()]
    where = f"{low['variant']}, beta {low['beta']:g}, seed {low['seed']}"
    print("lowest amortisation gap in its standard errors, nats:")
    print(f"{low['amortisation_gap']:.4f}, standard error {low['amortisation_gap_se']:.4f} ({where})")


def by_levels(root: str) -> dict[str, dict[int, dict[str, dict[str, Any]]]]:
    """Return training -> levels -> quantity, with its slope where it has one -> its row."""
    results = load_results(place(root))
    names = {
        row["trial"]: f"{row['variant']}, beta {row['beta']:g}, seed {row['seed']}"
        for row in results.trials.to_dict("records")
    }
    found: dict[str, dict[int, dict[str, dict[str, Any]]]] = {}
    for row in results.metrics[results.metrics["name"] == "ais"].to_dict("records"):
        settings = json.loads(row["settings"])
        slope = f" at {settings['slope']}" if "slope" in settings else ""
        here = found.setdefault(names[row["trial"]], {}).setdefault(settings["levels"], {})
        if isinstance(row["quantity"], str):  # else nothing was measured
            here[row["quantity"] + slope] = row
    return found


def doubled(root: str) -> None:
    """Print what each value of the curve is by 300 and by 600 levels, beside its standard error."""
    for training, levels in sorted(by_levels(root).items()):
        fewer, more = levels[300], levels[600]
        print(f"\n{training}: chains' bounds apart {fewer['gap']['value']:.3f} nats by 300 levels,"
              f" {more['gap']['value']:.3f} by 600")  # fmt: skip
        print("\n| | 300 levels | 600 levels | moved | standard error | moved / error |")
        print("|---|---|---|---|---|---|")
        for name, row in fewer.items():
            if name.startswith(("log_", "rate", "sse", "amort", "inference")) and name in more:
                a, b, error = row["value"], more[name]["value"], row["standard_error"]
                print(
                    f"| {name} | {a:.4g} | {b:.4g} | {b - a:+.2g} | {error:.2g} | {abs(b - a) / error:.2f} |"
                )


if __name__ == "__main__":
    for section in contents([place(sys.argv[1])]).sections:
        print(to_markdown(next(table for table in section.tables if table.name == "decoders")))
    found = measured(sys.argv[1])
    differences(found)
    checks(found)
    if len(sys.argv) > 2:
        doubled(sys.argv[2])
